import { GranaryError } from '../../core/errors.ts'
import type { BatchLane, BatchRow, StoredBatch } from '../../core/settlement-ledger.ts'
import type { Query } from './database.ts'

export interface BatchRecord {
  batch_id: string
  collector: string
  state: 'OPEN' | 'FINAL' | 'DROPPED'
  lanes: BatchLane[]
  /** Money as decimal strings. */
  rows: StoredRow[]
  leaves: string[]
  raw: string | null
  transaction_hash: string | null
  nonce: string | null
  outcome: { final: number; retried: number; voided: number } | null
}

type StoredRow = Omit<BatchRow, 'from' | 'voucher' | 'parts'> & {
  from: string
  voucher: Omit<BatchRow['voucher'], 'ceiling'> & { ceiling: string }
  parts: { lane: number; amount: string }[]
}

export async function lockBatch(query: Query, batchId: string): Promise<BatchRecord> {
  const { rows } = await query<BatchRecord>('SELECT * FROM batches WHERE batch_id = $1 FOR UPDATE', [batchId])
  if (!rows[0]) throw new GranaryError('internal', 'No such batch.', { batchId })
  return rows[0]
}

export async function lockAccountsOf(query: Query, batch: BatchRecord): Promise<void> {
  const ids = batch.rows.map(({ accountId }) => accountId)
  await query('SELECT FROM accounts WHERE account_id = ANY($1) ORDER BY account_id FOR NO KEY UPDATE', [ids])
}

export function requestsOf({ rows }: Pick<BatchRecord, 'rows'>): string[] {
  return rows.flatMap(({ requestIds }) => requestIds)
}

export function batchOf({ batch_id, collector, lanes, rows, leaves, raw, transaction_hash, nonce }: BatchRecord): StoredBatch {
  const signed = raw !== null && transaction_hash !== null && nonce !== null
  return {
    batchId: batch_id,
    collector,
    lanes,
    rows: rows.map((row) => ({
      ...row,
      from: BigInt(row.from),
      voucher: { ...row.voucher, ceiling: BigInt(row.voucher.ceiling) },
      parts: row.parts.map(({ lane, amount }) => ({ lane, amount: BigInt(amount) })),
    })),
    leaves,
    transaction: signed ? { raw, hash: transaction_hash, nonce: Number(nonce) } : null,
  }
}
