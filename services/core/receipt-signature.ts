import { openReceiptTree, rootOver } from './merkle.ts'
import { digestOf, type Verifier } from './messages.ts'

/** The collector's word for one receipt: a signature over the root of all that were committed with it, and the path that leads there. */
export interface ReceiptSignature {
  collectorSignature: string
  /** The siblings from its leaf upwards, as hex; empty where it was committed alone. */
  path: string[]
}

/** Far more than a group of commits needs; a path that is longer costs its reader hashes for nothing. */
export const LONGEST_PATH = 32

/**
 * Signs receipts together, by their heads. One signature costs as much as hashing dozens of them, and stands for each alone: leaves
 * hash 32 bytes and nodes 64 (merkle.ts), so a path leads from nothing but a head to the root.
 */
export function signReceipts(
  heads: readonly string[],
  { escrow, sign }: { escrow: Verifier; sign: (digest: string) => string },
): Map<string, ReceiptSignature> {
  const { root, proofOf } = openReceiptTree(heads)
  const collectorSignature = sign(digestOf('InferenceEscrow', 'Receipts', escrow, { root }))
  return new Map(heads.map((head) => [head, { collectorSignature, path: proofOf(head) ?? [] }]))
}

/** What the collector has signed if it signed the receipt with this head; null where head or path are no such thing. */
export function signedDigestOf({ head, path }: { head: string; path: readonly string[] }, escrow: Verifier): string | null {
  if (!Array.isArray(path) || path.length > LONGEST_PATH || ![head, ...path].every(isHash)) return null
  return digestOf('InferenceEscrow', 'Receipts', escrow, { root: rootOver(head, path) })
}

function isHash(text: unknown): boolean {
  return typeof text === 'string' && /^0x[0-9a-f]{64}$/.test(text)
}
