import type { Terms } from './consent.ts'

/** Chapter 3: what a model may do and whom it pays, because of what it builds on. ModelRegistry.sol is the authority. */
export const MAX_PAYEES = 32
export const MAX_ROYALTIES_PPM = 500_000
/** The protocol's and the collector's fees together at their bounds: a model must leave room for them. */
export const MAX_FEES_PPM = 150_000

export interface Contributed {
  datasetId: string
  terms: Pick<Terms, 'purposes' | 'prohibitions' | 'royaltyPpm'>
}

/** What every dataset permits: purposes only shrink down a lineage. */
export function purposesOfLineage(datasets: readonly Contributed[]): number {
  return datasets.reduce((mask, { terms }) => mask & terms.purposes & ~terms.prohibitions, 0xffffffff) >>> 0
}

/** The least that each dataset asks. */
export function leastShares(datasets: readonly Contributed[]): { datasetId: string; ppm: number }[] {
  return datasets.map(({ datasetId, terms }) => ({ datasetId, ppm: terms.royaltyPpm }))
}

/** Why the registry would refuse these shares of a model without parent models; null if it would not. */
export function flawOfShares({
  datasets,
  authorPpm,
}: {
  datasets: readonly { ppm: number }[]
  authorPpm: number
}): string | null {
  const royaltiesPpm = datasets.reduce((sum, { ppm }) => sum + ppm, 0)
  if (datasets.length + (authorPpm > 0 ? 1 : 0) > MAX_PAYEES) return `more than ${MAX_PAYEES} payees`
  if (royaltiesPpm > MAX_ROYALTIES_PPM) return `royalties of ${royaltiesPpm} ppm, above ${MAX_ROYALTIES_PPM}`
  if (royaltiesPpm + authorPpm + MAX_FEES_PPM > 1_000_000) return `royalties, author and fees together above 1,000,000 ppm`
  return null
}
