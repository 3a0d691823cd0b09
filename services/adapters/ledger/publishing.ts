import type { JobReceipt } from '../../core/jobs.ts'
import type { RequestState } from '../../core/selling-ledger.ts'
import type { BatchReceipt, PublishingLedger, SettledBatch, StoredReceipt } from '../../core/settlement-ledger.ts'
import { textArray } from './arrays.ts'
import { BATCH, STATE, UNSETTLED } from './batched.ts'
import { type BatchRecord, batchOf } from './batches.ts'
import type { Database } from './database.ts'

/** Chapter 5, for everybody's eyes: settled batches and the receipts that they rest on. */
export function openPublishing({ query }: Database): PublishingLedger {
  return {
    async settledBatches(collector, { limit, beforeBlock }) {
      const { rows } = await query<FinalRecord>(
        `SELECT * FROM batches WHERE collector = $1 AND state = 'FINAL' AND block < coalesce($2::int, 2147483647)
         ORDER BY block DESC, batch_id LIMIT $3`,
        [collector, beforeBlock ?? null, limit],
      )
      return rows.map(settledOf)
    },

    async settledBatch(batchId) {
      const { rows } = await query<FinalRecord>(`SELECT * FROM batches WHERE batch_id = $1 AND state = 'FINAL'`, [batchId])
      return rows[0] ? { ...settledOf(rows[0]), draft: batchOf(rows[0]) } : null
    },

    async receiptsOf(requestIds) {
      const { rows } = await query<BatchReceiptRow>(
        'SELECT request_id, sequence, previous_head, receipt, provider_signature FROM receipts WHERE request_id = ANY($1)',
        [textArray(requestIds)],
      )
      return rows.map(batchReceiptOf)
    },

    async unpublishedBatches(collector, limit) {
      const { rows } = await query<{ batch_id: string }>(
        `SELECT batch_id FROM batches WHERE collector = $1 AND state = 'FINAL' AND cid IS NULL ORDER BY block LIMIT $2`,
        [collector, limit],
      )
      return rows.map(({ batch_id }) => batch_id)
    },

    async publishedAs(batchId, cid) {
      await query('UPDATE batches SET cid = $2 WHERE batch_id = $1', [batchId, cid])
    },

    async receipts(accountId, { limit, before }) {
      const { rows } = await query<ReceiptRow>(
        `${RECEIPTS} WHERE c.account_id = $1 AND ($2::bigint IS NULL OR c.sequence < $2) ORDER BY c.sequence DESC LIMIT $3`,
        [accountId, before ?? null, limit],
      )
      return rows.map(receiptOf)
    },
  }
}

const RECEIPTS = `SELECT c.request_id, c.account_id, q.key, c.sequence, c.previous_head, c.head, q.charged, c.receipt, c.provider_signature,
  ${STATE}, ${BATCH} FROM receipts c JOIN requests q USING (request_id) ${UNSETTLED}`

type FinalRecord = BatchRecord & { block: number; cid: string | null }

interface BatchReceiptRow {
  request_id: string
  sequence: string
  previous_head: string
  receipt: Omit<JobReceipt, 'units' | 'unitPrice'> & { units: string; unitPrice: string }
  provider_signature: string
}

interface ReceiptRow extends BatchReceiptRow {
  account_id: string
  key: string
  head: string
  charged: string
  state: RequestState
  batch_id: string | null
}

function settledOf({ batch_id, transaction_hash, block, cid }: FinalRecord): SettledBatch {
  return { batchId: batch_id, transaction: transaction_hash ?? '', block, cid }
}

function batchReceiptOf(row: BatchReceiptRow): BatchReceipt {
  return {
    requestId: row.request_id,
    sequence: BigInt(row.sequence),
    previousHead: row.previous_head,
    receipt: { ...row.receipt, units: BigInt(row.receipt.units), unitPrice: BigInt(row.receipt.unitPrice) },
    providerSignature: row.provider_signature,
  }
}

function receiptOf(row: ReceiptRow): StoredReceipt {
  return {
    ...batchReceiptOf(row),
    accountId: row.account_id,
    key: row.key,
    head: row.head,
    charged: BigInt(row.charged),
    state: row.state,
    batchId: row.batch_id,
  }
}
