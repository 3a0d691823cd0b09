import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { draw, openBudget, openBudgets } from '../../services/gateway/relay-budget.ts'

const DAY = 86_400_000

function clock(): { clockMs: () => number; pass(ms: number): void } {
  let now = 5_000
  return {
    clockMs: () => now,
    pass(ms) {
      now += ms
    },
  }
}

describe('a budget', () => {
  it('never lets through more than its limit and what has drained since', () => {
    const steps = fc.array(fc.record({ gas: fc.integer({ min: 0, max: 60 }), afterMs: fc.integer({ min: 0, max: DAY / 4 }) }), {
      maxLength: 60,
    })
    fc.assert(
      fc.property(steps, (drawn) => {
        const { clockMs, pass } = clock()
        const limit = { acts: 7, gas: 100 }
        const budget = openBudget({ limit, periodMs: DAY, clockMs })
        const taken = { acts: 0, gas: 0 }
        let passedMs = 0
        for (const { gas, afterMs } of drawn) {
          if (draw([budget], { acts: 1, gas }) === 0) {
            taken.acts += 1
            taken.gas += gas
          }
          expect(taken.acts).toBeLessThanOrEqual(limit.acts * (1 + passedMs / DAY) + 1e-6)
          expect(taken.gas).toBeLessThanOrEqual(limit.gas * (1 + passedMs / DAY) + 1e-6)
          pass(afterMs)
          passedMs += afterMs
        }
      }),
    )
  })

  it('says when there is room again, to the millisecond: not before, and then', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 100 }), fc.integer({ min: 1, max: 100 }), (used, gas) => {
        const { clockMs, pass } = clock()
        const budget = openBudget({ limit: { acts: 1000, gas: 100 }, periodMs: DAY, clockMs })
        draw([budget], { acts: 1, gas: used })
        const waitMs = draw([budget], { acts: 1, gas })
        fc.pre(waitMs > 0)
        pass(waitMs - 2)
        expect(budget.waitMs({ acts: 1, gas })).toBeGreaterThan(0)
        pass(2)
        expect(draw([budget], { acts: 1, gas })).toBe(0)
      }),
    )
  })

  it('says never to what is larger than itself', () => {
    const { clockMs } = clock()
    const budget = openBudget({ limit: { acts: 5, gas: 100 }, periodMs: DAY, clockMs })
    expect(budget.waitMs({ acts: 1, gas: 101 })).toBe(Number.POSITIVE_INFINITY)
  })

  it('is drawn from together with others, or not at all', () => {
    const { clockMs } = clock()
    const [roomy, tight] = [9, 1].map((acts) => openBudget({ limit: { acts, gas: 1 }, periodMs: DAY, clockMs }))
    if (!roomy || !tight) throw new TypeError('two budgets')
    expect(draw([roomy, tight], { acts: 1, gas: 0 })).toBe(0)
    for (let repeat = 0; repeat < 20; repeat++) expect(draw([roomy, tight], { acts: 1, gas: 0 })).toBeGreaterThan(0)
    for (let left = 0; left < 8; left++) expect(draw([roomy], { acts: 1, gas: 0 })).toBe(0)
    expect(draw([roomy], { acts: 1, gas: 0 })).toBeGreaterThan(0)
  })

  it('of each key is its own, and no crowd of keys makes them more than there is room for', () => {
    const { clockMs } = clock()
    const budgets = openBudgets({ limit: { acts: 1, gas: 1 }, periodMs: DAY, clockMs, most: 50 })
    expect(draw([budgets.of('ada')], { acts: 1, gas: 0 })).toBe(0)
    expect(draw([budgets.of('ben')], { acts: 1, gas: 0 })).toBe(0)
    expect(draw([budgets.of('ada')], { acts: 1, gas: 0 })).toBeGreaterThan(0)
    for (let key = 0; key < 10_000; key++) {
      draw([budgets.of(`stranger ${key}`)], { acts: 1, gas: 0 })
      expect(budgets.size()).toBeLessThanOrEqual(50)
    }
    // Asking remembers nobody.
    budgets.of('only asked').waitMs({ acts: 1, gas: 0 })
    expect(budgets.size()).toBe(50)
  })
})
