import { getAddress, keccak256, Transaction, Wallet } from 'ethers'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { openContractCodec } from '../../services/adapters/chain/contract-codec.ts'
import { signTransaction } from '../../services/adapters/chain/signed-transaction.ts'

const wallet = new Wallet(`0x${'5a'.repeat(32)}`)
const hex = (bytes: Uint8Array) => `0x${Buffer.from(bytes).toString('hex')}`
const amount = fc.oneof(fc.bigInt({ min: 0n, max: 300n }), fc.bigInt({ min: 0n, max: 2n ** 200n }))

describe('a signed transaction', () => {
  it('has the bytes and the hash that ethers gives it, whatever its numbers and its size', async () => {
    const transaction = fc.record({
      chainId: fc.bigInt({ min: 1n, max: 2n ** 40n }),
      nonce: fc.oneof(fc.nat(200), fc.nat()),
      maxPriorityFeePerGas: amount,
      maxFeePerGas: amount,
      gasLimit: amount,
      to: fc.uint8Array({ minLength: 20, maxLength: 20 }).map(hex),
      data: fc.oneof(fc.uint8Array({ maxLength: 3 }), fc.uint8Array({ minLength: 50, maxLength: 70_000 })).map(hex),
    })
    await fc.assert(
      fc.asyncProperty(transaction, async (unsigned) => {
        const maxFeePerGas = unsigned.maxFeePerGas + unsigned.maxPriorityFeePerGas
        const asked = { ...unsigned, maxFeePerGas }
        const raw = await wallet.signTransaction({ ...asked, type: 2, to: getAddress(asked.to) })
        expect(signTransaction(wallet, asked)).toEqual({ raw, hash: keccak256(raw), nonce: asked.nonce })
        expect(Transaction.from(raw).from).toBe(wallet.address)
      }),
      { numRuns: 60 },
    )
  })

  it('carries a call whose bytes the codec reads back as they were', () => {
    const escrow = `0x${'e5'.repeat(20)}`
    const codec = openContractCodec({ InferenceEscrow: escrow })
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2000 }).map(hex), fc.uint8Array({ maxLength: 80 }).map(hex), (rows, proof) => {
        const [collector, batchId] = [`0x${'c0'.repeat(20)}`, `0x${'ba'.repeat(32)}`]
        const lane = { modelId: batchId, provider: collector, purpose: 3n, lastServedAt: 9n }
        const call = {
          contract: 'InferenceEscrow',
          method: 'settleBatch',
          args: [{ collector, batchId, lanes: [lane], rows, receiptsRoot: batchId }, proof],
        }
        expect(codec.callOf(escrow, codec.encode(call))).toEqual(call)
      }),
    )
    expect(codec.callOf(escrow, '0x')).toBeNull()
    expect(codec.callOf(escrow, '0xffffffff')).toBeNull()
    expect(codec.callOf(`0x${'00'.repeat(20)}`, '0xffffffff')).toBeNull()
  })
})
