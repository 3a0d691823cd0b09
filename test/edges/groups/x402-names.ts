import { randomBytes } from 'node:crypto'
import type { Wallet } from 'ethers'
import { describe, expect, it } from 'vitest'
import type { Payment } from '../../../services/core/payment-ledger.ts'
import { resealAll } from '../../../services/gateway/resealing.ts'
import { expectProblem } from '../support/wire.ts'
import { echo, hireCheaper, PRICE, type X402Market } from '../support/x402-market.ts'
import { decoded, payUnder, payWith, type SignedPayment, signPayment } from '../support/x402-payments.ts'
import { lost, silentOnce, unlike } from './x402-silence.ts'

const FUNDS = 100n

/** What a client calls its request, by an Idempotency-Key or x402's identifier: the same again is the stored answer, paid once. */
export function names(market: () => X402Market): void {
  const newName = () => `order-${randomBytes(8).toString('hex')}`
  const sign = (signer: Wallet, draft: Record<string, unknown> = {}) => signPayment(market(), { signer, ...draft })
  const left = ({ address }: Wallet) => market().balanceOf(address)
  const paidBy = ({ headers }: { headers: Record<string, unknown> }) => decoded(headers['payment-response']).transaction

  describe('a request with a name', () => {
    it('is answered again without another payment, though its payer has nothing left and nobody could serve it', async () => {
      const signer = await market().payer(PRICE)
      const name = newName()
      const first = await payUnder(market(), name, await sign(signer))
      expect(first.status).toBe(200)
      expect(await left(signer)).toBe(0n)
      const another = await sign(signer)
      const workers = market().workshop.list.splice(0)
      const second = await payUnder(market(), name, another)
      market().workshop.list.push(...workers)
      expect(second.bytes.equals(first.bytes)).toBe(true)
      expect({ ...second.headers }).toMatchObject({ 'idempotent-replayed': 'true' })
      expect(paidBy(second)).toBe(paidBy(first))
    })

    it('is the same by header and by extension, and not another payer’s', async () => {
      const signer = await market().payer(FUNDS)
      const name = newName()
      const first = await payUnder(market(), name, await sign(signer))
      const second = await payWith(market(), (await sign(signer, { identifier: name })).header)
      expect(second.bytes.equals(first.bytes)).toBe(true)
      const both = await sign(signer, { identifier: name })
      expect((await payUnder(market(), name, both)).bytes.equals(first.bytes)).toBe(true)
      expectProblem(await payUnder(market(), newName(), both), 400, 'request.malformed')
      expect(await left(signer)).toBe(FUNDS - PRICE)
      const stranger = await market().payer(FUNDS)
      const theirs = await payUnder(market(), name, await sign(stranger))
      expect({ status: theirs.status, same: theirs.bytes.equals(first.bytes) }).toEqual({ status: 200, same: false })
    })

    it('with another body is 409, and so is a payment that was sent under another name', async () => {
      const signer = await market().payer(FUNDS)
      const [name, payment] = [newName(), await sign(signer)]
      expect((await payUnder(market(), name, payment)).status).toBe(200)
      const jobs = market().workshop.jobs
      expectProblem(await payUnder(market(), name, await sign(signer), echo('more')), 409, 'idempotency.conflict')
      expectProblem(await payUnder(market(), newName(), payment), 409, 'idempotency.conflict')
      expectProblem(await payWith(market(), payment.header), 409, 'idempotency.conflict')
      for (const wrong of ['', 'with a blank', 'x'.repeat(129)])
        expectProblem(await payUnder(market(), wrong, await sign(signer)), 400, 'request.malformed')
      expect(market().workshop.jobs).toBe(jobs)
      expect(await left(signer)).toBe(FUNDS - PRICE)
    })

    it('is one job and one payment when it comes with eight payments at once, to two gateways', async () => {
      await using second = await market().beside()
      const signer = await market().payer(FUNDS)
      const name = newName()
      const jobs = market().workshop.jobs
      const payments = await Promise.all(Array.from({ length: 8 }, () => sign(signer)))
      const replies = await Promise.all(
        payments.map((payment, index) => payUnder(index % 2 === 0 ? market() : second, name, payment)),
      )
      const answers = replies.filter(({ status }) => status === 200)
      expect(new Set(answers.map(({ bytes }) => bytes.toString())).size).toBe(1)
      for (const reply of replies.filter(({ status }) => status !== 200))
        expect(['payment.pending', 'idempotency.running']).toContain(reply.json.code)
      expect(market().workshop.jobs).toBe(jobs + 1)
      expect(await left(signer)).toBe(FUNDS - PRICE)
    })

    it('waits for the job that runs, whichever payment it comes with', async () => {
      const signer = await market().payer(FUNDS)
      const [name, payment, another] = [newName(), await sign(signer), await sign(signer)]
      const { started, open } = gate(market())
      const first = payUnder(market(), name, payment)
      await started
      using seen = findings(market())
      const repeats = [payUnder(market(), name, payment), payUnder(market(), name, another)]
      await expect.poll(seen.states, { timeout: 10_000 }).toEqual(['RESERVED', 'RESERVED'])
      open()
      const [answer, ...same] = await Promise.all([first, ...repeats])
      expect([answer, ...same].map(({ status }) => status)).toEqual([200, 200, 200])
      for (const reply of same) {
        expect(reply.bytes.equals(answer.bytes)).toBe(true)
        expect(paidBy(reply)).toBe(paidBy(answer))
      }
      expect(await left(signer)).toBe(FUNDS - PRICE)
    })

    it('whose job failed may be tried again with the same payment or another', async () => {
      const signer = await market().payer(FUNDS)
      const [name, payment] = [newName(), await sign(signer)]
      market().workshop.fails = true
      expectProblem(await payUnder(market(), name, payment), 502, 'provider.failed')
      expectProblem(await payUnder(market(), name, await sign(signer)), 502, 'provider.failed')
      market().workshop.fails = false
      expect((await payUnder(market(), name, await sign(signer))).status).toBe(200)
      expect((await payUnder(market(), name, payment)).status).toBe(200)
      expect(await left(signer)).toBe(FUNDS - PRICE)
    })

    it('whose outcome came after a crash is answered under its name, to any of its payer’s payments', async () => {
      const signer = await market().payer(FUNDS)
      const [name, payment] = [newName(), await sign(signer)]
      const jobs = market().workshop.jobs
      await whileSilent(name, payment, () => market().restart())
      await expect.poll(async () => (await payUnder(market(), name, await sign(signer))).status, { timeout: 20_000 }).toBe(200)
      const [one, two] = [await payUnder(market(), name, payment), await payUnder(market(), name, await sign(signer))]
      expect(one.bytes.equals(two.bytes)).toBe(true)
      expect(market().workshop.jobs).toBe(jobs + 1)
      expect(await left(signer)).toBe(FUNDS - PRICE)
      const stored = await storedFor(signer, payment)
      for (const secret of [name, '"outputs"']) expect(stored.includes(secret)).toBe(false)
    })
  })

  describe('replacing the master key', () => {
    const [before, after] = [new Uint8Array(32).fill(7), new Uint8Array(32).fill(8)]

    it('seals anew what jobs have delivered whose payments are under way, and their answers come', async () => {
      const signer = await market().payer(FUNDS)
      const [name, payment] = [newName(), await sign(signer)]
      const id = { payer: signer.address.toLowerCase(), nonce: payment.authorization.nonce }
      await whileSilent(name, payment, async () => {
        const delivery = async () => Buffer.from((await market().ledger.payment(id))?.delivery ?? [])
        for (const secret of [name, 'outputs', 'echo']) expect((await delivery()).includes(secret)).toBe(false)
        const { requestId = '' } = (await market().ledger.payment(id)) ?? {}
        expect((await resealAll(market().ledger, [after])).deliveries).toMatchObject({ resealed: 0, failed: [requestId] })
        const runs = await Promise.all([1, 2].map(() => resealAll(market().ledger, [after, before])))
        expect(runs.map(({ deliveries }) => deliveries.failed)).toEqual([[], []])
        expect(runs.reduce((sum, { deliveries }) => sum + deliveries.resealed, 0)).toBe(1)
        await market().restart({ masterKeys: [after] })
      })
      await expect.poll(async () => (await payUnder(market(), name, payment)).status, { timeout: 20_000 }).toBe(200)
      expect(await left(signer)).toBe(FUNDS - PRICE)
      await market().restart()
    })
  })

  describe('two gateways on one database', () => {
    it('take one payment once, and give back once what is left of it', async () => {
      await using second = await market().beside()
      const [dear] = market().workshop.list
      const hired = market().workshop.list.length
      await hireCheaper(market(), 7n)
      market().workshop.busy = dear?.provider ?? null
      const signer = await market().payer(FUNDS)
      const payment = await sign(signer)
      const jobs = market().workshop.jobs
      const replies = await Promise.all(
        Array.from({ length: 16 }, (_, index) => payWith(index % 2 === 0 ? market() : second, payment.header)),
      )
      market().workshop.list.splice(hired)
      expect(replies.some(({ status }) => status === 200)).toBe(true)
      expect(market().workshop.jobs).toBe(jobs + 1)
      const id = { payer: signer.address.toLowerCase(), nonce: payment.authorization.nonce }
      await expect.poll(async () => (await market().ledger.payment(id))?.state, { timeout: 30_000 }).toBe('RETURNED')
      expect(await left(signer)).toBe(FUNDS - 7n)
      for (const gateway of [market(), second]) {
        const again = await payWith(gateway, payment.header)
        expect(again.json).toMatchObject({ charged: '7' })
      }
    })
  })

  /** The payment is sent, nobody knows what became of it, and meanwhile `work` happens. */
  function whileSilent(name: string, payment: SignedPayment, work: () => Promise<void>): Promise<void> {
    const { chain } = market()
    return unlike(market(), { submit: lost(chain), read: silentOnce(chain) }, async () => {
      expectProblem(await payUnder(market(), name, payment), 503, 'payment.pending')
      await work()
    })
  }

  async function storedFor({ address }: Wallet, { authorization }: SignedPayment): Promise<Buffer> {
    const payment = await market().ledger.payment({ payer: address.toLowerCase(), nonce: authorization.nonce })
    return Buffer.from((await market().ledger.request(payment?.requestId ?? ''))?.answer ?? [])
  }
}

/** Jobs wait until it is opened. */
function gate({ workshop }: X402Market): { started: Promise<void>; open: () => void } {
  const [start, end] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  workshop.meanwhile = () => {
    start.resolve()
    return end.promise
  }
  return { started: start.promise, open: () => end.resolve() }
}

/** In which state those who ask for payments have found some. */
function findings({ ledger }: X402Market): { states(): string[] } & Disposable {
  const { payment, paymentFor } = ledger
  const states: string[] = []
  const noted = async (found: Promise<Payment | null>) => {
    const one = await found
    if (one) states.push(one.state)
    return one
  }
  ledger.payment = (id) => noted(payment(id))
  ledger.paymentFor = (accountId, identity) => noted(paymentFor(accountId, identity))
  return { states: () => states, [Symbol.dispose]: () => void Object.assign(ledger, { payment, paymentFor }) }
}
