import { SimpleMerkleTree } from '@openzeppelin/merkle-tree'
import { computeAddress, keccak256, TypedDataEncoder, verifyTypedData } from 'ethers'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { openSigner, recoverSigner } from '../../services/adapters/signatures.ts'
import { LONGEST_PATH, type ReceiptSignature, signedDigestOf, signReceipts } from '../../services/core/receipt-signature.ts'

const MOST = 256
const escrow = { chainId: 31337n, address: `0x${'e5'.repeat(20)}` }
const privateKey = `0x${'33'.repeat(32)}`
const collector = computeAddress(privateKey).toLowerCase()
const sign = openSigner(privateKey)
const signed = (heads: readonly string[]) => signReceipts(heads, { escrow, sign })

type Signed = ReceiptSignature & { head: string }

/** As a client does. */
function holds({ head, path, collectorSignature }: Signed): boolean {
  const digest = signedDigestOf({ head, path }, escrow)
  return digest !== null && recoverSigner(digest, collectorSignature) === collector
}

const hash = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => `0x${Buffer.from(bytes).toString('hex')}`)
/** A seed makes as many heads as are wanted faster than fast-check draws them. */
const heads = (most = MOST) =>
  fc.record({ seed: hash, size: fc.integer({ min: 1, max: most }) }).map(({ seed, size }) => {
    const all = [keccak256(seed)]
    while (all.length < size) all.push(keccak256(all.at(-1) ?? seed))
    return all
  })

/** One receipt of a group, and the group. */
const receipts = (most = MOST) =>
  fc.tuple(heads(most), fc.nat()).map(([all, place]) => {
    const head = all[place % all.length] ?? ''
    return { all, receipt: receiptOf(all, head) }
  })

function receiptOf(all: readonly string[], head: string): Signed {
  const of = signed(all).get(head)
  if (!of) throw new Error('a receipt without a signature')
  return { head, ...of }
}

/** Another digit at `place`. */
function flipped(hex: string, place: number): string {
  const at = 2 + (place % (hex.length - 2))
  const digit = Number.parseInt(hex[at] ?? '0', 16) ^ (1 + (place % 15))
  return `${hex.slice(0, at)}${digit.toString(16)}${hex.slice(at + 1)}`
}

describe("the collector's signature over a group of receipts", () => {
  it('holds for each of them, whatever their number, and is made once', () => {
    fc.assert(
      fc.property(heads(), (all) => {
        let made = 0
        const counted = (digest: string) => {
          made += 1
          return sign(digest)
        }
        const of = signReceipts(all, { escrow, sign: counted })
        expect(made).toBe(1)
        for (const [head, one] of of) expect(holds({ head, ...one })).toBe(true)
        expect([...of.keys()]).toEqual(all)
        expect(Math.max(...[...of.values()].map(({ path }) => path.length))).toBe(Math.ceil(Math.log2(all.length)))
      }),
      {
        numRuns: 15,
        examples: [1, 2, 3, 255, MOST].map((size) => [
          Array.from({ length: size }, (_, n) => keccak256(`0x${n.toString(16).padStart(64, '0')}`)),
        ]),
      },
    )
  })

  it("is EIP-712's over the root that OpenZeppelin's library finds", () => {
    fc.assert(
      fc.property(receipts(40), ({ all, receipt: { head, path, collectorSignature } }) => {
        const { root } = SimpleMerkleTree.of(all.map((one) => keccak256(one)))
        expect(SimpleMerkleTree.verify(root, keccak256(head), path)).toBe(true)
        const domain = { name: 'Granary InferenceEscrow', version: '1', chainId: 31337n, verifyingContract: escrow.address }
        const types = { Receipts: [{ name: 'root', type: 'bytes32' }] }
        expect(signedDigestOf({ head, path }, escrow)).toBe(TypedDataEncoder.hash(domain, types, { root }))
        expect(verifyTypedData(domain, types, { root }, collectorSignature).toLowerCase()).toBe(collector)
      }),
      { numRuns: 20 },
    )
  })

  it('of a receipt that was committed alone has no path', () => {
    fc.assert(
      fc.property(hash, (head) => {
        expect(receiptOf([head], head).path).toEqual([])
      }),
      { numRuns: 20 },
    )
  })

  it('fails with another digit anywhere in head, path or signature', () => {
    fc.assert(
      fc.property(receipts(), fc.nat(), fc.nat(), ({ receipt }, place, step) => {
        const { head, path, collectorSignature } = receipt
        expect(holds(receipt)).toBe(true)
        expect(holds({ ...receipt, head: flipped(head, place) })).toBe(false)
        expect(holds({ ...receipt, collectorSignature: flipped(collectorSignature, place) })).toBe(false)
        const at = path.length === 0 ? -1 : step % path.length
        if (at >= 0) expect(holds({ ...receipt, path: path.with(at, flipped(path[at] ?? '', place)) })).toBe(false)
      }),
      { numRuns: 100 },
    )
  })

  it('fails with the path of another receipt, with a step less and with a step more', () => {
    fc.assert(
      fc.property(receipts(), fc.nat(), hash, ({ all, receipt }, place, stranger) => {
        const { head, path } = receipt
        const other = all[place % all.length] ?? head
        if (other !== head) expect(holds({ ...receipt, path: receiptOf(all, other).path })).toBe(false)
        if (path.length > 0) expect(holds({ ...receipt, path: path.slice(1) })).toBe(false)
        if (path.length > 0) expect(holds({ ...receipt, path: path.slice(0, -1) })).toBe(false)
        expect(holds({ ...receipt, path: [...path, stranger] })).toBe(false)
        expect(holds({ ...receipt, path: [stranger, ...path] })).toBe(false)
        expect(holds({ ...receipt, head: stranger })).toBe(false)
      }),
      { numRuns: 60 },
    )
  })

  it('stands for no inner node, no leaf and no root in the place of a head', () => {
    fc.assert(
      fc.property(receipts(), ({ receipt }) => {
        const { head, path } = receipt
        expect(holds({ ...receipt, head: keccak256(head) })).toBe(false)
        // Also by the nodes of a tree that would not hash its leaves, where the first of these would pass.
        for (const leaf of [keccak256(head), head]) {
          let node = leaf
          for (const [step, sibling] of path.entries()) {
            const children = [node, sibling].sort().join('').replaceAll('0x', '')
            node = keccak256(`0x${children}`)
            const rest = path.slice(step + 1)
            expect(holds({ ...receipt, head: node, path: rest })).toBe(false)
            // Two children are 64 bytes, whose hash is a node: no head is so long.
            expect(signedDigestOf({ head: `0x${children}`, path: rest }, escrow)).toBeNull()
          }
        }
      }),
      { numRuns: 40 },
    )
  })

  it('is bound to chain and escrow', () => {
    const receipt = receiptOf([`0x${'01'.repeat(32)}`, `0x${'02'.repeat(32)}`], `0x${'01'.repeat(32)}`)
    for (const other of [
      { ...escrow, chainId: 1n },
      { ...escrow, address: `0x${'e6'.repeat(20)}` },
    ]) {
      expect(recoverSigner(signedDigestOf(receipt, other) ?? '', receipt.collectorSignature)).not.toBe(collector)
    }
  })

  it('is looked for at the end of no path that is too long or none at all', () => {
    const head = `0x${'01'.repeat(32)}`
    const step = `0x${'02'.repeat(32)}`
    const digestOver = (path: unknown) => signedDigestOf({ head, path: path as string[] }, escrow)
    expect(digestOver(Array(LONGEST_PATH).fill(step))).not.toBeNull()
    const noPaths = [
      Array(LONGEST_PATH + 1).fill(step),
      undefined,
      null,
      step,
      { length: 0 },
      [1],
      [null],
      ['0x'],
      ['0x02'],
      [`${step}02`],
    ]
    for (const path of [...noPaths, [`0x${'AB'.repeat(32)}`], [step.slice(2)], [`${step}\n`]]) expect(digestOver(path)).toBeNull()
  })
})
