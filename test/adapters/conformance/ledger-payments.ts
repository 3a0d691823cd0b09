import { describe, expect, it } from 'vitest'
import { closeAs, draftAll, fund, headAfter, hex, type OpenLedger, order } from './ledger-acts.ts'
import { earned, openHouse, paidFor, payment } from './ledger-house.ts'

/** x402 payments beside their requests, and what the house accounts are charged for them. */
export function ledgerPayments(opened: () => OpenLedger): void {
  const signed = () => ({ raw: hex(40), hash: hex(32), nonce: 7 })

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
      const account = await openHouse(opened().ledger)
      const router = account.config.payer
      const options = { endedBefore: 1500, least: 2n, limit: 10 }
      const cheap = payment({ router })
      await paidFor(opened().ledger, { account, one: cheap, charged: 7n })
      const exact = payment({ router })
      await paidFor(opened().ledger, { account, one: exact, charged: 10n })
      const unanswered = payment({ router, validBefore: 1499 })
      await ledger.openPayment(unanswered, null)
      await ledger.releasePayment(unanswered, 'provider.failed')
      const valid = payment({ router, validBefore: 1500 })
      await ledger.openPayment(valid, null)
      await ledger.releasePayment(valid, 'provider.failed')
      expect(await earned(opened().ledger, account)).toBe(17n)
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
      expect(await earned(opened().ledger, account)).toBe(17n)
    })

    it('that were done with a batch are not when it is taken back, so that what it voids in the end goes back', async () => {
      const { ledger } = opened()
      const account = await openHouse(ledger)
      const router = account.config.payer
      const options = { endedBefore: 1500, least: 1n, limit: 10 }
      const one = payment({ router })
      await paidFor(ledger, { account, one, charged: 10n })
      await fund(ledger, account, { deposit: 17n, cap: 10n ** 20n })
      const draft = await draftAll(ledger, account.config.collector)
      await ledger.closeBatch(closeAs(draft))
      expect(await ledger.closePayments(router, 1n)).toBe(1)

      await ledger.reopenBatch(draft.batchId)
      expect(await ledger.returnable(router, options)).toEqual([])
      const skipped = { ...closeAs(draft, () => false), skippedRows: [{ row: 0, reason: 'KeyEnded' }] }
      expect(await ledger.closeBatch(skipped)).toMatchObject({ voided: 1 })
      expect(await ledger.closePayments(router, 1n)).toBe(0)
      expect(await ledger.returnable(router, options)).toMatchObject([
        { nonce: one.nonce, state: 'SETTLED', requestState: 'VOIDED', value: 10n },
      ])
    })

    it('whose sweep a reorganisation took back are settled after the next one', async () => {
      const { ledger } = opened()
      const account = await openHouse(ledger)
      const { collector, payer: router } = account.config
      await paidFor(ledger, { account, one: payment({ router }), charged: 10n })
      await fund(ledger, account, { deposit: 17n, cap: 10n ** 20n })
      const first = await draftAll(ledger, collector)
      const skipped = { ...closeAs(first, () => false), skippedRows: [{ row: 0, reason: 'Unfunded' }] }
      expect(await ledger.closeBatch(skipped)).toMatchObject({ final: 0, retried: 1, voided: 0 })
      expect(await ledger.closeBatch(closeAs(await draftAll(ledger, collector)))).toMatchObject({
        final: 1,
        retried: 0,
        voided: 0,
      })
    })

    it('have no place until the mirror has their block, and lose it with that', async () => {
      const { ledger } = opened()
      const router = hex(20)
      const head = headAfter(await ledger.cursor())
      await ledger.apply({ head, events: [], mirrors: [] })
      const [early, late, back] = [payment({ router }), payment({ router }), payment({ router })]
      for (const one of [early, late, back]) await ledger.openPayment(one, null)
      await ledger.paymentSettled(early, { transaction: hex(32), block: head.number })
      for (const one of [late, back]) await ledger.paymentSettled(one, { transaction: hex(32), block: head.number + 1 })
      for (const [from, to] of [['SETTLED', 'RETURNING'] as const, ['RETURNING', 'RETURNED'] as const])
        await ledger.movePayment(back, { from, to, block: head.number + 2 })
      const unplaced = async (upTo: number) =>
        (await ledger.unplacedPayments(router, { upTo, limit: 10 })).map(({ nonce }) => nonce)
      expect(await unplaced(head.number - 1)).toEqual([])
      expect(await unplaced(head.number)).toEqual([early.nonce])
      expect(await unplaced(head.number + 2)).toEqual([early.nonce, late.nonce, back.nonce])
      expect(await ledger.unplacedPayments(hex(20), { upTo: head.number + 2, limit: 10 })).toEqual([])

      const transaction = hex(32)
      await ledger.placePayment(early, { transaction, head })
      expect((await ledger.payment(early))?.settledIn).toBe(transaction)
      const next = headAfter(head)
      await ledger.apply({ head: next, events: [], mirrors: [] })
      await ledger.placePayment(back, null)
      await ledger.placePayment(late, { transaction, head: { ...next, hash: hex(32) } })
      expect(await unplaced(next.number)).toEqual([late.nonce])
      await ledger.placePayment(late, { transaction, head: next })
      expect(await unplaced(next.number)).toEqual([])
      await ledger.rollback(head)
      expect(await unplaced(next.number)).toEqual([late.nonce])
      await ledger.placePayment(late, { transaction, head: next })
      expect(await unplaced(next.number)).toEqual([late.nonce])
    })

    it('have earned nothing for a voided request, all of which may go back', async () => {
      const { ledger } = opened()
      const account = await openHouse(opened().ledger)
      const router = account.config.payer
      const one = payment({ router })
      await paidFor(opened().ledger, { account, one, charged: 10n })
      await fund(ledger, account, { deposit: 10n, cap: 10n ** 20n })
      const draft = await draftAll(ledger, account.config.collector)
      const outcome = { ...closeAs(draft, () => false), skippedRows: [{ row: 0, reason: 'KeyEnded' }] }
      expect(await ledger.closeBatch(outcome)).toEqual({ final: 0, retried: 0, voided: 1 })
      expect(await earned(opened().ledger, account)).toBe(0n)
      const [back] = await ledger.returnable(router, { endedBefore: 0, least: 1n, limit: 10 })
      expect(back).toMatchObject({ nonce: one.nonce, requestState: 'VOIDED', value: 10n })
    })

    it('are found by what their request was reserved under, unless it was released', async () => {
      const { ledger } = opened()
      const account = await openHouse(opened().ledger)
      const [one, two] = [payment(), payment()]
      const [identity, bodyHash] = [hex(32), hex(32)]
      const asked = (requestId: string) => order(account, { requestId, bodyHash, idempotencyKey: identity })
      await ledger.openPayment(one, null)
      expect(await ledger.paymentFor(account.accountId, identity)).toBeNull()
      await ledger.reserve(asked(one.requestId), 1000)
      expect(await ledger.paymentFor(account.accountId, identity)).toMatchObject({ nonce: one.nonce, requestIdentity: identity })
      expect(await ledger.paymentFor(hex(32), identity)).toBeNull()
      await ledger.release(one.requestId, 'provider.failed')
      expect(await ledger.paymentFor(account.accountId, identity)).toBeNull()
      await ledger.openPayment(two, null)
      await ledger.reserve(asked(two.requestId), 1000)
      expect(await ledger.paymentFor(account.accountId, identity)).toMatchObject({ nonce: two.nonce })
    })

    it('have what was delivered replaced only as it was read, page by page', async () => {
      const { ledger } = opened()
      const ids = Array.from({ length: 5 }, () => hex(32)).toSorted()
      for (const requestId of ids) {
        const one = payment({ requestId })
        await ledger.openPayment(one, null)
        await ledger.paymentDelivered(one, new Uint8Array([1]))
      }
      const found: string[] = []
      for (let after = ''; ; after = found.at(-1) ?? '') {
        const page = await ledger.sealedDeliveries({ after, limit: 2 })
        found.push(...page.map(({ requestId }) => requestId))
        if (page.length < 2) break
      }
      expect(found).toEqual(found.toSorted())
      expect(found).toEqual(expect.arrayContaining(ids))
      const [id = ''] = ids
      const [from, to] = [new Uint8Array([1]), new Uint8Array([2])]
      expect(await ledger.resealDelivery(id, { from, to })).toBe(true)
      expect(await ledger.resealDelivery(id, { from, to })).toBe(false)
      expect((await ledger.paymentOf(id))?.delivery).toEqual(to)
    })
  })
}
