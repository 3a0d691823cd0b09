import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Lease } from '../../services/adapters/ledger/lease.ts'

type Step =
  | { do: 'take'; max: bigint }
  | { do: 'free' | 'charge'; pick: number }
  | { do: 'ask'; taken: bigint; ahead: bigint }
  | { do: 'answer'; as: 'granted' | 'refused' | 'lost' }
  | { do: 'expire' }

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('take' as const), max: fc.bigInt(0n, 5n) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom('free' as const, 'charge' as const), pick: fc.nat() }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('ask' as const), taken: fc.bigInt(0n, 3n), ahead: fc.bigInt(0n, 20n) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('answer' as const),
      as: fc.constantFrom('granted' as const, 'refused' as const, 'lost' as const),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('expire' as const) }) },
)

describe('a lease', () => {
  it('never lets run what the database does not hold for it, whatever is lost, charged or called back in between', () => {
    fc.assert(fc.property(fc.array(step, { maxLength: 60 }), fc.boolean(), play), { numRuns: 2000 })
  })

  it('is asked for again once it is called back, even when the answer to an earlier question comes after', () => {
    const lease = new Lease({ accountId: 'a', key: 'k' })
    const asked = lease.ask()
    lease.expire()
    lease.answer(asked, { granted: 10n, taken: 1n, untilMs: 1000 })
    expect(lease.take(1n, 0)).toBe(false)
    lease.answer(lease.ask(), { granted: 10n, untilMs: 1000 })
    expect(lease.take(1n, 0)).toBe(true)
    expect(lease.take(1n, 1000)).toBe(false)
  })
})

/**
 * The database beside it: the room that all may use, what is charged, what it holds for the lease. Charges are written some time before
 * the process learns of it, so `writes` says which of the two the question about the lease meets first.
 */
function play(steps: readonly Step[], writes: boolean): void {
  const ROOM = 40n
  const lease = new Lease({ accountId: 'a', key: 'k' })
  const book = { charged: 0n, held: 0n }
  const running: bigint[] = []
  let asked: { question: ReturnType<Lease['ask']>; taken: bigint; granted: bigint | null } | null = null
  for (const one of steps) {
    if (one.do === 'take' && lease.take(one.max, 0)) running.push(one.max)
    if ((one.do === 'free' || one.do === 'charge') && running.length > 0) {
      const [max = 0n] = running.splice(one.pick % running.length, 1)
      lease[one.do](max)
      if (one.do === 'charge') book.charged += max
    }
    if (one.do === 'ask' && asked === null) {
      const question = lease.ask()
      const needed = question.running + one.taken
      asked = {
        question,
        taken: one.taken,
        granted: ROOM - book.charged >= needed ? least(needed + one.ahead, ROOM - book.charged) : null,
      }
      if (writes && asked.granted !== null) book.held = asked.granted
    }
    if (one.do === 'answer' && asked !== null) {
      const { question, taken, granted } = asked
      if (!writes && granted !== null && one.as !== 'lost') book.held = granted
      if (one.as === 'lost') lease.lose()
      else {
        lease.answer(question, { granted, taken, untilMs: 1 })
        if (granted !== null) running.push(taken)
      }
      asked = null
    }
    if (one.do === 'expire') lease.expire()
    const runs = running.reduce((sum, max) => sum + max, 0n)
    expect(lease.running).toBe(runs)
    if (asked === null || writes) expect(runs).toBeLessThanOrEqual(book.held)
    expect(book.charged + runs).toBeLessThanOrEqual(ROOM)
  }
}

function least(a: bigint, b: bigint): bigint {
  return a < b ? a : b
}
