import type { Reserved } from './selling-ledger.ts'

/**
 * Why a delivered request was not charged, after all: its key was used elsewhere meanwhile, or, for a gateway that was taken for
 * dead, its account has no room left. Nothing of it may be given away; it is to be released.
 */
export class CommitRefused extends Error {
  readonly refused: Exclude<Reserved, { ok: true }>

  constructor(refused: Exclude<Reserved, { ok: true }>) {
    super(`not charged: ${refused.reason}`)
    this.refused = refused
  }
}
