import type { SealedLedger, SellingLedger } from '../../core/selling-ledger.ts'
import type { Database } from './database.ts'

/** What lies sealed in the database: stored answers, until they are forgotten, deliveries, until they are paid, and the private keys behind API keys. */
export function openSealed({ query }: Database): SealedLedger & Pick<SellingLedger, 'forgetAnswers'> {
  return {
    async forgetAnswers({ reservedBefore, limit }) {
      const { rowCount } = await query(
        `DELETE FROM answers WHERE request_id IN (
           SELECT request_id FROM answers WHERE reserved_at < $1 ORDER BY reserved_at LIMIT $2 FOR UPDATE SKIP LOCKED)`,
        [reservedBefore, limit],
      )
      return rowCount ?? 0
    },

    async sealedKeys({ after, limit }) {
      const { rows } = await query<{ key_id: string; sealed_private_key: string }>(
        'SELECT key_id, sealed_private_key FROM api_keys WHERE key_id > $1 ORDER BY key_id LIMIT $2',
        [after, limit],
      )
      return rows.map(({ key_id, sealed_private_key }) => ({ keyId: key_id, sealed: sealed_private_key }))
    },

    async resealKey(keyId, { from, to }) {
      const { rowCount } = await query(
        'UPDATE api_keys SET sealed_private_key = $3 WHERE key_id = $1 AND sealed_private_key = $2',
        [keyId, from, to],
      )
      return rowCount === 1
    },

    async sealedDeliveries({ after, limit }) {
      const { rows } = await query<{ request_id: string; delivery: Uint8Array }>(
        'SELECT request_id, delivery FROM payments WHERE delivery IS NOT NULL AND request_id > $1 ORDER BY request_id LIMIT $2',
        [after, limit],
      )
      return rows.map(({ request_id, delivery }) => ({ requestId: request_id, sealed: new Uint8Array(delivery) }))
    },

    async resealDelivery(requestId, { from, to }) {
      const { rowCount } = await query('UPDATE payments SET delivery = $3 WHERE request_id = $1 AND delivery = $2', [
        requestId,
        from,
        to,
      ])
      return rowCount === 1
    },

    async answersNotUnder(prefix) {
      const { rows } = await query<{ count: string; last: string | null }>(
        `SELECT count(*) AS count, max(reserved_at) AS last FROM answers
         WHERE substring(answer FROM 1 FOR $2::int) <> $1`,
        [prefix, prefix.length],
      )
      return { count: Number(rows[0]?.count ?? 0), lastReservedAt: rows[0]?.last ? Number(rows[0].last) : null }
    },
  }
}
