/** One line of the document: what an act costs, what the same money's cheapest other way costs, and what was promised. */
export interface Figure {
  key: string
  value: number
  unit: 'gas' | 'gas per row' | 'gas per inference' | '%'
  reference: { what: string; value: number } | null
  /** The most that it may be; null where nothing was promised. */
  bar: number | null
  holds: boolean | null
}

export interface References {
  transfer: number
  authorization: number
  eagerSplit: number
}

/** Collects what was measured. */
export type Measure = (
  figure: Omit<Figure, 'bar' | 'holds' | 'reference'> & { bar?: number; reference?: Figure['reference'] },
) => void

export function openFigures(): { figures: Figure[]; measure: Measure } {
  const figures: Figure[] = []
  const measure: Measure = ({ key, value, unit, bar = null, reference = null }) => {
    figures.push({ key, value, unit, reference, bar, holds: bar === null ? null : value <= bar })
  }
  return { figures, measure }
}

/** At most two digits behind the point: a share of a batch is not a whole number of gas. */
export function rounded(value: number): number {
  return Math.round(value * 100) / 100
}
