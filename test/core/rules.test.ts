import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  isHeadFresh,
  jurisdictionIndex,
  jurisdictionsMask,
  purposeNames,
  purposesMask,
  purposesOfMask,
} from '../../services/core/consent.ts'
import { errorOfProblem, GranaryError, problemOf } from '../../services/core/errors.ts'
import { flawOfShares, purposesOfLineage } from '../../services/core/lineage.ts'
import { countUnits, priceOf } from '../../services/core/metering.ts'
import type { Worker } from '../../services/core/ports.ts'
import { chooseCandidate, expectedFinishMs } from '../../services/core/routing.ts'
import { floatTensor, textTensor } from '../../services/core/tensors.ts'

describe('consent', () => {
  it('turns purposes into masks and back, and refuses what it does not know', () => {
    fc.assert(fc.property(fc.subarray([...purposeNames]), (names) => purposesOfMask(purposesMask(names)).join() === names.join()))
    expect(() => purposesMask(['espionage'])).toThrow(GranaryError)
    expect(() => jurisdictionIndex('XX')).toThrow(GranaryError)
    expect(jurisdictionsMask(['DE', 'FR'])).toBe(
      (1n << BigInt(jurisdictionIndex('DE'))) | (1n << BigInt(jurisdictionIndex('FR'))),
    )
  })

  it('only shrinks down a lineage', () => {
    const mask = fc.integer({ min: 0, max: 0xffffffff })
    const dataset = fc.record({
      datasetId: fc.constant('0x'),
      terms: fc.record({ purposes: mask, prohibitions: mask, royaltyPpm: fc.nat() }),
    })
    fc.assert(
      fc.property(fc.array(dataset, { minLength: 1 }), dataset, (datasets, another) => {
        const before = purposesOfLineage(datasets)
        const after = purposesOfLineage([...datasets, another])
        expect((after & ~before) >>> 0).toBe(0)
        for (const { terms } of datasets) expect((before & terms.prohibitions) >>> 0).toBe(0)
      }),
    )
  })

  it('is known while a head is younger than two seconds or one and a half blocks', () => {
    expect(isHeadFresh({ seenMs: 0, nowMs: 2000, blockMs: 1000 })).toBe(true)
    expect(isHeadFresh({ seenMs: 0, nowMs: 2001, blockMs: 1000 })).toBe(false)
    expect(isHeadFresh({ seenMs: 0, nowMs: 18_000, blockMs: 12_000 })).toBe(true)
    expect(isHeadFresh({ seenMs: 0, nowMs: 18_001, blockMs: 12_000 })).toBe(false)
    expect(isHeadFresh({ seenMs: Number.NEGATIVE_INFINITY, nowMs: 0, blockMs: 1000 })).toBe(false)
  })

  it('leaves room for fees in a lineage, and names what is wrong', () => {
    expect(flawOfShares({ datasets: [{ ppm: 400_000 }], authorPpm: 450_000 })).toBeNull()
    expect(flawOfShares({ datasets: [{ ppm: 400_000 }], authorPpm: 450_001 })).toMatch(/fees/)
    expect(flawOfShares({ datasets: [{ ppm: 500_001 }], authorPpm: 0 })).toMatch(/royalties/)
    expect(flawOfShares({ datasets: Array.from({ length: 32 }, () => ({ ppm: 1 })), authorPpm: 1 })).toMatch(/payees/)
  })
})

describe('metering', () => {
  it('counts texts, started seconds and started thousands of bytes, never less than one', () => {
    expect(countUnits('text', [textTensor('text', ['a', 'b', 'c'])])).toBe(3n)
    expect(countUnits('text', [textTensor('text', [])])).toBe(1n)
    const audio = (samples: number) => [floatTensor('audio', new Float32Array(samples), [samples])]
    expect(countUnits('audio-second', audio(16_000))).toBe(1n)
    expect(countUnits('audio-second', audio(16_001))).toBe(2n)
    expect(countUnits('kilochar', [textTensor('text', ['x'.repeat(1000)])])).toBe(1n)
    expect(countUnits('kilochar', [textTensor('text', ['x'.repeat(1000), 'y'])])).toBe(2n)
    expect(countUnits('request', [textTensor('text', ['a', 'b'])])).toBe(1n)
    expect(priceOf(3n, 400n)).toBe(1200n)
  })
})

describe('routing', () => {
  const worker = (workerId: string, over: Partial<Worker> = {}): Worker => ({
    workerId,
    provider: workerId,
    sessionKey: workerId,
    ready: new Set(),
    inFlight: 0,
    capacity: 8,
    averageMs: 10,
    ...over,
  })

  it('takes the one of the two drawn that is expected to finish first, and never one at capacity', () => {
    const candidate = fc.record({
      inFlight: fc.nat({ max: 8 }),
      averageMs: fc.nat({ max: 1000 }),
      unitPrice: fc.bigInt({ min: 1n, max: 10_000n }),
    })
    fc.assert(
      fc.property(
        fc.array(candidate, { maxLength: 6 }),
        fc.array(fc.double({ min: 0, max: 0.999_999, noNaN: true }), { minLength: 2, maxLength: 2 }),
        (drawn, dice) => {
          const candidates = drawn.map(({ unitPrice, ...load }, index) => ({ worker: worker(String(index), load), unitPrice }))
          let next = 0
          const chosen = chooseCandidate(candidates, () => dice[next++ % 2] ?? 0)
          const free = candidates.filter(({ worker: { inFlight, capacity } }) => inFlight < capacity)
          expect(chosen === null).toBe(free.length === 0)
          if (chosen) expect(chosen.worker.inFlight).toBeLessThan(chosen.worker.capacity)
          if (free.length === 1) expect(chosen).toBe(free[0])
        },
      ),
    )
    expect(expectedFinishMs(worker('idle'))).toBeLessThan(expectedFinishMs(worker('busy', { inFlight: 4 })))
  })

  it('draws dear providers less often', () => {
    const candidates = [
      { worker: worker('cheap'), unitPrice: 100n },
      { worker: worker('dear'), unitPrice: 900n },
    ]
    let state = 7
    const random = () => {
      state = (state * 48_271) % 2_147_483_647
      return state / 2_147_483_647
    }
    const picks = Array.from({ length: 2000 }, () => chooseCandidate(candidates, random)?.worker.workerId)
    // The first drawn wins a tie: a tenth of the draws.
    expect(picks.filter((id) => id === 'dear').length).toBeGreaterThan(120)
    expect(picks.filter((id) => id === 'dear').length).toBeLessThan(280)
  })
})

describe('errors', () => {
  it('come back from problem+json as they were thrown, with their evidence', () => {
    const thrown = new GranaryError('payment.insufficient', 'The deposit does not cover this.', {
      limit: 'deposit',
      required: '400',
    })
    const problem = problemOf(thrown)
    expect(problem).toMatchObject({ status: 402, code: 'payment.insufficient', retryable: false, limit: 'deposit' })
    const back = errorOfProblem(problem, 402)
    expect(back).toMatchObject({ code: thrown.code, message: thrown.message, evidence: thrown.evidence })
  })

  it('says nothing of what was not meant for callers', () => {
    expect(JSON.stringify(problemOf(new Error('password=hunter2')))).not.toContain('hunter2')
  })
})
