import { DAY_SECONDS, dayOf, monthOf, startOfMonth } from './calendar.ts'

/** What a key, or a whole account, may do in a time; null where nothing limits it. Money in base units. */
export interface Limits {
  requestsPerMinute: number | null
  /** Requests that run at the same time. */
  parallel: number | null
  /** By UTC day and month of the reservation, on the chain's clock. */
  budgetPerDay: bigint | null
  budgetPerMonth: bigint | null
}

export const NO_LIMITS: Limits = { requestsPerMinute: null, parallel: null, budgetPerDay: null, budgetPerMonth: null }

/** What was used of the limits, each in the period that it names. */
export interface Tally {
  minute: number
  minuteRequests: number
  day: number
  daySpent: bigint
  month: number
  monthSpent: bigint
}

export interface LimitReached {
  of: 'key' | 'account'
  limit: keyof Limits
  most: bigint
  /** With what is reserved for running requests. */
  used: bigint
  /** When it counts from zero again; null for what only an end of running requests frees. */
  resetsAt: number | null
  resetsInSeconds: number | null
}

export const MINUTE_SECONDS = 60

/**
 * The tally as it counts at `now`: a period that has passed counts nothing any more. One that has not begun by `now` has begun for
 * another gateway, which sees a later block: it is the present one, or what is bought here meanwhile would count nowhere.
 */
export function tallyAt(tally: Tally, now: number): Tally {
  const minute = Math.max(tally.minute, Math.floor(now / MINUTE_SECONDS))
  const [day, month] = [Math.max(tally.day, dayOf(now)), Math.max(tally.month, monthOf(now))]
  return {
    minute,
    minuteRequests: tally.minute === minute ? tally.minuteRequests : 0,
    day,
    daySpent: tally.day === day ? tally.daySpent : 0n,
    month,
    monthSpent: tally.month === month ? tally.monthSpent : 0n,
  }
}

/**
 * The first limit that one more request of at most `max` would break. Everything reserved counts into the present day and
 * month, so that no order of commits can pass a budget.
 */
export function limitReached(asked: {
  of: LimitReached['of']
  limits: Limits
  tally: Tally
  running: bigint
  reserved: bigint
  max: bigint
  now: number
}): LimitReached | null {
  const { of, limits, running, reserved, max, now } = asked
  const tally = tallyAt(asked.tally, now)
  const { requestsPerMinute, parallel, budgetPerDay, budgetPerMonth } = limits
  const rules: [keyof Limits, bigint | number | null, { used: bigint; more: bigint; resetsAt: number | null }][] = [
    ['budgetPerMonth', budgetPerMonth, { used: tally.monthSpent + reserved, more: max, resetsAt: startOfMonth(tally.month + 1) }],
    ['budgetPerDay', budgetPerDay, { used: tally.daySpent + reserved, more: max, resetsAt: (tally.day + 1) * DAY_SECONDS }],
    ['parallel', parallel, { used: running, more: 1n, resetsAt: null }],
    [
      'requestsPerMinute',
      requestsPerMinute,
      { used: BigInt(tally.minuteRequests), more: 1n, resetsAt: (tally.minute + 1) * MINUTE_SECONDS },
    ],
  ]
  for (const [limit, most, { used, more, resetsAt }] of rules) {
    if (most !== null && used + more > BigInt(most)) {
      return { of, limit, most: BigInt(most), used, resetsAt, resetsInSeconds: resetsAt === null ? null : resetsAt - now }
    }
  }
  return null
}
