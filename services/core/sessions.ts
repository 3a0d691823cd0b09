import { x25519 } from '@noble/curves/ed25519.js'
import { hkdf } from '@noble/hashes/hkdf.js'
import { hmac } from '@noble/hashes/hmac.js'
import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex, hexToBytes, utf8ToBytes } from '@noble/hashes/utils.js'

/**
 * A session lets a payer authenticate requests with a MAC instead of a signature each. The escrow key signs an ephemeral
 * X25519 key once (EIP-712 Session); both sides derive the MAC key, so that no secret crosses the wire:
 * HKDF-SHA256(X25519(ephemeral, gateway), salt = session digest, info = "granary/session/1").
 */
export function deriveMacKey({ secretKey, publicKey, sessionId }: MacAgreement): Uint8Array {
  const shared = x25519.getSharedSecret(secretKey, hexToBytes(publicKey.slice(2)))
  return hkdf(sha256, shared, hexToBytes(sessionId.slice(2)), utf8ToBytes(macInfo), 32)
}

/** One side's secret and the other's public key. */
export interface MacAgreement {
  secretKey: Uint8Array
  publicKey: string
  sessionId: string
}

export const macInfo = 'granary/session/1'

export function x25519PublicKey(secretKey: Uint8Array): string {
  return `0x${bytesToHex(x25519.getPublicKey(secretKey))}`
}

export interface MacInput {
  method: string
  /** Path and query as sent. */
  path: string
  body: Uint8Array
  idempotencyKey: string
  /** The voucher header as sent, empty if none: so nobody can swap it. */
  voucher: string
}

/** Hex HMAC-SHA256 over the lines: method, path, sha256(body), idempotency key, voucher header. */
export function macOf(macKey: Uint8Array, { body, ...input }: MacInput): string {
  return bytesToHex(hmac(sha256, macKey, utf8ToBytes(macText({ ...input, bodyHash: bytesToHex(sha256(body)) }))))
}

/** What the MAC is over, for whoever has faster hashes. */
export function macText({
  method,
  path,
  bodyHash,
  idempotencyKey,
  voucher,
}: Omit<MacInput, 'body'> & { bodyHash: string }): string {
  return `${method}\n${path}\n${bodyHash}\n${idempotencyKey}\n${voucher}`
}

/** Compares in constant time. */
export function sameMac(a: string, b: string): boolean {
  if (a.length !== b.length) return false
  let difference = 0
  for (let index = 0; index < a.length; index++) difference |= a.charCodeAt(index) ^ b.charCodeAt(index)
  return difference === 0
}

export const sessionHeaders = {
  session: 'granary-session',
  mac: 'granary-mac',
  voucher: 'granary-voucher',
  idempotencyKey: 'idempotency-key',
} as const
