import { Wallet } from 'ethers'
import { beforeAll, describe, expect, it } from 'vitest'
import { expectCharged, expectUntouched, type Money } from '../support/purse.ts'
import { type Scene, SPAM_PRICE, spam } from '../support/scene.ts'
import {
  escrowOf,
  highS,
  type OpenSession,
  sessionRequest,
  signVoucher,
  type VoucherDraft,
  voucherHeader,
} from '../support/session.ts'
import { expectProblem } from '../support/wire.ts'
import { openSession } from './sessions.ts'

/** Vouchers that are not what they should be, sent with good MACs. */
export function vouchers(scene: () => Scene): void {
  describe('vouchers', () => {
    let before: Money
    let session: OpenSession
    let spent = 0n
    const body = spam('hi')
    const pay = (voucher: string) => scene().send({ body, headers: sessionRequest(session, { body, voucher }) })
    const sign = (changed: Partial<VoucherDraft> = {}) => {
      const { purse, facts } = scene()
      const { wallet } = purse.person
      return signVoucher({
        signer: wallet,
        escrow: escrowOf(facts),
        accountId: purse.accountId,
        ceiling: spent + SPAM_PRICE,
        ...changed,
      })
    }
    beforeAll(async () => {
      before = await scene().purse.money()
      session = await openSession(scene())
      const { spent: already } = (await scene().purse.meter.standing()) as { spent: string }
      spent = BigInt(already)
    })

    it('refuses a voucher that another wallet signed', async () => {
      const signer = new Wallet(Wallet.createRandom().privateKey)
      const forged = await sign({ signer, key: scene().purse.person.address })
      expectProblem(await pay(voucherHeader(forged)), 402, 'voucher.forged')
    })

    it('refuses a voucher for another chain, escrow or account', async () => {
      const escrow = escrowOf(scene().facts)
      const elsewhere: Partial<VoucherDraft>[] = [
        { escrow: { ...escrow, chainId: 1n } },
        { escrow: { ...escrow, address: `0x${'11'.repeat(20)}` } },
        { accountId: `0x${'22'.repeat(32)}` },
        { key: `0x${'33'.repeat(20)}` },
      ]
      for (const changed of elsewhere) expectProblem(await pay(voucherHeader(await sign(changed))), 402, 'voucher.forged')
    })

    it('refuses a voucher with any field changed', async () => {
      const good = await sign()
      const { ceiling, signature } = good
      const flipped = `${signature.slice(0, 20)}${signature[20] === '0' ? '1' : '0'}${signature.slice(21)}`
      const changes = [
        { ceiling: (BigInt(ceiling) + 1n).toString() },
        { usageHead: `0x${'44'.repeat(32)}` },
        { signature: flipped },
        { signature: highS(signature) },
        { signature: `${signature}00` },
        { signature: '0x00' },
      ]
      for (const change of changes) expectProblem(await pay(voucherHeader({ ...good, ...change })), 402, 'voucher.forged')
    })

    it('refuses a voucher header that is none', async () => {
      expectProblem(await pay('bm8'), 402, 'voucher.forged')
      const good = await sign()
      for (const wrong of [{}, { ...good, ceiling: -1 }, { ...good, ceiling: '1e6' }, { ...good, ceiling: '01' }, []]) {
        expectProblem(await pay(voucherHeader(wrong)), 400, 'request.malformed')
      }
    })

    it('asks for a higher ceiling, and says which, when the signed one is too low', async () => {
      const problem = expectProblem(
        await pay(voucherHeader(await sign({ ceiling: spent + SPAM_PRICE - 1n }))),
        402,
        'voucher.stale',
      )
      expect(problem).toMatchObject({ limit: 'ceiling', signAtLeast: (spent + SPAM_PRICE).toString(), x402Version: 2 })
      await expectUntouched(scene().purse, before)
    })

    it('serves at exactly the ceiling it asked for', async () => {
      expect((await pay(voucherHeader(await sign()))).status).toBe(200)
      await expectCharged(scene().purse, before, SPAM_PRICE)
      spent += SPAM_PRICE
      before = await scene().purse.money()
    })

    it('takes a lower voucher for one that was overtaken: the highest ceiling stays', async () => {
      const ceiling = spent + 2n * SPAM_PRICE
      expect((await pay(voucherHeader(await sign({ ceiling })))).status).toBe(200)
      expect((await pay(voucherHeader(await sign({ ceiling: spent })))).status).toBe(200)
      expect(await scene().purse.meter.standing()).toMatchObject({ ceiling: ceiling.toString(), spent: ceiling.toString() })
      expectProblem(await pay(voucherHeader(await sign({ ceiling: spent }))), 402, 'voucher.stale')
      await expectCharged(scene().purse, before, 2n * SPAM_PRICE, 2)
      spent = ceiling
      before = await scene().purse.money()
    })

    it('gives nothing beyond the deposit for a ceiling that promises the world', async () => {
      const account = await scene().purse.meter.standing()
      const texts = Array.from({ length: 60_000 }, () => 'a')
      const all = { model: 'spam-classifier', inputs: { text: texts } }
      const voucher = voucherHeader(await sign({ ceiling: 10n ** 25n - 1n }))
      const reply = await scene().send({ body: all, headers: sessionRequest(session, { body: all, voucher }) })
      expectProblem(reply, 402, 'payment.insufficient')
      expect(reply.json).toMatchObject({ limit: 'deposit', required: (60_000n * SPAM_PRICE).toString() })
      expect(BigInt(String(account.deposit))).toBeLessThan(60_000n * SPAM_PRICE)
    })

    it('has charged nothing else and left nothing reserved', async () => {
      await expectUntouched(scene().purse, before)
    })
  })
}
