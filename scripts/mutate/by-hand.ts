import { CONSENT } from './by-hand/consent.ts'
import { GOVERNANCE } from './by-hand/governance.ts'
import { MONEY } from './by-hand/money.ts'

/** A mistake that no rule makes: what it replaces must be found once in the file (or in the named function). */
export interface HandWritten {
  /** Part of the mutant's id. */
  name: string
  /** The invariant of the design that it breaks. */
  invariant: string
  file: string
  /** A function's name, where the text stands in several. */
  within?: string
  find: string
  replace: string
}

export const BY_HAND: readonly HandWritten[] = [...MONEY, ...CONSENT, ...GOVERNANCE]
