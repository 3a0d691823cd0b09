import { Signature, type Wallet } from 'ethers'
import { describe, expect, it } from 'vitest'
import { expectProblem } from '../support/wire.ts'
import { echo, PRICE, pass, type X402Market } from '../support/x402-market.ts'
import { decoded, frontRun, payWith, type SignedPayment, signPayment } from '../support/x402-payments.ts'

const FUNDS = 100n

/** What others do at the same time, and what the payer does twice. */
export function races(market: () => X402Market): void {
  const paying = async (draft: Record<string, unknown> = {}) => {
    const signer = await market().payer(FUNDS)
    return { signer, payment: await signPayment(market(), { signer, ...draft }) }
  }
  const left = ({ address }: Wallet) => market().balanceOf(address)

  describe('front-running', () => {
    it('changes nothing when somebody submits the authorization before the gateway has seen it', async () => {
      const { signer, payment } = await paying()
      const transaction = await frontRun(market(), payment)
      const reply = await payWith(market(), payment.header)
      expect(reply.status).toBe(200)
      expect(decoded(reply.headers['payment-response'])).toMatchObject({ success: true, transaction })
      expect(await left(signer)).toBe(FUNDS - PRICE)
    })

    it('changes nothing when somebody submits the authorization while the job runs', async () => {
      const { signer, payment } = await paying()
      let transaction = ''
      market().workshop.meanwhile = async () => {
        transaction = await frontRun(market(), payment)
      }
      const reply = await payWith(market(), payment.header)
      expect(reply.status).toBe(200)
      expect(decoded(reply.headers['payment-response'])).toMatchObject({ success: true, transaction })
      expect(await left(signer)).toBe(FUNDS - PRICE)
    })

    it('of a payment whose job fails gives its money back to the payer', async () => {
      const { signer, payment } = await paying()
      market().workshop.fails = true
      expectProblem(await payWith(market(), payment.header), 502, 'provider.failed')
      await frontRun(market(), payment)
      expect(await left(signer)).toBe(FUNDS - PRICE)
      await pass(market(), 900)
      await expect.poll(() => left(signer), { timeout: 20_000 }).toBe(FUNDS)
      market().workshop.fails = false
      expectProblem(await payWith(market(), payment.header), 402, 'payment.invalid')
    })

    it('of a payment that bought nothing gives its money back once its payer shows it, expired or not', async () => {
      const { signer, payment } = await paying()
      const { list } = market().workshop
      const workers = list.splice(0)
      const { timestamp } = await market().market.payer.head()
      const ended = await signPayment(market(), { signer, validBefore: timestamp + 30, offer: payment })
      for (const one of [payment, ended]) await frontRun(market(), one)
      expect(await left(signer)).toBe(FUNDS - 2n * PRICE)
      expectProblem(await payWith(market(), payment.header), 503, 'provider.none')
      await pass(market(), 900)
      list.push(...workers)
      expectProblem(await payWith(market(), ended.header), 402, 'payment.invalid')
      await expect.poll(() => left(signer), { timeout: 20_000 }).toBe(FUNDS)
    })

    it('of a failed job’s payment by its own payer lets the same payment buy the job after all', async () => {
      const { signer, payment } = await paying()
      market().workshop.fails = true
      expectProblem(await payWith(market(), payment.header), 502, 'provider.failed')
      await frontRun(market(), payment)
      market().workshop.fails = false
      expect((await payWith(market(), payment.header)).status).toBe(200)
      expect(await left(signer)).toBe(FUNDS - PRICE)
    })
  })

  describe('replays', () => {
    it('of one payment, 16 at once, are one job and one charge', async () => {
      const { signer, payment } = await paying()
      const jobs = market().workshop.jobs
      const replies = await Promise.all(Array.from({ length: 16 }, () => payWith(market(), payment.header)))
      const paid = replies.filter(({ status }) => status === 200)
      expect(paid.length).toBeGreaterThan(0)
      expect(new Set(paid.map(({ bytes }) => bytes.toString())).size).toBe(1)
      for (const reply of replies.filter(({ status }) => status !== 200)) {
        expect(['idempotency.running', 'payment.pending']).toContain(reply.json.code)
      }
      expect(market().workshop.jobs).toBe(jobs + 1)
      expect(await left(signer)).toBe(FUNDS - PRICE)
    })

    it('after success give the stored answer, and no second job', async () => {
      const { signer, payment } = await paying()
      const first = await payWith(market(), payment.header)
      const jobs = market().workshop.jobs
      const second = await payWith(market(), payment.header)
      expect(second.bytes.equals(first.bytes)).toBe(true)
      expect(second.headers['idempotent-replayed']).toBe('true')
      expect(second.headers['payment-response']).toBe(first.headers['payment-response'])
      expectProblem(await payWith(market(), payment.header, echo('something else')), 402, 'payment.invalid')
      expect(market().workshop.jobs).toBe(jobs)
      expect(await left(signer)).toBe(FUNDS - PRICE)
    })

    it('with another signature over the same nonce buy nothing', async () => {
      const { signer, payment } = await paying()
      expect((await payWith(market(), payment.header)).status).toBe(200)
      const { nonce } = payment.authorization
      const { timestamp } = await market().market.payer.head()
      const other = await signPayment(market(), { signer, nonce, validBefore: timestamp + 50 })
      const jobs = market().workshop.jobs
      expectProblem(await payWith(market(), other.header, echo('more')), 402, 'payment.invalid')
      expect(market().workshop.jobs).toBe(jobs)
    })

    it('with one identifier give the stored answer for the same body, 409 for another, and charge once', async () => {
      const identifier = `pay_${'a'.repeat(32)}`
      const { signer, payment } = await paying({ identifier })
      const first = await payWith(market(), payment.header)
      expect(first.status).toBe(200)
      const jobs = market().workshop.jobs
      const again = await signPayment(market(), { signer, identifier })
      const second = await payWith(market(), again.header)
      expect(second.bytes.equals(first.bytes)).toBe(true)
      expect(second.headers['payment-response']).toBe(first.headers['payment-response'])
      const other = await signPayment(market(), { signer, identifier })
      expectProblem(await payWith(market(), other.header, echo('other')), 409, 'idempotency.conflict')
      expect(market().workshop.jobs).toBe(jobs)
      expect(await left(signer)).toBe(FUNDS - PRICE)
      // Somebody else's identifier is their own.
      const stranger = await paying({ identifier })
      expect((await payWith(market(), stranger.payment.header, echo('other'))).status).toBe(200)
    })
  })

  describe('a payer who takes the money back', () => {
    it('by cancelling between check and settlement gets no answer and pays nothing', async () => {
      const { signer, payment } = await paying()
      market().workshop.meanwhile = () => cancel(market(), signer, payment)
      await refusedUnsettled(payment)
      expect(await left(signer)).toBe(FUNDS)
    })

    it('by using the nonce for a payment to itself gets no answer', async () => {
      const { signer, payment } = await paying()
      const { nonce } = payment.authorization
      const decoy = await signPayment(market(), { signer, nonce, to: signer.address })
      market().workshop.meanwhile = async () => void (await frontRun(market(), decoy))
      await refusedUnsettled(payment)
      expect(await left(signer)).toBe(FUNDS)
      expectProblem(await payWith(market(), payment.header), 402, 'payment.invalid')
    })

    it('by spending it while the job runs gets no answer', async () => {
      const { signer, payment } = await paying()
      const drain = await signPayment(market(), { signer, to: market().token.replace(/.$/, '1'), value: FUNDS })
      market().workshop.meanwhile = async () => void (await frontRun(market(), drain))
      await refusedUnsettled(payment)
    })

    it('by promising it to many jobs at once gets as many answers as it pays for', async () => {
      const signer = await market().payer(2n * PRICE + 1n)
      const payments = await Promise.all(Array.from({ length: 12 }, () => signPayment(market(), { signer })))
      const jobs = market().workshop.jobs
      const replies = await Promise.all(payments.map(({ header }) => payWith(market(), header)))
      const paid = replies.filter(({ status }) => status === 200).length
      expect(paid).toBe(2)
      expect(market().workshop.jobs).toBe(jobs + 2)
      for (const reply of replies.filter(({ status }) => status !== 200)) expectProblem(reply, 402, 'payment.invalid')
      expect(await left(signer)).toBe(1n)
    })

    async function refusedUnsettled({ header }: SignedPayment): Promise<void> {
      const reply = await payWith(market(), header)
      expectProblem(reply, 402, 'payment.unsettled')
      expect(reply.json.outputs).toBeUndefined()
      expect(decoded(reply.headers['payment-response'])).toMatchObject({
        success: false,
        errorReason: 'invalid_exact_evm_transaction_failed',
        transaction: '',
      })
    }
  })

  describe('a job that fails', () => {
    it('costs nothing, and the same payment buys it later', async () => {
      const { signer, payment } = await paying()
      market().workshop.fails = true
      expectProblem(await payWith(market(), payment.header), 502, 'provider.failed')
      expect(await left(signer)).toBe(FUNDS)
      market().workshop.fails = false
      expect((await payWith(market(), payment.header)).status).toBe(200)
      expect(await left(signer)).toBe(FUNDS - PRICE)
    })
  })
}

async function cancel({ market, token }: X402Market, signer: Wallet, { authorization }: SignedPayment): Promise<void> {
  const { nonce } = authorization
  const domain = { name: 'Granary Test Dollar', version: '1', chainId: 31337n, verifyingContract: token }
  const types = {
    CancelAuthorization: [
      { name: 'authorizer', type: 'address' },
      { name: 'nonce', type: 'bytes32' },
    ],
  }
  const { v, r, s } = Signature.from(await signer.signTypedData(domain, types, { authorizer: signer.address, nonce }))
  await market.provider.submit({ contract: 'Token', method: 'cancelAuthorization', args: [signer.address, nonce, v, r, s] })
}
