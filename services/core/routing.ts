import type { Worker } from './ports.ts'

/** Chapter 4: which worker gets a job. */
export interface Candidate {
  worker: Worker
  unitPrice: bigint
}

/** When the worker would be done with one more job, in milliseconds. */
export function expectedFinishMs({ inFlight, capacity, averageMs }: Worker): number {
  return (averageMs || 1) * (1 + inFlight / Math.max(1, capacity))
}

/**
 * Two candidates are drawn with a chance inverse to their price, and the one with the lower expected finish wins: load is
 * spread without asking anyone, and dear providers see less of it. `random` gives numbers in [0, 1).
 */
export function chooseCandidate(candidates: readonly Candidate[], random: () => number): Candidate | null {
  const free = candidates.filter(({ worker }) => worker.inFlight < worker.capacity)
  const [only = null] = free
  if (free.length <= 1) return only
  const first = draw(free, random)
  const second = draw(free, random)
  return expectedFinishMs(first.worker) <= expectedFinishMs(second.worker) ? first : second
}

function draw(candidates: readonly Candidate[], random: () => number): Candidate {
  const cheapest = candidates.reduce(
    (least, { unitPrice }) => (unitPrice < least ? unitPrice : least),
    candidates[0]?.unitPrice ?? 1n,
  )
  const weights = candidates.map(({ unitPrice }) => Number((cheapest * 1_000_000n) / (unitPrice || 1n)) / 1_000_000)
  let point = random() * weights.reduce((sum, weight) => sum + weight, 0)
  for (const [index, candidate] of candidates.entries()) {
    point -= weights[index] ?? 0
    if (point < 0) return candidate
  }
  return candidates[candidates.length - 1] as Candidate
}
