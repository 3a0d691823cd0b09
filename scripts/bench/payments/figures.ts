/** One line of the document: what was measured, beside what was promised and what others take for the same. */
export interface Figure {
  key: string
  value: number
  unit: string
  reference: { what: string; value: number } | null
  /** null where nothing was promised. */
  bar: number | null
  holds: boolean | null
}

export type Measured = Pick<Figure, 'key' | 'value' | 'unit'> & {
  reference?: Figure['reference']
  atLeast?: number
  atMost?: number
}

/** Money may not be rounded, figures may: three digits behind the point are more than two runs agree on. */
export function figureOf({ key, value, unit, reference = null, atLeast, atMost }: Measured): Figure {
  const bar = atLeast ?? atMost ?? null
  const holds = bar === null ? null : atLeast === undefined ? value <= bar : value >= bar
  return {
    key,
    value: rounded(value),
    unit,
    reference: reference && { ...reference, value: rounded(reference.value) },
    bar,
    holds,
  }
}

export function rounded(value: number): number {
  return Math.round(value * 1000) / 1000
}

/** The value below which a share of the samples lies; 0 when there are none. */
export function quantile(samples: readonly number[], share: number): number {
  const sorted = [...samples].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
}
