import { Wallet } from 'ethers'
import { beforeAll, describe, expect, it } from 'vitest'
import { highS } from '../support/session.ts'
import { expectProblem } from '../support/wire.ts'
import { echo, type X402Market } from '../support/x402-market.ts'
import { decoded, type PaymentDraft, payWith, signPayment } from '../support/x402-payments.ts'

const elsewhere = `0x${'22'.repeat(20)}`

/** Payments with something wrong about them: never an answer, never a charge, always the reason. */
export function forgeries(market: () => X402Market): void {
  describe('payments that are not what they should be', () => {
    let payer: Wallet
    const stranger = new Wallet(`0x${'ab'.repeat(32)}`)
    beforeAll(async () => {
      payer = await market().payer(1000n)
    })

    const now = async () => (await market().market.payer.head()).timestamp
    const wrongs: Record<string, { draft: () => Promise<Partial<PaymentDraft>> | Partial<PaymentDraft>; reason: string }> = {
      'over too little': { draft: () => ({ value: 9n }), reason: 'invalid_exact_evm_authorization_value' },
      'over too much': { draft: () => ({ value: 11n }), reason: 'invalid_exact_evm_authorization_value' },
      'accepted at another amount': {
        draft: () => ({ accepted: { amount: '9' } }),
        reason: 'invalid_exact_evm_authorization_value',
      },
      'in another token': { draft: () => ({ accepted: { asset: elsewhere } }), reason: 'invalid_payment_requirements' },
      'to somebody else': { draft: () => ({ to: elsewhere }), reason: 'invalid_exact_evm_recipient_mismatch' },
      'accepted for somebody else': {
        draft: () => ({ to: elsewhere, accepted: { payTo: elsewhere } }),
        reason: 'invalid_exact_evm_recipient_mismatch',
      },
      'for another network': { draft: () => ({ accepted: { network: 'eip155:8453' } }), reason: 'invalid_network' },
      'signed for another chain': { draft: () => ({ domain: { chainId: 8453n } }), reason: 'invalid_exact_evm_signature' },
      'signed for another token': { draft: () => ({ domain: { address: elsewhere } }), reason: 'invalid_exact_evm_signature' },
      'of another scheme': { draft: () => ({ accepted: { scheme: 'upto' } }), reason: 'unsupported_scheme' },
      'of another version': { draft: () => ({ version: 1 }), reason: 'invalid_x402_version' },
      'that has expired': {
        draft: async () => ({ validBefore: await now() }),
        reason: 'invalid_exact_evm_payload_authorization_valid_before',
      },
      'that is valid for ever': {
        draft: () => ({ validBefore: 4_000_000_000 }),
        reason: 'invalid_exact_evm_payload_authorization_valid_before',
      },
      'that is not valid yet': {
        draft: async () => ({ validAfter: (await now()) + 300 }),
        reason: 'invalid_exact_evm_payload_authorization_valid_after',
      },
      'that somebody else signed': { draft: () => ({ from: elsewhere }), reason: 'invalid_exact_evm_signature' },
      'with a malleable signature': { draft: () => ({ bend: highS }), reason: 'invalid_exact_evm_signature' },
      'with a signature cut short': {
        draft: () => ({ bend: (text) => text.slice(0, -4) }),
        reason: 'invalid_exact_evm_signature',
      },
      'that its payer has no money for': { draft: () => ({ signer: stranger }), reason: 'insufficient_funds' },
    }
    for (const [what, { draft, reason }] of Object.entries(wrongs)) {
      it(`refuses one ${what} with ${reason}`, async () => {
        const { workshop, balanceOf, router } = market()
        const [jobs, held] = [workshop.jobs, await balanceOf(router)]
        const { header } = await signPayment(market(), { signer: payer, ...(await draft()) })
        const reply = await payWith(market(), header)
        const problem = expectProblem(reply, 402, 'payment.invalid')
        expect(problem).toMatchObject({ reason, x402Version: 2 })
        expect(decoded(reply.headers['payment-required'])).toEqual(reply.json)
        expect(workshop.jobs).toBe(jobs)
        expect(await balanceOf(payer.address)).toBe(1000n)
        expect(await balanceOf(router)).toBeLessThanOrEqual(held)
      })
    }

    const headers: Record<string, () => Promise<string>> = {
      'no base64': async () => '{"x402Version":2}',
      'base64 of no JSON': async () => Buffer.from('nonsense').toString('base64'),
      'base64 of no payment': async () => Buffer.from('[]').toString('base64'),
      'base64 of no UTF-8': async () => Buffer.from([0x22, 0xff, 0xfe, 0x22]).toString('base64'),
      'a payment with a list for a nonce': async () => twisted((payload) => ({ ...payload, authorization: { nonce: [] } })),
      'a payment without a signature': async () => twisted(({ authorization }) => ({ authorization })),
      'a payment twice': async () => {
        const { header } = await signPayment(market(), { signer: payer })
        return `${header}, ${header}`
      },
      'a header beyond the limit': async () =>
        Buffer.from(JSON.stringify({ x402Version: 2, pad: 'x'.repeat(10_000) })).toString('base64'),
    }
    const twisted = async (twist: (payload: Record<string, unknown>) => unknown) => {
      const { header } = await signPayment(market(), { signer: payer })
      const whole = decoded(header)
      return Buffer.from(JSON.stringify({ ...whole, payload: twist(whole.payload as Record<string, unknown>) })).toString(
        'base64',
      )
    }
    for (const [what, header] of Object.entries(headers)) {
      it(`refuses ${what} as payment.invalid`, async () => {
        const { workshop } = market()
        const jobs = workshop.jobs
        expectProblem(await payWith(market(), await header()), 402, 'payment.invalid')
        expect(workshop.jobs).toBe(jobs)
      })
    }

    it('refuses a payment beside another credential: who would be charged?', async () => {
      const { header } = await signPayment(market(), { signer: payer })
      for (const beside of [{ authorization: 'Bearer gk_x_y' }, { 'granary-session': `0x${'33'.repeat(32)}` }] as Record<
        string,
        string
      >[]) {
        const reply = await market().send({ body: echo('hi'), headers: { 'payment-signature': header, ...beside } })
        expectProblem(reply, 400, 'request.malformed')
      }
      expect(await market().balanceOf(payer.address)).toBe(1000n)
    })

    it('takes no payment of the first version’s header', async () => {
      const { header } = await signPayment(market(), { signer: payer })
      expectProblem(await market().send({ body: echo('hi'), headers: { 'x-payment': header } }), 402, 'payment.required')
    })
  })
}
