import { AbiCoder, concat, keccak256 } from 'ethers'
import type { Line } from '../model/consent.ts'

const coder = AbiCoder.defaultAbiCoder()

/** Pairs are hashed in the order of their bytes; what is left over goes up as it is. */
export function rootOf(lines: readonly Line[]): string {
  return layersOf(lines).at(-1)?.[0] ?? `0x${'0'.repeat(64)}`
}

export function proofOf(lines: readonly Line[], index: number): string[] {
  const proof: string[] = []
  let place = index
  for (const layer of layersOf(lines)) {
    const sibling = layer[place ^ 1]
    if (sibling !== undefined) proof.push(sibling)
    place >>= 1
  }
  return proof
}

function layersOf(lines: readonly Line[]): string[][] {
  const layers = [lines.map(leafOf)]
  for (let layer = layers[0] ?? []; layer.length > 1; layers.push(layer)) {
    layer = layer.flatMap((left, i) => (i % 2 === 0 ? [joined(left, layer[i + 1])] : []))
  }
  return layers
}

function leafOf({ account, shares }: Line): string {
  return keccak256(keccak256(coder.encode(['address', 'uint128'], [account, shares])))
}

function joined(left: string, right: string | undefined): string {
  if (right === undefined) return left
  return keccak256(left < right ? concat([left, right]) : concat([right, left]))
}
