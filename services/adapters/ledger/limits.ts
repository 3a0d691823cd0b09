import { dayOf, monthOf, startOfMonth } from '../../core/calendar.ts'
import { type LimitReached, type Limits, limitReached, MINUTE_SECONDS, type Tally } from '../../core/limits.ts'
import type { LimitsInForce, SellingLedger } from '../../core/selling-ledger.ts'
import { lockAccount } from './accounts.ts'
import type { Database, Query } from './database.ts'
import type { Leases } from './leases.ts'

/** The key of the row that limits the whole account. */
const ACCOUNT = ''

interface LimitRow {
  key: string
  requests_per_minute: number | null
  parallel: number | null
  budget_per_day: string | null
  budget_per_month: string | null
  minute: string
  minute_requests: number
  day: number
  day_spent: string
  month: number
  month_spent: string
}

/** Budgets and rates of keys and accounts. Accounts without any (`accounts.limited`) pay nothing for them. */
export function openLimits(
  { query, transaction }: Database,
  leases: Pick<Leases, 'giveBack'>,
): Pick<SellingLedger, 'setLimits' | 'limits'> {
  return {
    async setLimits({ accountId, key }, limits, now) {
      const isKnown = await transaction(async (under) => {
        if (!(await lockAccount(under, accountId))) return false
        await write(under, { accountId, key: key ?? ACCOUNT, limits, now })
        return true
      })
      // From now on nothing is sold past them here; other gateways are told by the database.
      await leases.giveBack(accountId)
      return isKnown
    },

    async limits(accountId) {
      const { rows } = await query<LimitRow>('SELECT * FROM spending_limits WHERE account_id = $1 ORDER BY key LIMIT 1001', [
        accountId,
      ])
      return rows.map(inForceOf)
    },
  }
}

/** What one more request breaks, if anything; otherwise it counts into its minute. Under the account's lock. */
export async function countWithinLimits(
  query: Query,
  asked: { accountId: string; key: string; max: bigint },
  now: number,
): Promise<LimitReached | null> {
  const { reached, isMinuteLimited } = await lookAtLimits(query, asked, now)
  if (reached || !isMinuteLimited) return reached
  const { accountId, key } = asked
  await query(
    `UPDATE spending_limits SET minute = greatest(minute, $3::bigint),
       minute_requests = CASE WHEN minute >= $3::bigint THEN minute_requests + 1 ELSE 1 END
     WHERE account_id = $1 AND key IN ('', $2) AND requests_per_minute IS NOT NULL`,
    [accountId, key, Math.floor(now / MINUTE_SECONDS)],
  )
  return null
}

/** The budget, if any, that `max` more would break for a request that runs already. Under the account's lock. */
export async function budgetReached(
  query: Query,
  asked: { accountId: string; key: string; max: bigint },
  now: number,
): Promise<LimitReached | null> {
  return (await lookAtLimits(query, asked, now, { requestsPerMinute: null, parallel: null })).reached
}

async function lookAtLimits(
  query: Query,
  { accountId, key, max }: { accountId: string; key: string; max: bigint },
  now: number,
  without: Partial<Limits> = {},
): Promise<{ reached: LimitReached | null; isMinuteLimited: boolean }> {
  // A statement of its own: it must see what was committed while the lock was waited for.
  const { rows } = await query<LimitRow & { running: string; reserved: string }>(
    `SELECT l.*, r.* FROM spending_limits l CROSS JOIN LATERAL (
       SELECT count(*) AS running, coalesce(sum(q.max), 0) AS reserved FROM reservations q
       WHERE q.account_id = $1 AND l.key IN ('', q.key)) r
     WHERE l.account_id = $1 AND l.key IN ('', $2) ORDER BY l.key DESC`,
    [accountId, key],
  )
  for (const row of rows) {
    const { limits, tally } = inForceOf(row)
    const [running, reserved] = [BigInt(row.running), BigInt(row.reserved)]
    const of = row.key === ACCOUNT ? 'account' : 'key'
    const reached = limitReached({ of, limits: { ...limits, ...without }, tally, running, reserved, max, now })
    if (reached) return { reached, isMinuteLimited: false }
  }
  return { reached: null, isMinuteLimited: rows.some(({ requests_per_minute }) => requests_per_minute !== null) }
}

/**
 * A charge counts into the day and month of its reservation, or into the present ones if those have passed for the budget already,
 * as what is reserved does: a gateway that sees midnight later than another would else sell without a budget until then.
 */
export async function countSpending(
  query: Query,
  spent: { accountId: string; key: string; charged: bigint; reservedAt: number },
): Promise<void> {
  const { accountId, key, charged, reservedAt } = spent
  await query(
    `UPDATE spending_limits SET day = greatest(day, $4), month = greatest(month, $5),
       day_spent = CASE WHEN day >= $4 THEN day_spent + $3 ELSE $3 END,
       month_spent = CASE WHEN month >= $5 THEN month_spent + $3 ELSE $3 END
     WHERE account_id = $1 AND key IN ('', $2)`,
    [accountId, key, charged, dayOf(reservedAt), monthOf(reservedAt)],
  )
}

/** What was voided is room again in the budgets of its day and month (sign -1), and none once it is a debt again (1). */
export async function correctSpending(
  query: Query,
  { requestIds, sign }: { requestIds: readonly string[]; sign: 1 | -1 },
): Promise<void> {
  await query(
    `WITH voided AS (
       SELECT account_id, key, charged, reserved_at / 86400 AS day, (extract(year FROM to_timestamp(reserved_at) AT TIME ZONE 'UTC') - 1970) * 12
         + extract(month FROM to_timestamp(reserved_at) AT TIME ZONE 'UTC') - 1 AS month
       FROM requests WHERE request_id = ANY($1)
     ), sums AS (
       SELECT l.account_id, l.key, coalesce(sum(v.charged) FILTER (WHERE v.day = l.day), 0) AS of_day,
         coalesce(sum(v.charged) FILTER (WHERE v.month = l.month), 0) AS of_month
       FROM spending_limits l JOIN voided v ON v.account_id = l.account_id AND l.key IN ('', v.key) GROUP BY l.account_id, l.key
     )
     UPDATE spending_limits l SET day_spent = greatest(0, l.day_spent + s.of_day * $2::int),
       month_spent = greatest(0, l.month_spent + s.of_month * $2::int)
     FROM sums s WHERE l.account_id = s.account_id AND l.key = s.key`,
    [requestIds, sign],
  )
}

async function write(
  query: Query,
  { accountId, key, limits, now }: { accountId: string; key: string; limits: Limits; now: number },
): Promise<void> {
  const [day, month] = [dayOf(now), monthOf(now)]
  const { requestsPerMinute, parallel, budgetPerDay, budgetPerMonth } = limits
  await query(
    `INSERT INTO spending_limits AS l (account_id, key, requests_per_minute, parallel, budget_per_day, budget_per_month, day, month,
       day_spent, month_spent)
     SELECT $1::text, $2::text, $3::int, $4::int, $5::numeric, $6::numeric, $7::int, $8::int, coalesce(sum(charged) FILTER (WHERE reserved_at / 86400 = $7::int), 0), coalesce(sum(charged), 0)
       FROM requests WHERE account_id = $1 AND $2::text IN ('', key) AND reserved_at >= $9 AND reserved_at < $10
         AND state IN ('COMMITTED', 'BATCHED', 'FINAL')
     ON CONFLICT (account_id, key) DO UPDATE SET requests_per_minute = excluded.requests_per_minute, parallel = excluded.parallel,
       budget_per_day = excluded.budget_per_day, budget_per_month = excluded.budget_per_month`,
    [
      accountId,
      key,
      requestsPerMinute,
      parallel,
      budgetPerDay,
      budgetPerMonth,
      day,
      month,
      startOfMonth(month),
      startOfMonth(month + 1),
    ],
  )
  await query('UPDATE accounts SET limited = true WHERE account_id = $1', [accountId])
}

function inForceOf(row: LimitRow): LimitsInForce & { limits: Limits; tally: Tally } {
  const amount = (text: string | null) => (text === null ? null : BigInt(text))
  return {
    key: row.key === ACCOUNT ? null : row.key,
    limits: {
      requestsPerMinute: row.requests_per_minute,
      parallel: row.parallel,
      budgetPerDay: amount(row.budget_per_day),
      budgetPerMonth: amount(row.budget_per_month),
    },
    tally: {
      minute: Number(row.minute),
      minuteRequests: row.minute_requests,
      day: row.day,
      daySpent: BigInt(row.day_spent),
      month: row.month,
      monthSpent: BigInt(row.month_spent),
    },
  }
}
