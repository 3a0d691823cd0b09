import type { BatchDraft, BatchOutcome, SettlementLedger, StoredBatch } from '../../../services/core/settlement-ledger.ts'
import { type Marketplace, randomId } from './marketplace.ts'

export interface MemoryRequest {
  id: string
  head: string
  charged: bigint
  servedAt: number
  state: 'COMMITTED' | 'BATCHED' | 'FINAL' | 'VOIDED'
}

/** The settlement face of a ledger with one key, kept in memory: what a settler process finds when it starts again. */
export interface MemorySettlement extends SettlementLedger {
  requests: MemoryRequest[]
  batches: StoredBatch[]
  closed: BatchOutcome[]
  /** Closed batches, as they were sent. */
  settled: StoredBatch[]
  atRisk: bigint
  /** What the last draft was asked for. */
  asked: Parameters<SettlementLedger['draftBatch']>[0] | null
  add(charged: bigint, servedAt: number): void
  /** Changes the next draft, as a defect would. */
  spoil: (draft: BatchDraft) => BatchDraft
}

export function openMemorySettlement(market: Marketplace): MemorySettlement {
  const ledger: MemorySettlement = {
    requests: [],
    batches: [],
    closed: [],
    settled: [],
    atRisk: 0n,
    asked: null,
    spoil: (draft) => draft,
    add(charged, servedAt) {
      ledger.requests.push({ id: randomId(), head: randomId(), charged, servedAt, state: 'COMMITTED' })
    },
    async draftBatch(asked) {
      const { batchId, collector, minGross, servedBefore } = asked
      ledger.asked = asked
      const taken = inState('COMMITTED').filter(({ servedAt }) => servedAt < servedBefore)
      const gross = sum(taken)
      if (taken.length === 0 || gross < minGross) return null
      for (const request of taken) request.state = 'BATCHED'
      const from = sum(inState('FINAL'))
      const lastServedAt = Math.max(...taken.map(({ servedAt }) => servedAt))
      const draft = ledger.spoil({
        batchId,
        collector,
        lanes: [{ modelId: market.modelId, provider: market.provider.sender ?? '', purpose: 1, lastServedAt }],
        rows: [
          {
            accountId: market.accountId,
            config: market.config,
            key: market.config.payer,
            from,
            voucher: await market.voucher(from + gross),
            parts: [{ lane: 0, amount: gross }],
            requestIds: taken.map(({ id }) => id),
          },
        ],
        leaves: taken.map(({ head }) => head),
      })
      ledger.batches.push({ ...draft, transaction: null })
      return draft
    },
    async recordTransaction(batchId, transaction) {
      ledger.batches = ledger.batches.map((batch) => (batch.batchId === batchId ? { ...batch, transaction } : batch))
    },
    openBatches: async () => [...ledger.batches],
    async closeBatch(outcome) {
      ledger.closed.push(outcome)
      ledger.settled.push(...ledger.batches.filter(({ batchId }) => batchId === outcome.batchId))
      const skipped = outcome.skippedRows.length > 0
      const count = move(outcome.batchId, skipped ? 'COMMITTED' : 'FINAL')
      return { final: skipped ? 0 : count, retried: skipped ? count : 0, voided: 0 }
    },
    async dropBatch(batchId) {
      move(batchId, 'COMMITTED')
    },
    async due() {
      const { oldestServedAt, atRisk } = await this.exposure('')
      return { oldestServedAt, atRisk }
    },
    async exposure() {
      const open = ledger.requests.filter(({ state }) => state === 'COMMITTED' || state === 'BATCHED')
      const oldestServedAt = open.length === 0 ? null : Math.min(...open.map(({ servedAt }) => servedAt))
      return { requests: open.length, amount: sum(open), oldestServedAt, atRisk: ledger.atRisk }
    },
    async expire({ servedBefore }) {
      const expired = inState('COMMITTED').filter(({ servedAt }) => servedAt < servedBefore)
      for (const request of expired) request.state = 'VOIDED'
      return expired.length
    },
    finalBatches: async (_, fromBlock) =>
      ledger.closed.filter(({ block }) => block >= fromBlock).sort((left, right) => right.block - left.block),
    async reopenBatch(batchId) {
      ledger.closed = ledger.closed.filter((outcome) => outcome.batchId !== batchId)
      const batch = ledger.settled.find((candidate) => candidate.batchId === batchId)
      if (!batch) throw new Error('no such batch')
      ledger.batches.push(batch)
      const ids = new Set(batch.rows.flatMap(({ requestIds }) => requestIds))
      for (const request of ledger.requests) if (ids.has(request.id)) request.state = 'BATCHED'
    },
  }

  function move(batchId: string, state: MemoryRequest['state']): number {
    const batch = ledger.batches.find((candidate) => candidate.batchId === batchId)
    const ids = new Set(batch?.rows.flatMap(({ requestIds }) => requestIds))
    const moved = ledger.requests.filter(({ id }) => ids.has(id))
    for (const request of moved) request.state = state
    ledger.batches = ledger.batches.filter((candidate) => candidate !== batch)
    return moved.length
  }

  const inState = (state: MemoryRequest['state']) => ledger.requests.filter((request) => request.state === state)
  return ledger
}

function sum(requests: readonly MemoryRequest[]): bigint {
  return requests.reduce((total, { charged }) => total + charged, 0n)
}
