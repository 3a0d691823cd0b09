import { beforeAll, describe, expect, test } from 'vitest'
import type { BatchDraft, Ledger } from '../../../services/core/ports.ts'
import { type Book, chargeOnce, closeAs, deliver, fund, hex, newAccount, order } from './ledger-acts.ts'
import { ledgerHistories } from './ledger-history.ts'
import { ledgerMirror } from './ledger-mirror.ts'

/** What any Ledger must keep, whatever it is built on. `book` reads the double entry beside the port. */
export function ledgerConformance(open: () => Promise<{ ledger: Ledger; reopen: () => Promise<Ledger>; book: Book }>): void {
  describe('ledger conformance', () => {
    let ledger: Ledger
    let reopen: () => Promise<Ledger>
    let book: Book
    beforeAll(async () => {
      ;({ ledger, reopen, book } = await open())
    })

    test('of 100 parallel reserves on an account with room for 60 exactly 60 succeed', async () => {
      const account = await fund(ledger, newAccount(), { deposit: 600n, ceiling: 10_000n })
      const answers = await Promise.all(Array.from({ length: 100 }, () => ledger.reserve(order(account, { max: 10n }), 1000)))
      expect(answers.filter(({ ok }) => ok)).toHaveLength(60)
      expect(answers.find(({ ok }) => !ok)).toMatchObject({
        reason: 'insufficient',
        limit: 'deposit',
        available: 0n,
        required: 10n,
      })
    })

    test('two ledgers on one database promise the same money once', async () => {
      const account = await fund(ledger, newAccount(), { deposit: 10_000n, ceiling: 600n })
      await using other = await reopen()
      const answers = await Promise.all(
        Array.from({ length: 100 }, (_, i) => (i % 2 === 0 ? ledger : other).reserve(order(account, { max: 10n }), 1000)),
      )
      expect(answers.filter(({ ok }) => ok)).toHaveLength(60)
      expect(answers.find(({ ok }) => !ok)).toMatchObject({ limit: 'ceiling' })
    })

    test('a key spends up to its cap, another of the same account up to the deposit', async () => {
      const account = await fund(ledger, newAccount(), { deposit: 100n, ceiling: 1000n })
      const granted = await fund(ledger, { ...account, key: hex(20) }, { deposit: 100n, ceiling: 1000n, cap: 30n })
      expect(await ledger.reserve(order(granted, { max: 31n }), 1000)).toMatchObject({ reason: 'insufficient', limit: 'cap' })
      expect(await ledger.reserve(order(granted, { max: 30n }), 1000)).toEqual({ ok: true })
      expect(await ledger.reserve(order(account, { max: 71n }), 1000)).toMatchObject({ limit: 'deposit', available: 70n })
      expect(await ledger.reserve(order(account, { max: 70n }), 1000)).toEqual({ ok: true })
      expect(await ledger.standing(account.accountId, granted.key)).toMatchObject({
        reserved: 30n,
        cap: 30n,
        accountReserved: 100n,
      })
    })

    test('thawing money counts as gone, an ended key and an unknown account get nothing', async () => {
      const account = await fund(ledger, newAccount(), { deposit: 100n, thawing: 60n, ceiling: 1000n })
      expect(await ledger.reserve(order(account, { max: 41n }), 1000)).toMatchObject({ limit: 'deposit', available: 40n })
      const expired = await fund(ledger, { ...account, key: hex(20) }, { deposit: 100n, ceiling: 10n, cap: 10n, notAfter: 1000 })
      expect(await ledger.reserve(order(expired, { max: 1n }), 999)).toEqual({ ok: true })
      expect(await ledger.reserve(order(expired, { max: 1n }), 1000)).toEqual({ ok: false, reason: 'key-ended' })
      const revoked = await fund(ledger, { ...account, key: hex(20) }, { deposit: 100n, ceiling: 10n, cap: 10n, revokedAt: 5 })
      expect(await ledger.reserve(order(revoked, { max: 1n }), 999)).toEqual({ ok: false, reason: 'key-ended' })
      expect(await ledger.reserve(order({ ...account, key: hex(20) }, { max: 1n }), 999)).toEqual({
        ok: false,
        reason: 'key-ended',
      })
      expect(await ledger.reserve(order(newAccount(), { max: 1n }), 999)).toEqual({ ok: false, reason: 'account-unknown' })
    })

    test('what the chain says of an account before its configuration is known counts once it is', async () => {
      const account = newAccount()
      const key = hex(20)
      const granted = { cap: '5', spent: '0', notAfter: 9999, revokedAt: 0, nonce: 1 }
      const amounts = { deposit: '9', charged: '0', ownSpent: '0', thawing: '0', thawEndsAt: 0 }
      await ledger.apply({
        head: await book.nextHead(),
        events: [],
        mirrors: [
          { kind: 'key', id: `${account.accountId}:${key}`, block: 1, state: granted },
          { kind: 'account', id: account.accountId, block: 1, state: amounts },
        ],
      })
      expect(await ledger.standing(account.accountId, key)).toBeNull()
      await ledger.knowAccount(account.accountId, account.config)
      await ledger.knowAccount(account.accountId, account.config)
      expect(await ledger.standing(account.accountId, key)).toMatchObject({ cap: 5n, deposit: 9n })
    })

    test('keeps the highest voucher and refuses one that goes backwards', async () => {
      const account = await fund(ledger, newAccount(), { deposit: 100n, ceiling: 50n })
      const voucher = { accountId: account.accountId, key: account.key, usageHead: hex(32), signature: hex(65) }
      expect(await ledger.acceptVoucher({ ...voucher, ceiling: 50n })).toEqual({ ok: false, reason: 'backwards', ceiling: 50n })
      expect(await ledger.acceptVoucher({ ...voucher, ceiling: 2n ** 80n - 1n })).toEqual({ ok: true })
      expect(await ledger.standing(account.accountId, account.key)).toMatchObject({ ceiling: 2n ** 80n - 1n })
      expect(await ledger.acceptVoucher({ ...voucher, accountId: hex(32), ceiling: 1n })).toEqual({
        ok: false,
        reason: 'account-unknown',
      })
    })

    test('the largest cap and ceiling that the chain knows are amounts like others', async () => {
      const most = 2n ** 128n - 1n
      const account = await fund(ledger, { ...newAccount(), key: hex(20) }, { deposit: most, ceiling: most, cap: most })
      await chargeOnce(ledger, account, { charged: 2n ** 100n })
      expect(await ledger.standing(account.accountId, account.key)).toMatchObject({
        cap: most,
        ceiling: most,
        deposit: most,
        spent: 2n ** 100n,
      })
      expect(await ledger.draftBatch(draftAllOptions(account.config.collector))).toMatchObject({
        rows: [{ parts: [{ amount: 2n ** 100n }] }],
      })
    })

    test('one idempotency key is reserved once, answered again, and free after a release', async () => {
      const account = await fund(ledger, newAccount(), { deposit: 100n, ceiling: 100n })
      const orders = Array.from({ length: 20 }, () => order(account, { max: 5n, idempotencyKey: 'same', bodyHash: '0xaa' }))
      const answers = await Promise.all(orders.map((one) => ledger.reserve(one, 1000)))
      expect(answers.filter(({ ok }) => ok)).toHaveLength(1)
      const winner = orders[answers.findIndex(({ ok }) => ok)] ?? order(account)
      expect(answers.filter((answer) => !answer.ok && answer.reason === 'repeated')).toHaveLength(19)
      expect(await ledger.reserve(order(account, { idempotencyKey: 'same', bodyHash: '0xbb' }), 1000)).toEqual({
        ok: false,
        reason: 'conflict',
        requestId: winner.requestId,
      })
      await ledger.release(winner.requestId, 'provider.failed')
      await ledger.release(winner.requestId, 'again')
      expect(await ledger.request(winner.requestId)).toMatchObject({ state: 'RELEASED', reason: 'provider.failed' })
      expect(await ledger.reserve(winner, 1001)).toEqual({ ok: true })
      await ledger.release(winner.requestId, 'deadline.exceeded')
      const retry = order(account, { max: 5n, idempotencyKey: 'same', bodyHash: '0xaa' })
      expect(await ledger.reserve(retry, 1002)).toEqual({ ok: true })
      const { answer } = await ledger.commit({ ...deliver(retry, { charged: 5n }), keepAnswer: true })
      expect(await ledger.reserve(winner, 1003)).toMatchObject({
        reason: 'repeated',
        request: { requestId: retry.requestId, state: 'COMMITTED', charged: 5n, answer },
      })
      expect(await ledger.standing(account.accountId, account.key)).toMatchObject({ spent: 5n, reserved: 0n })
    })

    test('parallel commits chain their receipts without a gap, and a repeat changes nothing', async () => {
      const account = await fund(ledger, newAccount(), { deposit: 1000n, ceiling: 1000n })
      const deliveries = await Promise.all(Array.from({ length: 20 }, () => chargeOnce(ledger, account, { charged: 7n })))
      const lines = (await ledger.statement(account.accountId, { limit: 100 })).toReversed()
      expect(lines.map(({ sequence }) => sequence)).toEqual(lines.map((_, i) => BigInt(i) + 1n))
      const inOrder = deliveries.toSorted((a, b) => Number(a.committed.sequence - b.committed.sequence))
      expect(inOrder.slice(1).map(({ committed }) => committed.previousHead)).toEqual(
        inOrder.slice(0, -1).map(({ committed }) => committed.head),
      )
      for (const { delivery, committed } of deliveries) expect(await ledger.commit(delivery)).toEqual(committed)
      expect(await ledger.standing(account.accountId, account.key)).toMatchObject({ spent: 140n, accountCharged: 140n })
      expect((await ledger.statement(account.accountId, { limit: 5, before: 11n })).map(({ sequence }) => sequence)).toEqual([
        10n,
        9n,
        8n,
        7n,
        6n,
      ])
      expect(await book.sumsOfRequests()).toEqual([])
    })

    test('refuses a second receipt for a request, a charge above the reservation, and a commit after the release', async () => {
      const account = await fund(ledger, newAccount(), { deposit: 1000n, ceiling: 1000n })
      const { delivery, reservation } = await chargeOnce(ledger, account, { charged: 7n })
      const other = { ...delivery, receipt: { ...delivery.receipt, units: 99n } }
      await expect(ledger.commit(other)).rejects.toMatchObject({ code: 'internal' })
      const dear = order(account, { max: 5n })
      await ledger.reserve(dear, 1000)
      await expect(ledger.commit(deliver(dear, { charged: 6n }))).rejects.toMatchObject({ code: 'internal' })
      await ledger.release(dear.requestId, 'gone')
      await expect(ledger.commit(deliver(dear, { charged: 5n }))).rejects.toMatchObject({ code: 'internal' })
      await ledger.release(reservation.requestId, 'too late')
      expect(await ledger.request(reservation.requestId)).toMatchObject({ state: 'COMMITTED', charged: 7n })
      expect(await ledger.standing(account.accountId, account.key)).toMatchObject({ spent: 7n, reserved: 0n })
    })

    test('a request ends once when commit and release race', async () => {
      const account = await fund(ledger, newAccount(), { deposit: 1000n, ceiling: 1000n })
      const reservations = Array.from({ length: 20 }, () => order(account, { max: 3n }))
      for (const one of reservations) await ledger.reserve(one, 1000)
      const ends = await Promise.all(
        reservations.map(async (one) => {
          const [committed] = await Promise.allSettled([
            ledger.commit(deliver(one, { charged: 3n })),
            ledger.release(one.requestId, 'late'),
          ])
          const stored = await ledger.request(one.requestId)
          expect(stored?.state).toBe(committed.status === 'fulfilled' ? 'COMMITTED' : 'RELEASED')
          return stored?.charged ?? 0n
        }),
      )
      const spent = ends.reduce((sum, charged) => sum + charged, 0n)
      expect(await ledger.standing(account.accountId, account.key)).toMatchObject({ spent, reserved: 0n })
    })

    test('what a dead gateway left is released, and only that', async () => {
      const account = await fund(ledger, newAccount(), { deposit: 1000n, ceiling: 1000n })
      const owner = `gateway-${hex(4)}`
      const orders = Array.from({ length: 3 }, () => order(account, { max: 3n, owner }))
      for (const one of orders) await ledger.reserve(one, 1000)
      await ledger.dispatched(orders[0]?.requestId ?? '', hex(20))
      if (orders[1]) await ledger.commit(deliver(orders[1], { charged: 2n }))
      await ledger.reserve(order(account, { max: 4n, owner: 'another' }), 1000)
      expect(await ledger.releaseLeftovers(owner)).toBe(2)
      expect(await ledger.standing(account.accountId, account.key)).toMatchObject({ spent: 2n, reserved: 4n })
    })

    test('settles each receipt in exactly one batch and splits its gross to the unit', async () => {
      const account = await fund(ledger, newAccount(), { deposit: 1000n, ceiling: 1000n })
      const models = [hex(32), hex(32)]
      for (let i = 0; i < 6; i += 1)
        await chargeOnce(ledger, account, { charged: 10n, modelId: models[i % 2] ?? '', servedAt: 100 + i })
      const options = { collector: account.config.collector, minGross: 0n, servedBefore: 105, maxRows: 8, maxLanes: 8 }
      expect(await ledger.draftBatch({ ...options, batchId: hex(32), minGross: 51n })).toBeNull()
      const draft = await ledger.draftBatch({ ...options, batchId: hex(32) })
      if (!draft) throw new Error('no draft')
      expect(draft.lanes.map(({ modelId, lastServedAt }) => [modelId, lastServedAt])).toEqual([
        [models[0], 104],
        [models[1], 103],
      ])
      expect(draft.rows).toMatchObject([
        {
          from: 0n,
          parts: [
            { lane: 0, amount: 30n },
            { lane: 1, amount: 20n },
          ],
          voucher: { ceiling: 1000n },
        },
      ])
      expect(draft.leaves).toHaveLength(5)
      expect(await ledger.draftBatch({ ...options, batchId: hex(32), servedBefore: 999 })).toBeNull()
      const transaction = { raw: '0x01', hash: hex(32), nonce: 7 }
      await ledger.recordTransaction(draft.batchId, transaction)
      expect(await ledger.openBatches(account.config.collector)).toEqual([{ ...draft, transaction }])
      expect(await ledger.exposure(account.config.collector)).toEqual({ requests: 6, amount: 60n, oldestServedAt: 100 })
      const outcome = closeAs(draft)
      expect(await ledger.closeBatch(outcome)).toEqual({ final: 5, retried: 0, voided: 0 })
      expect(await ledger.closeBatch(outcome)).toEqual({ final: 5, retried: 0, voided: 0 })
      expect(await book.sumsOfBatches()).toEqual([])
      expect(await book.balance(`lane:${models[0]}:${draft.lanes[0]?.provider}`)).toBe(0n)
      expect(await ledger.exposure(account.config.collector)).toEqual({ requests: 1, amount: 10n, oldestServedAt: 105 })
      // The mirror has not seen the batch: `from` would be stale.
      expect(await ledger.draftBatch({ ...options, batchId: hex(32), servedBefore: 999 })).toBeNull()
      await fund(ledger, account, { deposit: 1000n, charged: 50n })
      expect(await ledger.draftBatch({ ...options, batchId: hex(32), servedBefore: 999 })).toMatchObject({
        rows: [{ from: 50n }],
      })
    })

    test('refuses to book a batch whose gross on chain is another', async () => {
      const account = await fund(ledger, newAccount(), { deposit: 1000n, ceiling: 1000n })
      await chargeOnce(ledger, account, { charged: 10n })
      const draft = await draftAll(ledger, account.config.collector)
      const outcome = closeAs(draft)
      const wrong = { ...outcome, lanes: outcome.lanes.map((lane) => ({ ...lane, gross: lane.gross + 1n })) }
      await expect(ledger.closeBatch(wrong)).rejects.toMatchObject({ code: 'internal' })
      expect(await ledger.closeBatch(outcome)).toMatchObject({ final: 1 })
    })

    test('skipped rows are retried or voided with their reason, and a voided charge is given back', async () => {
      for (const [reason, state] of [
        ['Stale', 'COMMITTED'],
        ['Unfunded', 'VOIDED'],
        ['KeyEnded', 'VOIDED'],
      ] as const) {
        const account = await fund(ledger, newAccount(), { deposit: 1000n, ceiling: 1000n })
        const { reservation } = await chargeOnce(ledger, account, { charged: 10n })
        const draft = await draftAll(ledger, account.config.collector)
        const closed = await ledger.closeBatch({ ...closeAs(draft), lanes: [], skippedRows: [{ row: 0, reason }] })
        expect(closed).toEqual({ final: 0, retried: state === 'COMMITTED' ? 1 : 0, voided: state === 'VOIDED' ? 1 : 0 })
        expect(await ledger.request(reservation.requestId)).toMatchObject({ state, reason })
        const spent = state === 'VOIDED' ? 0n : 10n
        expect(await ledger.standing(account.accountId, account.key)).toMatchObject({ spent, accountCharged: spent })
        expect(await book.balance(`account:${account.accountId}`)).toBe(-spent)
      }
      expect(await book.sumsOfRequests()).toEqual([])
    })

    test('of a refused lane only what can never be credited is voided', async () => {
      const account = await fund(ledger, newAccount(), { deposit: 1000n, ceiling: 1000n })
      const modelId = hex(32)
      for (const servedAt of [10, 20, 30]) await chargeOnce(ledger, account, { charged: 5n, modelId, servedAt })
      const kept = await chargeOnce(ledger, account, { charged: 4n, servedAt: 15 })
      const draft = await draftAll(ledger, account.config.collector)
      const refused = draft.lanes.findIndex((lane) => lane.modelId === modelId)
      const outcome = closeAs(draft)
      const lanes = outcome.lanes.filter((lane) => lane.modelId !== modelId)
      expect(await ledger.closeBatch({ ...outcome, lanes, refusedLanes: [refused], expiredBefore: 11 })).toEqual({
        final: 1,
        retried: 1,
        voided: 2,
      })
      expect(await ledger.request(kept.reservation.requestId)).toMatchObject({ state: 'FINAL' })
      expect(await ledger.standing(account.accountId, account.key)).toMatchObject({ spent: 9n })
    })

    test('a dropped batch gives its receipts back to the next one', async () => {
      const account = await fund(ledger, newAccount(), { deposit: 1000n, ceiling: 1000n })
      await chargeOnce(ledger, account, { charged: 10n })
      const first = await draftAll(ledger, account.config.collector)
      await ledger.dropBatch(first.batchId)
      await ledger.dropBatch(first.batchId)
      expect(await ledger.openBatches(account.config.collector)).toEqual([])
      expect((await draftAll(ledger, account.config.collector)).leaves).toEqual(first.leaves)
    })

    test('after a withdrawal what the deposit covers is settled first, the rest is left to the chain to refuse', async () => {
      const account = await fund(ledger, newAccount(), { deposit: 100n, ceiling: 1000n })
      for (const servedAt of [1, 2, 3]) await chargeOnce(ledger, account, { charged: 10n, servedAt })
      await fund(ledger, account, { deposit: 25n })
      const first = await draftAll(ledger, account.config.collector)
      expect(first.rows).toMatchObject([{ parts: [{ amount: 10n }, { amount: 10n }] }])
      await ledger.closeBatch(closeAs(first))
      await fund(ledger, account, { deposit: 25n, charged: 20n })
      const rest = await draftAll(ledger, account.config.collector)
      expect(rest.rows).toMatchObject([{ from: 20n, parts: [{ amount: 10n }] }])
      await ledger.closeBatch({ ...closeAs(rest), lanes: [], skippedRows: [{ row: 0, reason: 'Unfunded' }] })
      expect(await ledger.exposure(account.config.collector)).toMatchObject({ requests: 0, amount: 0n })
    })

    test('another ledger on the same database sees the same state', async () => {
      const account = await fund(ledger, newAccount(), { deposit: 100n, ceiling: 100n })
      const { reservation } = await chargeOnce(ledger, account, { charged: 3n })
      const before = [
        await ledger.standing(account.accountId, account.key),
        await ledger.request(reservation.requestId),
        await ledger.cursor(),
      ]
      await using other = await reopen()
      expect([
        await other.standing(account.accountId, account.key),
        await other.request(reservation.requestId),
        await other.cursor(),
      ]).toEqual(before)
      expect(await other.account(account.accountId)).toEqual(account.config)
    })

    ledgerHistories(() => ({ ledger, book }))
    ledgerMirror(() => ledger)
  })
}

function draftAllOptions(collector: string) {
  return { batchId: hex(32), collector, minGross: 0n, servedBefore: 10_000, maxRows: 512, maxLanes: 64 }
}

async function draftAll(ledger: Ledger, collector: string): Promise<BatchDraft> {
  const draft = await ledger.draftBatch(draftAllOptions(collector))
  if (!draft) throw new Error('There is nothing to draft.')
  return draft
}
