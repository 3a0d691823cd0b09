import { expect, test } from 'vitest'
import { chargeOnce, closeAs, draftAll, fund, hex, newAccount, type OpenLedger } from './ledger-acts.ts'

/** Which receipts make a batch, and what became of it. */
export function ledgerSettling(open: () => OpenLedger): void {
  test('settles each receipt in exactly one batch and splits its gross to the unit', async () => {
    const { ledger } = open()
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
    expect(await open().book.sumsOfBatches()).toEqual([])
    expect(await open().book.balance(`lane:${models[0]}:${draft.lanes[0]?.provider}`)).toBe(0n)
    expect(await ledger.exposure(account.config.collector)).toEqual({ requests: 1, amount: 10n, oldestServedAt: 105 })
    // The mirror has not seen the batch: `from` would be stale.
    expect(await ledger.draftBatch({ ...options, batchId: hex(32), servedBefore: 999 })).toBeNull()
    await fund(ledger, account, { deposit: 1000n, charged: 50n })
    expect(await ledger.draftBatch({ ...options, batchId: hex(32), servedBefore: 999 })).toMatchObject({
      rows: [{ from: 50n }],
    })
  })

  test('refuses to book a batch whose gross on chain is another', async () => {
    const { ledger } = open()
    const account = await fund(ledger, newAccount(), { deposit: 1000n, ceiling: 1000n })
    await chargeOnce(ledger, account, { charged: 10n })
    const draft = await draftAll(ledger, account.config.collector)
    const outcome = closeAs(draft)
    const wrong = { ...outcome, lanes: outcome.lanes.map((lane) => ({ ...lane, gross: lane.gross + 1n })) }
    await expect(ledger.closeBatch(wrong)).rejects.toMatchObject({ code: 'internal' })
    expect(await ledger.closeBatch(outcome)).toMatchObject({ final: 1 })
  })

  test('skipped rows are retried or voided with their reason, and a voided charge is given back', async () => {
    const { ledger } = open()
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
      expect(await open().book.balance(`account:${account.accountId}`)).toBe(-spent)
    }
    expect(await open().book.sumsOfRequests()).toEqual([])
  })

  test('of a refused lane only what can never be credited is voided', async () => {
    const { ledger } = open()
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
    const { ledger } = open()
    const account = await fund(ledger, newAccount(), { deposit: 1000n, ceiling: 1000n })
    await chargeOnce(ledger, account, { charged: 10n })
    const first = await draftAll(ledger, account.config.collector)
    await ledger.dropBatch(first.batchId)
    await ledger.dropBatch(first.batchId)
    expect(await ledger.openBatches(account.config.collector)).toEqual([])
    expect((await draftAll(ledger, account.config.collector)).leaves).toEqual(first.leaves)
  })

  test('after a withdrawal what the deposit covers is settled first, the rest is left to the chain to refuse', async () => {
    const { ledger } = open()
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
}
