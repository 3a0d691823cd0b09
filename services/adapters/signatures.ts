import { createPrivateKey, createPublicKey, diffieHellman, hash, hkdfSync } from 'node:crypto'
import secp256k1 from 'secp256k1'
import { keccak256 } from '../core/keccak.ts'
import { type MacAgreement, type MacInput, macInfo, macText } from '../core/sessions.ts'
import { type HmacKey, hmacOf } from './hmac.ts'

// secp256k1 by the native library: 50 times faster than in JavaScript, the same signatures (RFC 6979, lower half order).

/** Lower-case address of the signer; null if the signature is malformed or malleable. Takes 65 bytes, or 64 (EIP-2098). */
export function recoverSigner(digest: string, signature: string): string | null {
  const bytes = bytesOf(signature)
  const parts = bytes && partsOf(bytes)
  if (!parts || digest.length !== 66) return null
  const { compact, recovery } = parts
  try {
    // Only the upper half is changed by it.
    if (Buffer.compare(secp256k1.signatureNormalize(Uint8Array.from(compact)), compact) !== 0) return null
    const publicKey = secp256k1.ecdsaRecover(compact, recovery, Buffer.from(digest.slice(2), 'hex'), false)
    return `0x${Buffer.from(keccak256(publicKey.subarray(1)).buffer, 12, 20).toString('hex')}`
  } catch {
    return null
  }
}

/** 65 bytes, as contracts and ethers take them. */
export function openSigner(privateKey: string): (digest: string) => string {
  const key = Buffer.from(privateKey.slice(2), 'hex')
  return (digest) => {
    const { signature, recid } = secp256k1.ecdsaSign(Buffer.from(digest.slice(2), 'hex'), key)
    return `0x${Buffer.from(signature.buffer, signature.byteOffset, 64).toString('hex')}${recid === 0 ? '1b' : '1c'}`
  }
}

/** What core's macOf gives, by Node's own hashes. */
export function nativeMacOf(macKey: HmacKey, { body, ...input }: MacInput): string {
  return hmacOf(macKey, macText({ ...input, bodyHash: hash('sha256', body) }), 'hex')
}

/** What stands before the 32 bytes of an X25519 key in PKCS #8 and in SubjectPublicKeyInfo (RFC 8410). */
const X25519_SECRET = Buffer.from('302e020100300506032b656e04220420', 'hex')
const X25519_PUBLIC = Buffer.from('302a300506032b656e032100', 'hex')

/** What core's deriveMacKey gives, an eighth of its time: opening sessions must not hold up who has one. Throws for points of low order. */
export function nativeDeriveMacKey({ secretKey, publicKey, sessionId }: MacAgreement): Uint8Array {
  const secret = Buffer.concat([X25519_SECRET, secretKey])
  const peer = Buffer.concat([X25519_PUBLIC, Buffer.from(publicKey.slice(2), 'hex')])
  const shared = diffieHellman({
    privateKey: createPrivateKey({ key: secret, format: 'der', type: 'pkcs8' }),
    publicKey: createPublicKey({ key: peer, format: 'der', type: 'spki' }),
  })
  return new Uint8Array(hkdfSync('sha256', shared, Buffer.from(sessionId.slice(2), 'hex'), macInfo, 32))
}

function bytesOf(hex: string): Buffer | null {
  return /^0x([0-9a-fA-F]{128}|[0-9a-fA-F]{130})$/.test(hex) ? Buffer.from(hex.slice(2), 'hex') : null
}

function partsOf(bytes: Buffer): { compact: Buffer; recovery: number } | null {
  const compact = bytes.subarray(0, 64)
  if (bytes.length === 64) {
    const recovery = (compact[32] ?? 0) >> 7
    compact[32] = (compact[32] ?? 0) & 0x7f
    return { compact, recovery }
  }
  const last = bytes[64] ?? 0
  const recovery = last >= 27 ? last - 27 : last
  return recovery === 0 || recovery === 1 ? { compact, recovery } : null
}
