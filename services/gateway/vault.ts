import { hash, randomBytes, timingSafeEqual } from 'node:crypto'
import { Wallet } from 'ethers'
import { x25519PublicKey } from '../core/sessions.ts'
import { derive, openSeals, type Seals } from './seals.ts'

/**
 * What the gateway keeps secret: the escrow keys behind API keys, sealed under the master key, and its X25519 key for
 * sessions. Of an API key's secret only the SHA-256 is kept: it has 256 bits, a slow hash adds nothing.
 */
export interface Vault {
  /** X25519, of the first master key. */
  readonly sessionPublicKey: string
  /** The secret behind a public key of this gateway's; null if it is of no master key here. */
  sessionSecret(publicKey: string): Uint8Array | null
  /** The API secret that takes another's place, the same each time that the same client's request asks for it. */
  successorOf(keyId: string, request: string): ApiSecret
  seal(privateKey: string, keyId: string): string
  open(sealed: string, keyId: string): Wallet
}

/** The first master key is in force; the others, on their way in or out, only open what they have sealed. */
export function openVault(masterKeys: readonly [Uint8Array, ...Uint8Array[]]): Vault {
  const seals = openEscrowSeals(masterKeys)
  const secretOf = (masterKey: Uint8Array) => derive(masterKey, 'granary/sessions/1')
  const sessionSecrets = new Map(masterKeys.map(secretOf).map((secret) => [x25519PublicKey(secret), secret]))
  return {
    sessionPublicKey: x25519PublicKey(secretOf(masterKeys[0])),
    sessionSecret: (publicKey) => sessionSecrets.get(publicKey) ?? null,
    successorOf(keyId, request) {
      const part = (name: string) => Buffer.from(derive(masterKeys[0], `granary/${name}/1\n${keyId}\n${request}`))
      return apiSecretOf({
        keyId: part('successor-id').toString('hex', 0, ID_BYTES),
        secret: part('successor-secret').toString('hex'),
      })
    },
    seal: (privateKey, keyId) => seals.seal(Buffer.from(privateKey.slice(2), 'hex'), { context: keyId }).toString('base64url'),
    open: (sealed, keyId) => new Wallet(`0x${seals.open(Buffer.from(sealed, 'base64url'), { context: keyId }).toString('hex')}`),
  }
}

export function openEscrowSeals(masterKeys: readonly Uint8Array[]): Seals {
  return openSeals(masterKeys, 'granary/escrow-keys/1')
}

export interface ApiSecret {
  keyId: string
  secretHash: string
  /** gk_<keyId>_<secret>: shown once. */
  token: string
}

const ID_BYTES = 9

export function makeApiSecret(): ApiSecret {
  return apiSecretOf({ keyId: randomBytes(ID_BYTES).toString('hex'), secret: randomBytes(32).toString('hex') })
}

function apiSecretOf({ keyId, secret }: { keyId: string; secret: string }): ApiSecret {
  return { keyId, secretHash: hashSecret(secret), token: `gk_${keyId}_${secret}` }
}

/** The parts of a token, or null if it is none. */
export function readApiToken(token: string): { keyId: string; secretHash: string } | null {
  const match = /^gk_([0-9a-f]{18})_([0-9a-f]{64})$/.exec(token)
  if (!match?.[1] || !match[2]) return null
  return { keyId: match[1], secretHash: hashSecret(match[2]) }
}

/** Hash of no secret: what a token is compared with whose id is not known, so that both take as long. */
export const NOBODY = '0'.repeat(64)

export function sameHash(a: string, b: string): boolean {
  return a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b))
}

function hashSecret(secret: string): string {
  return hash('sha256', secret)
}
