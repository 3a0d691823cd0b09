import { gcm } from '@noble/ciphers/aes.js'
import { x25519 } from '@noble/curves/ed25519.js'
import { hkdf } from '@noble/hashes/hkdf.js'
import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex, concatBytes, hexToBytes, utf8ToBytes } from '@noble/hashes/utils.js'
import { GranaryError } from '../core/errors.ts'

/** AES-256-GCM: 12 bytes of nonce, then ciphertext with its tag. Datasets are encrypted with this before they go to IPFS. */
export function encryptBytes(plaintext: Uint8Array, contentKey: Uint8Array): Uint8Array {
  const nonce = crypto.getRandomValues(new Uint8Array(12))
  return concatBytes(nonce, gcm(contentKey, nonce).encrypt(plaintext))
}

export function decryptBytes(encrypted: Uint8Array, contentKey: Uint8Array): Uint8Array {
  try {
    return gcm(contentKey, encrypted.subarray(0, 12)).decrypt(encrypted.subarray(12))
  } catch (cause) {
    throw new GranaryError('content.mismatch', 'The content key does not open these bytes.', { cause })
  }
}

export interface SealingKey {
  secretKey: Uint8Array
  publicKey: string
}

export function makeSealingKey(): SealingKey {
  const secretKey = crypto.getRandomValues(new Uint8Array(32))
  return { secretKey, publicKey: `0x${bytesToHex(x25519.getPublicKey(secretKey))}` }
}

/**
 * Seals a content key to one reader: ephemeral X25519, HKDF-SHA256 over both public keys, AES-256-GCM. `context` (the
 * datasetId) is bound in, so that a sealed key can't be passed off as another dataset's.
 */
export function sealContentKey(contentKey: Uint8Array, reader: { publicKey: string; context: string }): Uint8Array {
  const ephemeral = crypto.getRandomValues(new Uint8Array(32))
  const ephemeralPublic = x25519.getPublicKey(ephemeral)
  const readerPublic = hexToBytes(reader.publicKey.slice(2))
  const shared = x25519.getSharedSecret(ephemeral, readerPublic)
  return concatBytes(
    ephemeralPublic,
    encryptBytes(contentKey, wrappingKey(shared, { ephemeralPublic, readerPublic, context: reader.context })),
  )
}

export function openContentKey(sealed: Uint8Array, reader: { secretKey: Uint8Array; context: string }): Uint8Array {
  const ephemeralPublic = sealed.subarray(0, 32)
  const readerPublic = x25519.getPublicKey(reader.secretKey)
  const shared = x25519.getSharedSecret(reader.secretKey, ephemeralPublic)
  return decryptBytes(sealed.subarray(32), wrappingKey(shared, { ephemeralPublic, readerPublic, context: reader.context }))
}

function wrappingKey(
  shared: Uint8Array,
  bound: { ephemeralPublic: Uint8Array; readerPublic: Uint8Array; context: string },
): Uint8Array {
  const salt = concatBytes(bound.ephemeralPublic, bound.readerPublic)
  return hkdf(sha256, shared, salt, utf8ToBytes(`granary/content-key/1/${bound.context}`), 32)
}
