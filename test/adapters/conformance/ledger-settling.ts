import { keccak256 } from 'ethers'
import { expect, test } from 'vitest'
import type { BatchDraft } from '../../../services/core/settlement-ledger.ts'
import {
  chargeOnce,
  closeAs,
  draftAll,
  draftAllOptions,
  fund,
  hex,
  newAccount,
  type OpenLedger,
  type TestAccount,
} from './ledger-acts.ts'

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
    expect(await ledger.exposure(account.config.collector)).toEqual({ requests: 6, amount: 60n, oldestServedAt: 100, atRisk: 0n })
    expect(await ledger.due(account.config.collector)).toEqual({ oldestServedAt: 100, atRisk: 0n })
    const outcome = closeAs(draft)
    expect(await ledger.closeBatch(outcome)).toEqual({ final: 5, retried: 0, voided: 0 })
    expect(await ledger.closeBatch(outcome)).toEqual({ final: 5, retried: 0, voided: 0 })
    expect(await open().book.sumsOfBatches()).toEqual([])
    expect(await open().book.balance(`lane:${models[0]}:${draft.lanes[0]?.provider}`)).toBe(0n)
    expect(await ledger.exposure(account.config.collector)).toEqual({ requests: 1, amount: 10n, oldestServedAt: 105, atRisk: 0n })
    expect(await ledger.due(account.config.collector)).toEqual({ oldestServedAt: 105, atRisk: 0n })
    expect(await ledger.due(hex(20))).toEqual({ oldestServedAt: null, atRisk: 0n })
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

  test('leaves to wait what earns less than its gas, be it a row, a lane or the batch', async () => {
    const { ledger } = open()
    const economy = { feePpm: 100_000n, batch: 5n, lane: 2n, ownRow: 3n, grantedRow: 4n }
    const collector = hex(20)
    const modelId = hex(32)
    const earner = async (charged: bigint, chain: { cap?: bigint } = {}, model = modelId) => {
      const account = newAccount()
      const owned = { ...account, config: { ...account.config, collector }, key: chain.cap ? hex(20) : account.key }
      await fund(ledger, owned, { deposit: 1000n, ceiling: 1000n, ...chain })
      await chargeOnce(ledger, owned, { charged, modelId: model })
      return owned
    }
    const draftNow = () => ledger.draftBatch({ ...draftAllOptions(collector), economy })
    // Earns 9 of the 10 that batch, lane and row cost.
    const first = await earner(99n)
    expect(await draftNow()).toBeNull()
    const small = await earner(29n)
    expect(await draftNow()).toBeNull()
    const granted = await earner(40n, { cap: 1000n })
    const other = await earner(30n)
    const dust = await earner(19n, {}, hex(32))
    // 9 + 4 + 3 against 5 + 2 + 3 + 4 + 3: one short. Ten more, and it pays.
    expect(await draftNow()).toBeNull()
    await chargeOnce(ledger, first, { charged: 11n, modelId })
    const draft = await draftNow()
    expect(draft?.rows.map(({ accountId }) => accountId).sort()).toEqual(
      [first, granted, other].map(({ accountId }) => accountId).sort(),
    )
    expect([small, dust].some(({ accountId }) => draft?.rows.some((row) => row.accountId === accountId))).toBe(false)
  })

  test('settles at a loss what a thaw may take away and what a model served whose consent has ended, and nothing beside it', async () => {
    const { ledger } = open()
    const economy = { feePpm: 100_000n, batch: 500n, lane: 200n, ownRow: 300n, grantedRow: 400n }
    const collector = hex(20)
    const [modelId, ended] = [hex(32), hex(32)]
    const accounts = [newAccount(), newAccount(), newAccount()].map((one) => ({ ...one, config: { ...one.config, collector } }))
    const [thawing, safe, last] = accounts
    if (!thawing || !safe || !last) throw new Error('unreachable')
    for (const account of accounts) await fund(ledger, account, { deposit: 1000n, ceiling: 1000n })
    for (const account of [thawing, safe]) await chargeOnce(ledger, account, { charged: 10n, modelId })
    const draftNow = () => ledger.draftBatch({ ...draftAllOptions(collector), economy })
    expect(await draftNow()).toBeNull()
    // What the thaw leaves covers the debt to the unit.
    await fund(ledger, thawing, { deposit: 1000n, thawing: 990n })
    for (const shown of [await ledger.exposure(collector), await ledger.due(collector)])
      expect(shown).toMatchObject({ atRisk: 0n })
    expect(await draftNow()).toBeNull()
    await fund(ledger, thawing, { deposit: 1000n, thawing: 991n })
    for (const shown of [await ledger.exposure(collector), await ledger.due(collector)])
      expect(shown).toMatchObject({ atRisk: 10n })
    expect((await draftNow())?.rows.map(({ accountId }) => accountId)).toEqual([thawing.accountId])
    for (const shown of [await ledger.exposure(collector), await ledger.due(collector)])
      expect(shown).toMatchObject({ atRisk: 0n })

    await chargeOnce(ledger, last, { charged: 1n, modelId: ended })
    expect(await draftNow()).toBeNull()
    const head = await open().book.nextHead()
    const synced = { contract: 'ModelRegistry', name: 'ModelSynced', args: { modelId: ended, purpose: '1', endsAt: '2000' } }
    const event = { block: head.number, blockHash: head.hash, transaction: hex(32), logIndex: 0, ...synced }
    await ledger.apply({ head, events: [event], mirrors: [] })
    expect((await draftNow())?.rows.map(({ accountId }) => accountId)).toEqual([last.accountId])
  })

  test('what is too old to be credited is voided and given back, but not what a batch has', async () => {
    const { ledger } = open()
    const account = await fund(ledger, newAccount(), { deposit: 1000n, ceiling: 1000n })
    const { collector } = account.config
    const batched = await chargeOnce(ledger, account, { charged: 3n, servedAt: 50 })
    await draftAll(ledger, collector)
    const old = await chargeOnce(ledger, account, { charged: 5n, servedAt: 99 })
    const young = await chargeOnce(ledger, account, { charged: 7n, servedAt: 100 })
    expect(await ledger.expire({ collector: hex(20), servedBefore: 100 })).toBe(0)
    expect(await ledger.expire({ collector, servedBefore: 100 })).toBe(1)
    expect(await ledger.expire({ collector, servedBefore: 100 })).toBe(0)
    const stateOf = async ({ reservation }: typeof old) => (await ledger.request(reservation.requestId))?.state
    expect([await stateOf(batched), await stateOf(old), await stateOf(young)]).toEqual(['BATCHED', 'VOIDED', 'COMMITTED'])
    expect(await ledger.standing(account.accountId, account.key)).toMatchObject({ spent: 10n, accountCharged: 10n })
    expect(await open().book.balance(`account:${account.accountId}`)).toBe(-10n)
    expect(await open().book.sumsOfRequests()).toEqual([])
  })

  test('what a batch skipped and a later one took is final in the first when a reorganisation lets that pass, and charged once', async () => {
    const { ledger } = open()
    const account = await fund(ledger, newAccount(), { deposit: 1000n, ceiling: 1000n })
    const { collector } = account.config
    const one = await chargeOnce(ledger, account, { charged: 10n, servedAt: 5, modelId: MODEL })
    const skipsAll = (draft: BatchDraft) => ({
      ...closeAs(draft, () => false),
      skippedRows: [{ row: 0, reason: 'Stale' }],
    })
    const first = await draftAll(ledger, collector)
    expect(await ledger.closeBatch(skipsAll(first))).toEqual({ final: 0, retried: 1, voided: 0 })
    const second = await draftAll(ledger, collector)
    expect(await ledger.closeBatch(closeAs(second))).toEqual({ final: 1, retried: 0, voided: 0 })
    for (const { batchId } of [second, first]) await ledger.reopenBatch(batchId)

    expect(await ledger.closeBatch(closeAs(first))).toEqual({ final: 1, retried: 0, voided: 0 })
    expect(await ledger.closeBatch(skipsAll(second))).toEqual({ final: 0, retried: 0, voided: 0 })
    expect(await ledger.statement(account.accountId, { limit: 9 })).toMatchObject([
      { requestId: one.reservation.requestId, state: 'FINAL', batchId: first.batchId },
    ])
    expect(await ledger.due(collector)).toEqual({ oldestServedAt: null, atRisk: 0n })
    expect(await ledger.standing(account.accountId, account.key)).toMatchObject({ spent: 10n, accountCharged: 10n })
    expect(await open().book.balance(`collector:${collector}`)).toBe(0n)
    expect(await open().book.balance(`lane:${MODEL}:${first.lanes[0]?.provider}`)).toBe(0n)
    expect([await open().book.sumsOfRequests(), await open().book.sumsOfBatches()]).toEqual([[], []])
  })

  test('a batch whose block the chain has dropped is open again, with all its requests, and is judged anew', async () => {
    const { ledger } = open()
    const collector = hex(20)
    const accounts: TestAccount[] = []
    for (const [servedAt, charged] of [100n, 200n].entries()) {
      const account = newAccount()
      accounts.push(
        await fund(ledger, { ...account, config: { ...account.config, collector } }, { deposit: 1000n, ceiling: 1000n }),
      )
      await chargeOnce(ledger, accounts.at(-1) ?? account, { charged, servedAt, modelId: MODEL })
    }
    const draft = await draftAll(ledger, collector)
    const transaction = { raw: '0x01', hash: keccak256('0x01'), nonce: 7 }
    await ledger.recordTransaction(draft.batchId, transaction)
    const applied = closeAs(draft, (row) => row === 0)
    await ledger.closeBatch({ ...applied, block: 9, skippedRows: [{ row: 1, reason: 'Unfunded' }] })
    expect(await open().book.balance(`collector:${collector}`)).toBe(2n)
    expect(await ledger.finalBatches(collector, 10)).toEqual([])
    expect(await ledger.finalBatches(collector, 9)).toEqual([{ batchId: draft.batchId, block: 9, blockHash: applied.blockHash }])

    await ledger.reopenBatch(draft.batchId)
    await ledger.reopenBatch(draft.batchId)
    expect(await ledger.finalBatches(collector, 0)).toEqual([])
    expect(await ledger.openBatches(collector)).toEqual([{ ...draft, transaction }])
    expect(await open().book.balance(`collector:${collector}`)).toBe(0n)
    for (const [index, row] of draft.rows.entries()) {
      const account = accounts.find(({ accountId }) => accountId === row.accountId)
      const amount = row.parts.reduce((sum, part) => sum + part.amount, 0n)
      expect(await ledger.standing(row.accountId, account?.key ?? ''), `row ${index}`).toMatchObject({ spent: amount })
      expect(await open().book.balance(`account:${row.accountId}`)).toBe(-amount)
    }
    expect(await open().book.sumsOfRequests()).toEqual([])
    expect(await open().book.sumsOfBatches()).toEqual([])

    expect(await ledger.closeBatch(closeAs(draft))).toEqual({ final: 2, retried: 0, voided: 0 })
    expect(await open().book.balance(`lane:${MODEL}:${draft.lanes[0]?.provider}`)).toBe(0n)
    expect(await open().book.balance(`collector:${collector}`)).toBe(6n)
  })
}

const MODEL = hex(32)
