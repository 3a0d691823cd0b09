import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  DAY_SECONDS,
  dayOf,
  dayText,
  monthOf,
  monthText,
  parseDay,
  parseMonth,
  startOfMonth,
} from '../../services/core/calendar.ts'
import { limitReached, NO_LIMITS, tallyAt } from '../../services/core/limits.ts'

const seconds = fc.integer({ min: 0, max: 4_000_000_000 })

describe('the calendar', () => {
  it('agrees with the platform’s own on every second', () => {
    fc.assert(
      fc.property(seconds, (time) => {
        const text = new Date(time * 1000).toISOString()
        expect(dayText(dayOf(time))).toBe(text.slice(0, 10))
        expect(monthText(monthOf(time))).toBe(text.slice(0, 7))
        expect(parseDay(text.slice(0, 10))).toBe(dayOf(time))
        expect(parseMonth(text.slice(0, 7))).toBe(monthOf(time))
        expect(startOfMonth(monthOf(time))).toBeLessThanOrEqual(time)
      }),
    )
  })

  it('takes no day that is not in it', () => {
    for (const text of ['2026-02-29', '2026-00-01', '2026-13-01', '2026-1-1', '1969-12-31', '2026-11-31', '', '2026-11-22T00'])
      expect(parseDay(text)).toBeNull()
    for (const text of ['2026-13', '1969-12', '2026-1', '2026']) expect(parseMonth(text)).toBeNull()
  })
})

describe('limits', () => {
  const tally = fc.record({
    minute: fc.nat(),
    minuteRequests: fc.nat(100),
    day: fc.nat(40_000),
    daySpent: fc.bigInt(0n, 1000n),
    month: fc.nat(1500),
    monthSpent: fc.bigInt(0n, 1000n),
  })
  const asked = fc.record({
    tally,
    running: fc.bigInt(0n, 10n),
    reserved: fc.bigInt(0n, 1000n),
    max: fc.bigInt(0n, 1000n),
    now: seconds,
  })

  it('let everything pass where there are none, and never more than a budget', () => {
    fc.assert(
      fc.property(asked, fc.bigInt(0n, 3000n), (request, budget) => {
        expect(limitReached({ of: 'key', limits: NO_LIMITS, ...request })).toBeNull()
        const reached = limitReached({ of: 'key', limits: { ...NO_LIMITS, budgetPerDay: budget }, ...request })
        const { daySpent } = tallyAt(request.tally, request.now)
        expect(reached === null).toBe(daySpent + request.reserved + request.max <= budget)
        if (reached) expect(reached.resetsAt).toBe((Math.max(dayOf(request.now), request.tally.day) + 1) * DAY_SECONDS)
      }),
    )
  })

  it('start anew with their period, at the time that a refusal names', () => {
    fc.assert(
      fc.property(seconds, fc.bigInt(1n, 1000n), (now, spent) => {
        const full = { ...tallyAt({ minute: 0, minuteRequests: 0, day: 0, daySpent: 0n, month: 0, monthSpent: 0n }, now) }
        const request = {
          of: 'account' as const,
          tally: { ...full, daySpent: spent, monthSpent: spent, minuteRequests: 1 },
          running: 0n,
          reserved: 0n,
          max: 1n,
        }
        for (const limits of [{ budgetPerDay: spent }, { budgetPerMonth: spent }, { requestsPerMinute: 1 }]) {
          const reached = limitReached({ ...request, limits: { ...NO_LIMITS, ...limits }, now })
          if (!reached?.resetsAt || !reached.resetsInSeconds) throw new Error('it was not reached')
          expect(now + reached.resetsInSeconds).toBe(reached.resetsAt)
          expect(limitReached({ ...request, limits: { ...NO_LIMITS, ...limits }, now: reached.resetsAt - 1 })).not.toBeNull()
          expect(limitReached({ ...request, limits: { ...NO_LIMITS, ...limits }, now: reached.resetsAt })).toBeNull()
        }
      }),
    )
  })
})
