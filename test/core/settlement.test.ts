import { SimpleMerkleTree } from '@openzeppelin/merkle-tree'
import { getBytes, keccak256, Signature, Wallet, zeroPadBytes } from 'ethers'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { ChainEvent } from '../../services/core/chain-records.ts'
import { isReceiptIn, receiptProof, receiptsRoot } from '../../services/core/merkle.ts'
import { decodeRows } from '../../services/core/rows.ts'
import { batchOutcomeOf, compactSignature, splitLane, toBatchArgument } from '../../services/core/settlement.ts'
import type { BatchDraft } from '../../services/core/settlement-ledger.ts'

const amount = fc.bigInt({ min: 0n, max: (1n << 80n) - 1n })
/** What the contracts admit together: never above the whole. */
const rates = fc
  .tuple(fc.bigInt(0n, 50_000n), fc.bigInt(0n, 100_000n), fc.bigInt(0n, 850_000n))
  .map(([protocolPpm, collectorPpm, payeesPpm]) => ({ protocolPpm, collectorPpm, payeesPpm }))
const head = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => `0x${Buffer.from(bytes).toString('hex')}`)
const heads = fc.uniqueArray(head, { minLength: 1, maxLength: 40 })

describe("a lane's split", () => {
  it('conserves the gross to the unit and gives nobody a negative part', () => {
    fc.assert(
      fc.property(amount, rates, (gross, some) => {
        const { protocolFee, collectorFee, royalties, provider } = splitLane(gross, some)
        expect(protocolFee + collectorFee + royalties + provider).toBe(gross)
        for (const part of [protocolFee, collectorFee, royalties, provider]) expect(part).toBeGreaterThanOrEqual(0n)
      }),
    )
  })

  it('rounds fees and royalties down, by less than one unit each', () => {
    fc.assert(
      fc.property(amount, rates, (gross, some) => {
        const split = splitLane(gross, some)
        const pairs = [
          [split.protocolFee, some.protocolPpm],
          [split.collectorFee, some.collectorPpm],
          [split.royalties, some.payeesPpm],
        ] as const
        for (const [part, ppm] of pairs) {
          expect(part * 1_000_000n).toBeLessThanOrEqual(gross * ppm)
          expect((part + 1n) * 1_000_000n).toBeGreaterThan(gross * ppm)
        }
      }),
    )
  })
})

describe('the root of receipts', () => {
  it('proves each receipt of the batch and no other', () => {
    fc.assert(
      fc.property(heads, head, (all, stranger) => {
        const root = receiptsRoot(all)
        for (const one of all) expect(isReceiptIn(root, one, receiptProof(all, one) ?? [])).toBe(true)
        fc.pre(!all.includes(stranger))
        expect(receiptProof(all, stranger)).toBeNull()
        expect(isReceiptIn(root, stranger, receiptProof(all, all[0] ?? '') ?? [])).toBe(false)
      }),
      { numRuns: 30 },
    )
  })

  it("has the roots and proofs of OpenZeppelin's library", () => {
    fc.assert(
      fc.property(heads, (all) => {
        const tree = SimpleMerkleTree.of(all.map((one) => keccak256(one)))
        expect(receiptsRoot(all)).toBe(tree.root)
        for (const one of all) {
          const proof = receiptProof(all, one) ?? []
          expect(proof).toEqual(tree.getProof(keccak256(one)))
          expect(SimpleMerkleTree.verify(tree.root, keccak256(one), proof)).toBe(true)
        }
      }),
      { numRuns: 30 },
    )
  })

  it('does not depend on the order, and is never an inner hash of itself', () => {
    fc.assert(
      fc.property(heads, (all) => {
        const root = receiptsRoot(all)
        expect(receiptsRoot([...all].reverse())).toBe(root)
        if (all.length === 1) expect(root).toBe(keccak256(all[0] ?? ''))
      }),
      { numRuns: 30 },
    )
  })
})

describe("a voucher's compact signature", () => {
  it('holds the same r, s and parity as the 65 bytes it came from', () => {
    fc.assert(
      fc.property(head, (digest) => {
        const signature = Wallet.createRandom().signingKey.sign(digest)
        const { r, vs } = compactSignature(signature.serialized)
        const back = Signature.from(`0x${r.slice(2)}${vs.slice(2)}`)
        expect(back.serialized).toBe(signature.serialized)
        expect(compactSignature(back.compactSerialized)).toEqual({ r, vs })
      }),
      { numRuns: 20 },
    )
  })

  it('is refused when it is malformed', () => {
    for (const bad of ['0x', '0x1234', zeroPadBytes('0x01', 66), 'nonsense']) {
      expect(() => compactSignature(bad)).toThrowError(expect.objectContaining({ code: 'voucher.forged' }))
    }
  })
})

describe('a batch on chain', () => {
  const id = (byte: string) => `0x${byte.repeat(32)}`
  const wallet = new Wallet(id('11'))
  const draft: BatchDraft = {
    batchId: id('01'),
    collector: `0x${'22'.repeat(20)}`,
    lanes: [{ modelId: id('02'), provider: `0x${'33'.repeat(20)}`, purpose: 1, lastServedAt: 1000 }],
    rows: [
      {
        accountId: id('03'),
        config: { payer: wallet.address.toLowerCase(), collector: `0x${'22'.repeat(20)}`, thawSeconds: 7200, salt: id('04') },
        key: wallet.address.toLowerCase(),
        from: 5n,
        voucher: {
          accountId: id('03'),
          key: wallet.address.toLowerCase(),
          ceiling: 100n,
          usageHead: id('05'),
          signature: wallet.signingKey.sign(id('06')).serialized,
        },
        parts: [{ lane: 0, amount: 7n }],
        requestIds: ['a', 'b'],
      },
    ],
    leaves: [id('07'), id('08')],
  }

  it('carries what the draft says, the receipts as their root, and nothing that only the ledger knows', () => {
    const argument = toBatchArgument(draft)
    expect(argument.receiptsRoot).toBe(receiptsRoot(draft.leaves))
    const rows = decodeRows(argument.rows) ?? []
    expect(rows).toHaveLength(1)
    expect(rows[0]).toMatchObject({ from: 5n, ceiling: 100n, thawSeconds: 7200, parts: [{ lane: 0, amount: 7n }] })
    expect(Object.keys(rows[0] ?? {})).not.toContain('requestIds')
    expect(getBytes(rows[0]?.vs ?? '')).toHaveLength(32)
  })

  it('is known by its own events only', () => {
    const event = (name: string, args: Record<string, unknown>): ChainEvent => ({
      block: 9,
      blockHash: id('aa'),
      transaction: id('bb'),
      logIndex: 0,
      contract: 'InferenceEscrow',
      name,
      args: { batchId: draft.batchId, ...args },
    })
    const split = {
      modelId: id('02'),
      provider: `0x${'33'.repeat(20)}`,
      gross: '7',
      protocolFee: '1',
      collectorFee: '0',
      royalties: '2',
    }
    const transaction = {
      hash: id('bb'),
      block: 9,
      blockHash: id('aa'),
      succeeded: true,
      gasUsed: 1n,
      events: [] as ChainEvent[],
    }
    expect(batchOutcomeOf(draft.batchId, transaction)).toBeNull()
    transaction.events = [
      event('BatchSettled', { batchId: id('ff'), gross: '1' }),
      event('BatchSettled', { gross: '7' }),
      event('RowSkipped', { row: '3', reason: '5' }),
      event('LaneRefused', { lane: '1' }),
      event('LaneSettled', split),
    ]
    expect(batchOutcomeOf(draft.batchId, transaction)).toMatchObject({
      skippedRows: [{ row: 3, reason: 'Unfunded' }],
      refusedLanes: [1],
      lanes: [{ gross: 7n, protocolFee: 1n, collectorFee: 0n, royalties: 2n }],
    })
  })
})
