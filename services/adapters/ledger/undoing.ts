import { keccak256 } from 'ethers'
import { GranaryError } from '../../core/errors.ts'
import { lockAccountsOf, lockBatch, requestsOf } from './batches.ts'
import { chargeAgain, giveBack } from './closing.ts'
import type { Query } from './database.ts'

const MAX_EXPIRED = 10_000

/** What became too old to be credited while it waited: not the payer's debt, and nobody's income. */
export async function expire(
  query: Query,
  { collector, servedBefore }: { collector: string; servedBefore: number },
): Promise<number> {
  const { rows } = await query<{ request_id: string; account_id: string }>(
    `SELECT u.request_id, u.account_id FROM unsettled u JOIN accounts a USING (account_id)
     WHERE a.collector = $1 AND u.batch_id IS NULL AND u.served_at < $2 ORDER BY u.served_at LIMIT $3`,
    [collector, servedBefore, MAX_EXPIRED],
  )
  if (rows.length === 0) return 0
  await query('SELECT FROM accounts WHERE account_id = ANY($1) ORDER BY account_id FOR NO KEY UPDATE', [
    [...new Set(rows.map(({ account_id }) => account_id))],
  ])
  // Between the look and the lock a batch may have taken some.
  const voided = await query<{ request_id: string }>(
    `WITH ended AS (
       DELETE FROM unsettled WHERE request_id = ANY($1) AND batch_id IS NULL RETURNING request_id
     )
     UPDATE requests q SET state = 'VOIDED', reason = 'Expired' FROM ended e WHERE q.request_id = e.request_id RETURNING q.request_id`,
    [rows.map(({ request_id }) => request_id)],
  )
  await giveBack(
    query,
    voided.rows.map(({ request_id }) => request_id),
  )
  return voided.rows.length
}

/**
 * Undoes closeBatch: the split leaves the books, what was FINAL, came back or was voided is in the batch again, as far as no
 * other batch has taken it since.
 */
export async function reopenBatch(query: Query, batchId: string): Promise<void> {
  const batch = await lockBatch(query, batchId)
  if (batch.state === 'OPEN') return
  if (batch.state !== 'FINAL') throw new GranaryError('internal', 'Only a final batch can be opened again.', { batchId })
  await lockAccountsOf(query, batch)
  await query(
    `INSERT INTO postings (batch_id, ledger_account, amount)
     SELECT batch_id, ledger_account, -sum(amount) FROM postings WHERE batch_id = $1 GROUP BY batch_id, ledger_account HAVING sum(amount) <> 0`,
    [batchId],
  )
  const requestIds = requestsOf(batch)
  const voided = await query<{ request_id: string }>(
    `SELECT request_id FROM requests WHERE request_id = ANY($1) AND state = 'VOIDED'`,
    [requestIds],
  )
  await chargeAgain(
    query,
    voided.rows.map(({ request_id }) => request_id),
  )
  await query(
    `WITH waiting AS (
       UPDATE unsettled SET batch_id = $1 WHERE request_id = ANY($2) AND batch_id IS NULL
     ), again AS (
       UPDATE requests SET state = 'COMMITTED', batch_id = NULL, reason = NULL
       WHERE request_id = ANY($2) AND (state = 'VOIDED' OR (state = 'FINAL' AND batch_id = $1)) RETURNING *
     )
     INSERT INTO unsettled (request_id, account_id, key, sequence, head, model_id, provider, purpose, charged, served_at, batch_id)
     SELECT q.request_id, q.account_id, q.key, c.sequence, c.head, q.model_id, q.provider, q.purpose, q.charged, c.served_at, $1
     FROM again q JOIN receipts c USING (request_id)`,
    [batchId, requestIds],
  )
  // What a payer got back, or not, was for how the batch ended: that is decided again with it.
  await query(`UPDATE payments SET state = 'SETTLED' WHERE request_id = ANY($1) AND state = 'RETURNED'`, [requestIds])
  // Another transaction than the stored one may have executed the batch: what waits is what is stored.
  const hash = batch.raw === null ? null : keccak256(batch.raw)
  await query(
    `UPDATE batches SET state = 'OPEN', block = NULL, block_hash = NULL, outcome = NULL, transaction_hash = $2 WHERE batch_id = $1`,
    [batchId, hash],
  )
}
