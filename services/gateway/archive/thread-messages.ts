import type { Problem } from '../../core/errors.ts'
import type { Escrow } from '../../core/published-batch.ts'

/** What the gateway and its archive's thread say to each other: one question at a time, one answer each. */
export type Question = { ask: 'bytes'; batchId: string } | { ask: 'proofs'; batchId: string; heads: readonly string[] }

export type Answer =
  | { answer: 'bytes'; batch: BatchBytes }
  | { answer: 'proofs'; proofs: BatchProofs }
  /** No such batch is settled. */
  | { answer: 'none' }
  | { answer: 'failed'; problem: Problem }

/** A settled batch as it is published. */
export interface BatchBytes {
  bytes: Uint8Array<ArrayBuffer>
  transaction: string
  /** null until it is published. */
  cid: string | null
}

/** That a settled batch's root covers receipts: proofs by head. */
export interface BatchProofs {
  transaction: string
  proofs: ReadonlyMap<string, readonly string[]>
}

/** What the thread is started with. */
export interface ThreadSettings {
  databaseUrl: string
  escrow: Escrow
  logLevel: string
}
