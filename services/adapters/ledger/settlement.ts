import { GranaryError } from '../../core/errors.ts'
import type { BatchDraft, SettlementLedger } from '../../core/settlement-ledger.ts'
import { textArray } from './arrays.ts'
import { type BatchRecord, batchOf, lockAccountsOf, lockBatch, requestsOf } from './batches.ts'
import { closeBatch } from './closing.ts'
import type { Database, Query } from './database.ts'
import { draftBatch } from './drafting.ts'
import { expire, reopenBatch } from './undoing.ts'
import { AT_RISK } from './worth.ts'

const MAX_OPEN_BATCHES = 256

/** Chapter 5, the ledger's side: which receipts make a batch, and what became of it. */
export function openSettlement({ query, transaction, snapshot }: Database): SettlementLedger {
  return {
    // Without locks, for which charges would wait: it sees keys, accounts and receipts as of one moment.
    draftBatch: (options) =>
      snapshot(async (under) => {
        const draft = await draftBatch(under, options)
        if (draft) await store(under, draft)
        return draft
      }),

    async recordTransaction(batchId, { raw, hash, nonce }) {
      const { rowCount } = await query(
        `UPDATE batches SET raw = $2, transaction_hash = $3, nonce = $4 WHERE batch_id = $1 AND state = 'OPEN'`,
        [batchId, raw, hash, nonce],
      )
      if (rowCount !== 1) throw new GranaryError('internal', 'Only an open batch takes a transaction.', { batchId })
    },

    async openBatches(collector) {
      const { rows } = await query<BatchRecord>(
        `SELECT * FROM batches WHERE collector = $1 AND state = 'OPEN' ORDER BY nonce NULLS LAST, batch_id LIMIT $2`,
        [collector, MAX_OPEN_BATCHES],
      )
      return rows.map(batchOf)
    },

    closeBatch: (outcome) => transaction((under) => closeBatch(under, outcome)),

    dropBatch: (batchId) =>
      transaction(async (under) => {
        const batch = await lockBatch(under, batchId)
        if (batch.state === 'DROPPED') return
        if (batch.state === 'FINAL') throw new GranaryError('internal', 'A final batch cannot be dropped.', { batchId })
        await lockAccountsOf(under, batch)
        await under(
          `WITH back AS (UPDATE unsettled SET batch_id = NULL WHERE request_id = ANY($2) AND batch_id = $1 RETURNING request_id)
           UPDATE requests q SET reason = 'batch.dropped' FROM back WHERE q.request_id = back.request_id`,
          [batchId, textArray(requestsOf(batch))],
        )
        await under(`UPDATE batches SET state = 'DROPPED' WHERE batch_id = $1`, [batchId])
      }),

    expire: (options) => transaction((under) => expire(under, options)),

    async finalBatches(collector, fromBlock) {
      const { rows } = await query<{ batch_id: string; block: number; block_hash: string }>(
        `SELECT batch_id, block, block_hash FROM batches WHERE collector = $1 AND state = 'FINAL' AND block >= $2
         ORDER BY block DESC LIMIT $3`,
        [collector, fromBlock, MAX_OPEN_BATCHES],
      )
      return rows.map(({ batch_id, block, block_hash }) => ({ batchId: batch_id, block, blockHash: block_hash }))
    },

    reopenBatch: (batchId) => transaction((under) => reopenBatch(under, batchId)),

    due: (collector) =>
      snapshot(async (under) => {
        const { rows } = await under<{ oldest: string | null; risky: string[] }>(
          `SELECT (SELECT u.served_at FROM unsettled u JOIN accounts a USING (account_id) WHERE a.collector = $1 AND u.charged > 0
               ORDER BY u.served_at LIMIT 1) AS oldest,
             ARRAY(SELECT account_id FROM accounts a WHERE a.collector = $1 AND ${AT_RISK}) AS risky`,
          [collector],
        )
        const { oldest = null, risky = [] } = rows[0] ?? {}
        return {
          oldestServedAt: oldest === null ? null : Number(oldest),
          atRisk: risky.length === 0 ? 0n : await waitingOf(under, risky),
        }
      }),

    async exposure(collector) {
      const { rows } = await query<{ requests: string; amount: string; oldest: string | null; at_risk: string }>(
        `SELECT count(*) AS requests, coalesce(sum(u.charged), 0) AS amount, min(u.served_at) AS oldest,
           coalesce(sum(u.charged) FILTER (WHERE u.batch_id IS NULL AND ${AT_RISK}), 0) AS at_risk
         FROM unsettled u JOIN accounts a USING (account_id) WHERE a.collector = $1 AND u.charged > 0`,
        [collector],
      )
      const { requests = '0', amount = '0', oldest = null, at_risk: atRisk = '0' } = rows[0] ?? {}
      return {
        requests: Number(requests),
        amount: BigInt(amount),
        oldestServedAt: oldest === null ? null : Number(oldest),
        atRisk: BigInt(atRisk),
      }
    },
  }
}

async function store(query: Query, { batchId, collector, lanes, rows, leaves }: BatchDraft): Promise<void> {
  const asText = (_: string, part: unknown) => (typeof part === 'bigint' ? part.toString() : part)
  await query(`INSERT INTO batches (batch_id, collector, lanes, rows, leaves) VALUES ($1, $2, $3::json, $4::json, $5::json)`, [
    batchId,
    collector,
    JSON.stringify(lanes),
    JSON.stringify(rows, asText),
    JSON.stringify(leaves),
  ])
  const requestIds = rows.flatMap((row) => row.requestIds)
  const { rowCount } = await query('UPDATE unsettled SET batch_id = $1 WHERE request_id = ANY($2) AND batch_id IS NULL', [
    batchId,
    textArray(requestIds),
  ])
  if (rowCount !== requestIds.length) throw new GranaryError('internal', 'A receipt would be in two batches.', { batchId })
}

async function waitingOf(query: Query, accountIds: readonly string[]): Promise<bigint> {
  const { rows } = await query<{ amount: string }>(
    'SELECT coalesce(sum(charged), 0) AS amount FROM unsettled WHERE batch_id IS NULL AND account_id = ANY($1)',
    [accountIds],
  )
  return BigInt(rows[0]?.amount ?? 0)
}
