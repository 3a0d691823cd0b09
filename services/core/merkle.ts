import { SimpleMerkleTree } from '@openzeppelin/merkle-tree'
import { keccak256 } from 'ethers'
import { GranaryError } from './errors.ts'

/**
 * The receipts of a batch as one Merkle root, as OpenZeppelin's MerkleProof checks it: a leaf is keccak256(head) over the
 * 32 bytes of a receipt's head, a node is keccak256 of its two children in rising order. A leaf hashes 32 bytes and a
 * node 64, so none passes for the other. The order of the heads does not matter.
 */
export function receiptsRoot(heads: readonly string[]): string {
  return treeOf(heads).root
}

/** Shows that a batch's root covers the receipt with this head; null if it does not. */
export function receiptProof(heads: readonly string[], head: string): string[] | null {
  return heads.includes(head) ? treeOf(heads).getProof(keccak256(head)) : null
}

/** As receiptProof for many, over one tree; heads that the batch does not have are left out. */
export function receiptProofs(heads: readonly string[], wanted: readonly string[]): Map<string, string[]> {
  const known = new Set(heads)
  const tree = treeOf(heads)
  return new Map(wanted.filter((head) => known.has(head)).map((head) => [head, tree.getProof(keccak256(head))]))
}

export function isReceiptIn(root: string, head: string, proof: readonly string[]): boolean {
  return SimpleMerkleTree.verify(root, keccak256(head), [...proof])
}

function treeOf(heads: readonly string[]): SimpleMerkleTree {
  if (heads.length === 0) throw new GranaryError('internal', 'A batch without receipts has no root.')
  return SimpleMerkleTree.of(heads.map((head) => keccak256(head)))
}
