import type { LimitsBody } from '../core/api.ts'
import { DAY_SECONDS, startOfMonth } from '../core/calendar.ts'
import { type Limits, tallyAt } from '../core/limits.ts'
import type { LimitsInForce } from '../core/selling-ledger.ts'

export function limitsOf({ requestsPerMinute, parallel, budgetPerDay, budgetPerMonth }: LimitsBody): Limits {
  const amount = (text: string | null | undefined) => (text === undefined || text === null ? null : BigInt(text))
  return {
    requestsPerMinute: requestsPerMinute ?? null,
    parallel: parallel ?? null,
    budgetPerDay: amount(budgetPerDay),
    budgetPerMonth: amount(budgetPerMonth),
  }
}

/** Limits as they stand at `now`, with what was charged against the budgets and when those count anew. */
export function describeLimits(inForce: LimitsInForce | undefined, now: number): Record<string, unknown> | null {
  if (!inForce) return null
  const { limits, tally } = inForce
  const { day, daySpent, month, monthSpent } = tallyAt(tally, now)
  return {
    requestsPerMinute: limits.requestsPerMinute,
    parallel: limits.parallel,
    budgetPerDay: limits.budgetPerDay?.toString() ?? null,
    budgetPerMonth: limits.budgetPerMonth?.toString() ?? null,
    spentToday: daySpent.toString(),
    spentThisMonth: monthSpent.toString(),
    dayResetsAt: (day + 1) * DAY_SECONDS,
    monthResetsAt: startOfMonth(month + 1),
  }
}
