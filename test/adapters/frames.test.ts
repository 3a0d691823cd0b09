import { concat, hexlify, keccak256, toBeHex } from 'ethers'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeFrame, encodeFrame, type Frame } from '../../services/adapters/dispatcher/frames.ts'
import { recover } from '../../services/adapters/dispatcher/receipt-check.ts'
import { GranaryError } from '../../services/core/errors.ts'
import { newSessionKey, random32 } from './support/jobs.ts'

/** Of secp256k1. */
const CURVE_ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n

describe('the frames', () => {
  const stream = fc.integer({ min: 0, max: 2 ** 32 - 1 })
  const json = fc.jsonValue({ maxDepth: 3 })
  const frames: fc.Arbitrary<Frame> = fc.oneof(
    fc.record({ kind: fc.constant('control' as const), message: json }),
    fc.record({ kind: fc.constant('open' as const), stream, bodyBytes: stream, header: json }),
    fc.record({ kind: fc.constant('data' as const), stream, bytes: fc.uint8Array({ minLength: 1, maxLength: 5000 }) }),
    fc.record({ kind: fc.constant('credit' as const), stream, bytes: stream }),
    fc.record({ kind: fc.constant('cancel' as const), stream }),
  )

  it('are read as they were written', () => {
    fc.assert(
      fc.property(frames, (frame) => {
        expect(JSON.stringify(decodeFrame(encodeFrame(frame)))).toBe(JSON.stringify(frame))
      }),
    )
  })

  it('that are cut, changed or made up are either read or refused, never anything else', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.uint8Array({ maxLength: 200 }), frames.map(encodeFrame)),
        fc.nat(),
        fc.nat(255),
        (bytes, at, value) => {
          const changed = bytes.slice(0, (at % (bytes.length + 1)) + 1)
          if (changed.length > 0) changed[at % changed.length] = value
          try {
            decodeFrame(changed)
          } catch (error) {
            expect(error).toBeInstanceOf(GranaryError)
          }
        },
      ),
      { numRuns: 1000 },
    )
  })
})

describe('the native signature recovery', () => {
  it('finds the signer that ethers finds, and refuses malleable signatures', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 32, maxLength: 32 }), async (bytes) => {
        const wallet = newSessionKey()
        const digest = hexlify(bytes)
        const signature = wallet.signingKey.sign(digest)
        expect(recover(digest, signature.serialized)).toBe(wallet.address.toLowerCase())
        const mirrored = toBeHex(CURVE_ORDER - BigInt(signature.s), 32)
        const malleable = concat([signature.r, mirrored, signature.v === 27 ? '0x1c' : '0x1b'])
        expect(recover(digest, malleable)).toBeNull()
        expect(recover(keccak256(digest), signature.serialized)).not.toBe(wallet.address.toLowerCase())
      }),
      { numRuns: 20 },
    )
    for (const nonsense of ['', '0x', 'x', `0x${'00'.repeat(65)}`, `0x${'ff'.repeat(65)}`, `0x${'11'.repeat(64)}`]) {
      expect(recover(random32(), nonsense)).toBeNull()
    }
  })
})
