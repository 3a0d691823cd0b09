import { keccak256 as ethersKeccak256, hexlify, TypedDataEncoder, type TypedDataField, verifyTypedData, Wallet } from 'ethers'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { hmacKey } from '../../services/adapters/hmac.ts'
import { nativeDeriveMacKey, nativeMacOf, openSigner, recoverSigner } from '../../services/adapters/signatures.ts'
import { keccak256 } from '../../services/core/keccak.ts'
import {
  type ContractName,
  digestOf,
  digestOfStruct,
  messages,
  signerOf,
  structHashOf,
  typedData,
} from '../../services/core/messages.ts'

import { deriveMacKey, macOf, x25519PublicKey } from '../../services/core/sessions.ts'

/** What is done by hand for speed gives what ethers gives. */
const hex = (bytes: number) => fc.uint8Array({ minLength: bytes, maxLength: bytes }).map((value) => hexlify(value))

function drawnOf(type: string): fc.Arbitrary<unknown> {
  if (type === 'address') return hex(20)
  if (type === 'bytes32') return hex(32)
  if (type === 'bool') return fc.boolean()
  if (type === 'string') return fc.string({ unit: 'grapheme', maxLength: 200 })
  return fc.bigInt({ min: 0n, max: (1n << BigInt(type.slice(4))) - 1n })
}

const drawn = fc.constantFrom(...(Object.keys(messages) as ContractName[])).chain((contract) =>
  fc
    .constantFrom(...Object.entries(messages[contract] as unknown as Record<string, TypedDataField[]>))
    .chain(([name, fields]) => {
      const value = fc.record(Object.fromEntries(fields.map((field) => [field.name, drawnOf(field.type)])))
      return fc.record({ contract: fc.constant(contract), name: fc.constant(name as never), value })
    }),
)
const verifier = fc.record({ chainId: fc.bigInt({ min: 1n, max: 1n << 60n }), address: hex(20) })

describe('hashing by hand', () => {
  it('is Keccak-256 at every length around its blocks', () => {
    for (let length = 0; length < 420; length++) {
      const bytes = Uint8Array.from({ length }, (_, index) => (index * 31 + length) & 0xff)
      expect(hexlify(keccak256(bytes))).toBe(ethersKeccak256(bytes))
    }
  })

  it('gives the struct hashes and digests that ethers gives, for every message', () => {
    fc.assert(
      fc.property(drawn, verifier, ({ contract, name, value }, escrow) => {
        const { domain, types } = typedData(contract, name, escrow, value)
        expect(digestOf(contract, name, escrow, value)).toBe(TypedDataEncoder.hash(domain, types, value))
        const structHash = structHashOf(contract, name, value)
        expect(structHash).toBe(TypedDataEncoder.hashStruct(name, types, value))
        expect(digestOfStruct(contract, escrow, structHash)).toBe(digestOf(contract, name, escrow, value))
      }),
      { numRuns: 300 },
    )
  })

  it('takes numbers and decimal strings for what they say, and refuses what does not fit its type', () => {
    const voucher = {
      accountId: `0x${'ab'.repeat(32)}`,
      key: `0x${'cd'.repeat(20)}`,
      ceiling: 7n,
      usageHead: `0x${'00'.repeat(32)}`,
    }
    const hashOf = (change: object) => structHashOf('InferenceEscrow', 'Voucher', { ...voucher, ...change })
    expect([hashOf({ ceiling: 7 }), hashOf({ ceiling: '7' }), hashOf({ key: `0x${'CD'.repeat(20)}` })]).toEqual(
      Array.from({ length: 3 }, () => hashOf({})),
    )
    const wrong = [{ ceiling: -1n }, { ceiling: 1n << 128n }, { ceiling: 1.5 }, { ceiling: 'x' }, { ceiling: undefined }]
    const others = [
      { key: `0x${'cd'.repeat(19)}` },
      { key: `0x${'gg'.repeat(20)}` },
      { accountId: 'ab'.repeat(33) },
      { usageHead: null },
    ]
    for (const change of [...wrong, ...others]) expect(() => hashOf(change)).toThrow(TypeError)
    const provider = { operator: voucher.key, sessionKey: voucher.key, encryptionKey: voucher.usageHead, nonce: 0n, deadline: 1n }
    for (const name of [7, null, '\ud800'])
      expect(() => structHashOf('ProviderRegistry', 'RegisterProvider', { ...provider, name })).toThrow(TypeError)
  })
})

describe('native MACs', () => {
  it('are those that a client computes', () => {
    const text = fc.string({ maxLength: 40 })
    const input = fc.record({
      method: text,
      path: text,
      body: fc.uint8Array({ maxLength: 300 }),
      idempotencyKey: text,
      voucher: text,
    })
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), input, (key, request) => {
        expect(nativeMacOf(hmacKey(key), request)).toBe(macOf(key, request))
      }),
    )
  })
})

describe('native session keys', () => {
  const bytes = fc.uint8Array({ minLength: 32, maxLength: 32 })

  it('are those that a client computes, whichever side and whatever the unused bit of the public key says', () => {
    fc.assert(
      fc.property(bytes, bytes, hex(32), fc.boolean(), (secretKey, peer, sessionId, bit) => {
        const point = Buffer.from(x25519PublicKey(peer).slice(2), 'hex')
        point[31] = (point[31] ?? 0) | (bit ? 0x80 : 0)
        const agreement = { secretKey, publicKey: hexlify(point), sessionId }
        expect(nativeDeriveMacKey(agreement)).toEqual(deriveMacKey(agreement))
      }),
      { numRuns: 30 },
    )
  })

  it('are none for points of low order, with which anybody would know the secret', () => {
    const lowest = [
      '00',
      '01',
      'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b8',
      '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f11',
    ]
    const last = ['00', '00', '00', '57']
    for (const [index, beginning] of lowest.entries()) {
      const publicKey = `0x${beginning.padEnd(62, '0')}${last[index]}`
      const agreement = { secretKey: new Uint8Array(32).fill(7), publicKey, sessionId: `0x${'0a'.repeat(32)}` }
      expect(() => deriveMacKey(agreement), publicKey).toThrow()
      expect(() => nativeDeriveMacKey(agreement), publicKey).toThrow()
    }
  })
})

describe('native signatures', () => {
  const escrow = { chainId: 31337n, address: `0x${'5f'.repeat(20)}` }

  it('are those of ethers, and each recovers what the other signs', () => {
    fc.assert(
      fc.property(hex(32), hex(32), (privateKey, digest) => {
        fc.pre(BigInt(privateKey) > 0n && BigInt(privateKey) < 1n << 255n)
        const wallet = new Wallet(privateKey)
        const signature = openSigner(privateKey)(digest)
        expect(signature).toBe(wallet.signingKey.sign(digest).serialized)
        expect(recoverSigner(digest, signature)).toBe(wallet.address.toLowerCase())
        expect(recoverSigner(digest, wallet.signingKey.sign(digest).compactSerialized)).toBe(wallet.address.toLowerCase())
      }),
      { numRuns: 30 },
    )
  })

  it('are refused where they are malleable or malformed', () => {
    const wallet = new Wallet(`0x${'42'.repeat(32)}`)
    const value = { accountId: `0x${'ab'.repeat(32)}`, key: wallet.address, ceiling: 7n, usageHead: `0x${'00'.repeat(32)}` }
    const digest = digestOf('InferenceEscrow', 'Voucher', escrow, value)
    const { r, s, v, serialized } = wallet.signingKey.sign(digest)
    const { domain, types } = typedData('InferenceEscrow', 'Voucher', escrow, value)
    expect(verifyTypedData(domain, types, value, serialized)).toBe(wallet.address)
    const order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n
    const upper = (order - BigInt(s)).toString(16).padStart(64, '0')
    const malleable = `${r}${upper}${(v === 27 ? 28 : 27).toString(16)}`
    const malformed = [
      malleable,
      '0x',
      serialized.slice(0, -4),
      `${serialized}00`,
      `${serialized.slice(0, -2)}1d`,
      `0x${'00'.repeat(65)}`,
    ]
    for (const signature of malformed) {
      expect(recoverSigner(digest, signature), signature).not.toBe(wallet.address.toLowerCase())
      expect(signerOf(digest, signature)?.toLowerCase(), signature).not.toBe(wallet.address.toLowerCase())
    }
    expect(recoverSigner(digest, malleable)).toBeNull()
  })
})
