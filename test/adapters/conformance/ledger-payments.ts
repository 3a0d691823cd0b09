import { describe, expect, it } from 'vitest'
import type { NewPayment } from '../../../services/core/ports.ts'
import {
  chargeOnce,
  closeAs,
  deliver,
  draftAll,
  draftAllOptions,
  fund,
  hex,
  newAccount,
  type OpenLedger,
  order,
  type TestAccount,
} from './ledger-acts.ts'

/** x402 payments beside their requests, and the house accounts that these charge. */
export function ledgerPayments(opened: () => OpenLedger): void {
  const payment = (changed: Partial<NewPayment> = {}): NewPayment => ({
    payer: hex(20),
    nonce: hex(32),
    router: hex(20),
    value: 10n,
    validAfter: 0,
    validBefore: 2000,
    signature: hex(65),
    requestId: hex(32),
    bodyHash: hex(32),
    owner: 'x402:gateway-1',
    ...changed,
  })
  const signed = () => ({ raw: hex(40), hash: hex(32), nonce: 7 })

  /** A router's account with a key of its own and a voucher without a limit, as the chain shows it before any sweep. */
  const house = async (): Promise<TestAccount> => {
    const { ledger } = opened()
    const account = { ...newAccount(), key: hex(20) }
    await ledger.openHouse(account.accountId, account.config)
    return fund(ledger, account, { deposit: 0n, cap: 10n ** 20n, ceiling: 10n ** 20n })
  }

  describe('a house account', () => {
    it('reserves and commits before its money is there, and settles only once it is', async () => {
      const { ledger } = opened()
      const account = await house()
      const { delivery } = await chargeOnce(ledger, account, { charged: 10n, servedAt: 1000 })
      const options = draftAllOptions(account.config.collector)
      expect(await ledger.draftBatch(options)).toBeNull()
      await fund(ledger, account, { deposit: 10n, cap: 10n ** 20n })
      const draft = await draftAll(ledger, account.config.collector)
      expect(draft.rows).toMatchObject([{ key: account.key, requestIds: [delivery.requestId], parts: [{ amount: 10n }] }])
      expect(await ledger.closeBatch(closeAs(draft))).toEqual({ final: 1, retried: 0, voided: 0 })
    })

    it('is opened again without losing what it has', async () => {
      const { ledger } = opened()
      const account = await house()
      await chargeOnce(ledger, account, { charged: 3n })
      await ledger.openHouse(account.accountId, account.config)
      expect(await ledger.standing(account.accountId, account.key)).toMatchObject({ spent: 3n, ceiling: 10n ** 20n })
    })

    it('is the only kind that needs no deposit', async () => {
      const { ledger } = opened()
      const account = { ...newAccount(), key: hex(20) }
      await ledger.knowAccount(account.accountId, account.config)
      await fund(ledger, account, { deposit: 0n, cap: 100n, ceiling: 100n })
      expect(await ledger.reserve(order(account, { max: 1n }), 1000)).toEqual({ ok: false, reason: 'account-unknown' })
    })
  })

  describe('x402 payments', () => {
    it('are opened once each, however many try', async () => {
      const { ledger, reopen } = opened()
      await using second = await reopen()
      const one = payment()
      const funds = { balance: 1000n, block: 5 }
      const tries = Array.from({ length: 40 }, (_, index) =>
        (index % 2 ? ledger : second).openPayment({ ...one, requestId: hex(32) }, funds),
      )
      const opens = await Promise.all(tries)
      expect(opens.filter(({ ok }) => ok)).toHaveLength(1)
      expect(opens.filter((open) => !open.ok && open.reason === 'taken')).toHaveLength(39)
    })

    it('of one payer together promise no more than it holds', async () => {
      const { ledger } = opened()
      const payer = hex(20)
      const tries = Array.from({ length: 40 }, () => ledger.openPayment(payment({ payer }), { balance: 79n, block: 5 }))
      const opens = await Promise.all(tries)
      expect(opens.filter(({ ok }) => ok)).toHaveLength(7)
      expect(opens.find(({ ok }) => !ok)).toEqual({ ok: false, reason: 'insufficient', open: 70n })
      // What has left the payer since its balance was read still counts.
      const settled = payment({ payer: hex(20) })
      await ledger.openPayment(settled, { balance: 10n, block: 5 })
      await ledger.paymentSettled(settled, { transaction: hex(32), block: 6 })
      const next = payment({ payer: settled.payer })
      expect(await ledger.openPayment(next, { balance: 10n, block: 5 })).toMatchObject({ reason: 'insufficient' })
      expect(await ledger.openPayment(next, { balance: 10n, block: 6 })).toEqual({ ok: true })
    })

    it('may be tried again once they are released, and only then', async () => {
      const { ledger } = opened()
      const one = payment()
      await ledger.openPayment(one, null)
      await ledger.paymentDelivered(one, new Uint8Array([1, 2]))
      await ledger.paymentSent(one, signed())
      expect(await ledger.openPayment(one, null)).toEqual({ ok: false, reason: 'taken' })
      await ledger.releasePayment(one, 'payment.unsettled')
      expect(await ledger.payment(one)).toMatchObject({ state: 'RELEASED', delivery: null, reason: 'payment.unsettled' })
      const again = { ...one, requestId: hex(32) }
      expect(await ledger.openPayment(again, null)).toEqual({ ok: true })
      expect(await ledger.payment(one)).toMatchObject({
        state: 'RESERVED',
        requestId: again.requestId,
        transaction: null,
        reason: null,
      })
      await ledger.paymentSettled(one, { transaction: hex(32), block: 9 })
      await ledger.releasePayment(one, 'late')
      expect((await ledger.payment(one))?.state).toBe('SETTLED')
      expect(await ledger.openPayment(again, null)).toEqual({ ok: false, reason: 'taken' })
    })

    it('keep what was delivered and sent for whoever goes on', async () => {
      const { ledger, reopen } = opened()
      const owner = `x402:${hex(4)}`
      const [running, sent, settled, answered] = [payment({ owner }), payment({ owner }), payment({ owner }), payment({ owner })]
      const transaction = signed()
      for (const one of [running, sent, settled, answered]) {
        await ledger.openPayment(one, null)
        if (one !== running) await ledger.paymentDelivered(one, new Uint8Array([7]))
      }
      await ledger.paymentSent(sent, transaction)
      for (const one of [settled, answered]) await ledger.paymentSettled(one, { transaction: transaction.hash, block: 3 })
      await ledger.paymentAnswered(answered)
      await using after = await reopen()
      const open = await after.openPayments(owner, 10)
      expect(new Set(open.map(({ nonce }) => nonce))).toEqual(new Set([running.nonce, sent.nonce, settled.nonce]))
      expect(open.find(({ nonce }) => nonce === sent.nonce)).toMatchObject({
        state: 'SENT',
        transaction,
        delivery: new Uint8Array([7]),
      })
      expect(await after.paymentOf(answered.requestId)).toMatchObject({ settledIn: transaction.hash, delivery: null })
    })

    it('have earned what their requests were charged, and what is left may go back once', async () => {
      const { ledger } = opened()
      const account = await house()
      const router = account.config.payer
      const options = { endedBefore: 1500, least: 2n, limit: 10 }
      const cheap = payment({ router })
      await paidFor(account, cheap, 7n)
      const exact = payment({ router })
      await paidFor(account, exact, 10n)
      const unanswered = payment({ router, validBefore: 1499 })
      await ledger.openPayment(unanswered, null)
      await ledger.releasePayment(unanswered, 'provider.failed')
      const valid = payment({ router, validBefore: 1500 })
      await ledger.openPayment(valid, null)
      await ledger.releasePayment(valid, 'provider.failed')
      expect(await earned(account)).toBe(17n)
      expect((await ledger.returnable(router, options)).map(({ nonce }) => nonce)).toEqual([unanswered.nonce])

      await fund(ledger, account, { deposit: 17n, cap: 10n ** 20n })
      await ledger.closeBatch(closeAs(await draftAll(ledger, account.config.collector)))
      const ready = await ledger.returnable(router, options)
      expect(ready.map(({ nonce }) => nonce)).toEqual([unanswered.nonce, cheap.nonce])
      expect(ready[1]).toMatchObject({ requestState: 'FINAL', charged: 7n, value: 10n })
      expect(await ledger.returnable(router, { ...options, least: 4n })).toHaveLength(1)
      expect(await ledger.closePayments(router, 2n)).toBe(1)
      expect(await ledger.payment(exact)).toMatchObject({ state: 'RETURNED', charged: 10n })

      const moves = await Promise.all(
        Array.from({ length: 8 }, () => ledger.movePayment(cheap, { from: 'SETTLED', to: 'RETURNING' })),
      )
      expect(moves.filter(Boolean)).toHaveLength(1)
      expect(await ledger.movePayment(unanswered, { from: 'RELEASED', to: 'CLOSED' })).toBe(true)
      expect(await ledger.openPayment(unanswered, null)).toEqual({ ok: false, reason: 'taken' })
      expect((await ledger.returnable(router, options)).map(({ nonce }) => nonce)).toEqual([cheap.nonce])
      await ledger.movePayment(cheap, { from: 'RETURNING', to: 'RETURNED' })
      expect(await ledger.returnable(router, options)).toEqual([])
      expect(await earned(account)).toBe(17n)
    })

    it('have earned nothing for a voided request, all of which may go back', async () => {
      const { ledger } = opened()
      const account = await house()
      const router = account.config.payer
      const one = payment({ router })
      await paidFor(account, one, 10n)
      await fund(ledger, account, { deposit: 10n, cap: 10n ** 20n })
      const draft = await draftAll(ledger, account.config.collector)
      const outcome = { ...closeAs(draft, () => false), skippedRows: [{ row: 0, reason: 'KeyEnded' }] }
      expect(await ledger.closeBatch(outcome)).toEqual({ final: 0, retried: 0, voided: 1 })
      expect(await earned(account)).toBe(0n)
      const [back] = await ledger.returnable(router, { endedBefore: 0, least: 1n, limit: 10 })
      expect(back).toMatchObject({ nonce: one.nonce, requestState: 'VOIDED', value: 10n })
    })

    /** As the gateway sweeps it: the house account is charged for nothing else. */
    async function earned({ accountId, key }: TestAccount): Promise<bigint | undefined> {
      return (await opened().ledger.standing(accountId, key))?.accountCharged
    }

    /** Reserved, delivered, settled and committed, for at most the payment's value. */
    async function paidFor(account: TestAccount, one: NewPayment, charged: bigint): Promise<void> {
      const { ledger } = opened()
      const reservation = order(account, { requestId: one.requestId, max: one.value })
      await ledger.openPayment(one, null)
      expect(await ledger.reserve(reservation, 1000)).toEqual({ ok: true })
      await ledger.dispatched(one.requestId, reservation.provider)
      await ledger.paymentDelivered(one, new Uint8Array([1]))
      await ledger.paymentSettled(one, { transaction: hex(32), block: 2 })
      await ledger.commit(deliver(reservation, { charged }))
      await ledger.paymentAnswered(one)
    }
  })
}
