import { DAY_SECONDS } from '../../core/calendar.ts'
import type { SellingLedger } from '../../core/selling-ledger.ts'
import type { Database } from './database.ts'

interface UsageRow {
  day: string
  key: string
  model_id: string
  requests: string
  units: string
  charged: string
  settled: string
  voided: string
}

/** What was bought, counted from the receipts themselves: no sum beside them that could drift. */
export function openUsage({ query }: Database): Pick<SellingLedger, 'usage'> {
  return {
    async usage(accountId, { from, to, key, limit }) {
      const { rows } = await query<UsageRow>(
        `SELECT c.served_at / ${DAY_SECONDS} AS day, q.key, q.model_id, count(*) FILTER (WHERE q.state <> 'VOIDED') AS requests,
           coalesce(sum((c.receipt->>'units')::numeric) FILTER (WHERE q.state <> 'VOIDED'), 0) AS units,
           coalesce(sum(q.charged) FILTER (WHERE q.state <> 'VOIDED'), 0) AS charged,
           coalesce(sum(q.charged) FILTER (WHERE q.state = 'FINAL'), 0) AS settled,
           count(*) FILTER (WHERE q.state = 'VOIDED') AS voided
         FROM receipts c JOIN requests q USING (request_id)
         WHERE c.account_id = $1 AND c.served_at >= $2 AND c.served_at < $3 AND ($4::text IS NULL OR q.key = $4)
         GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 LIMIT $5`,
        [accountId, from, to, key ?? null, limit],
      )
      return rows.map((row) => ({
        day: Number(row.day),
        key: row.key,
        modelId: row.model_id,
        requests: Number(row.requests),
        units: BigInt(row.units),
        charged: BigInt(row.charged),
        settled: BigInt(row.settled),
        voided: Number(row.voided),
      }))
    },
  }
}
