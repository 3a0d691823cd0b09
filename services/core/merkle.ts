import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js'
import { GranaryError } from './errors.ts'
import { keccak256 } from './keccak.ts'

/**
 * The receipts of a batch, or those that the collector signs together, as one Merkle root, as OpenZeppelin's MerkleProof checks
 * it: a leaf is keccak256(head) over the 32 bytes of a receipt's head, a node is keccak256 of its two children in rising order.
 * A leaf hashes 32 bytes and a node 64, so none passes for the other. The order of the heads does not matter. The trees are those
 * of OpenZeppelin's library, by hashes that are twenty times faster: a batch holds thousands.
 */
export function receiptsRoot(heads: readonly string[]): string {
  return hexOf(nodesOf(leavesOf(heads))[0])
}

/** Shows that a batch's root covers the receipt with this head; null if it does not. */
export function receiptProof(heads: readonly string[], head: string): string[] | null {
  return openReceiptTree(heads).proofOf(head)
}

/** As receiptProof for many, over one tree; heads that the batch does not have are left out. */
export function receiptProofs(heads: readonly string[], wanted: readonly string[]): Map<string, string[]> {
  const { proofOf } = openReceiptTree(heads)
  return new Map(
    wanted.flatMap((head) => {
      const proof = proofOf(head)
      return proof === null ? [] : [[head, proof] as const]
    }),
  )
}

export interface ReceiptTree {
  root: string
  /** As receiptProof. */
  proofOf(head: string): string[] | null
}

export function openReceiptTree(heads: readonly string[]): ReceiptTree {
  const leaves = leavesOf(heads)
  const tree = nodesOf(leaves)
  const places = new Map(leaves.map(({ head }, index) => [head, leaves.length - 1 + index]))
  // Proofs share most of their nodes.
  const texts: string[] = []
  const textOf = (place: number): string => {
    texts[place] ??= hexOf(tree[place])
    return texts[place]
  }
  return {
    root: textOf(0),
    proofOf(head) {
      const leaf = places.get(head)
      if (leaf === undefined) return null
      const proof: string[] = []
      for (let node = leaf; node > 0; node = (node - 1) >> 1) proof.push(textOf(node % 2 === 1 ? node + 1 : node - 1))
      return proof
    },
  }
}

export function isReceiptIn(root: string, head: string, proof: readonly string[]): boolean {
  return rootOver(head, proof) === root.toLowerCase()
}

/** The root to which the proof leads from the receipt with this head, each of them 32 bytes. */
export function rootOver(head: string, proof: readonly string[]): string {
  return hexOf(proof.reduce((node, sibling) => parentOf(node, hexToBytes(sibling.slice(2))), leafOf(head)))
}

interface Leaf {
  head: string
  leaf: Uint8Array
}

/** The highest first. */
function leavesOf(heads: readonly string[]): Leaf[] {
  if (heads.length === 0) throw new GranaryError('internal', 'Without receipts there is no root.')
  return heads.map((head) => ({ head, leaf: leafOf(head) })).sort((a, b) => compare(b.leaf, a.leaf))
}

/** Node `n` has its children at 2n + 1 and 2n + 2; the leaves stand at the end. */
function nodesOf(leaves: readonly Leaf[]): Uint8Array[] {
  const inner = leaves.length - 1
  const tree = [...Array.from({ length: inner }, () => new Uint8Array()), ...leaves.map(({ leaf }) => leaf)]
  for (let node = inner - 1; node >= 0; node--) tree[node] = parentOf(at(tree, 2 * node + 1), at(tree, 2 * node + 2))
  return tree
}

function leafOf(head: string): Uint8Array {
  return keccak256(hexToBytes(head.slice(2)))
}

function parentOf(a: Uint8Array, b: Uint8Array): Uint8Array {
  const pair = new Uint8Array(64)
  const aFirst = compare(a, b) <= 0
  pair.set(aFirst ? a : b)
  pair.set(aFirst ? b : a, 32)
  return keccak256(pair)
}

function at(tree: readonly Uint8Array[], place: number): Uint8Array {
  const node = tree[place]
  if (!node) throw new GranaryError('internal', 'A Merkle tree has no such node.', { place })
  return node
}

function compare(a: Uint8Array, b: Uint8Array): number {
  for (let index = 0; index < 32; index++) {
    const difference = (a[index] ?? 0) - (b[index] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}

function hexOf(bytes: Uint8Array | undefined): string {
  return `0x${bytesToHex(bytes ?? new Uint8Array())}`
}
