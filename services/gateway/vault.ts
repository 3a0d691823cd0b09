import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto'
import { Wallet } from 'ethers'
import { GranaryError } from '../core/errors.ts'
import { x25519PublicKey } from '../core/sessions.ts'

/**
 * What the gateway keeps secret: the escrow keys behind API keys (AES-256-GCM under a key derived from the master key) and
 * its X25519 key for sessions. Of an API key's secret only the SHA-256 is kept: it has 256 bits, a slow hash adds nothing.
 */
export interface Vault {
  readonly sessionSecret: Uint8Array
  readonly sessionPublicKey: string
  seal(privateKey: string, keyId: string): string
  open(sealed: string, keyId: string): Wallet
}

export function openVault(masterKey: Uint8Array): Vault {
  const sealingKey = derive(masterKey, 'granary/escrow-keys/1')
  const sessionSecret = derive(masterKey, 'granary/sessions/1')
  return {
    sessionSecret,
    sessionPublicKey: x25519PublicKey(sessionSecret),
    seal(privateKey, keyId) {
      const iv = randomBytes(12)
      const cipher = createCipheriv('aes-256-gcm', sealingKey, iv).setAAD(Buffer.from(keyId))
      const sealed = Buffer.concat([cipher.update(Buffer.from(privateKey.slice(2), 'hex')), cipher.final()])
      return Buffer.concat([iv, cipher.getAuthTag(), sealed]).toString('base64url')
    },
    open(sealed, keyId) {
      const bytes = Buffer.from(sealed, 'base64url')
      try {
        const decipher = createDecipheriv('aes-256-gcm', sealingKey, bytes.subarray(0, 12)).setAAD(Buffer.from(keyId))
        decipher.setAuthTag(bytes.subarray(12, 28))
        return new Wallet(`0x${Buffer.concat([decipher.update(bytes.subarray(28)), decipher.final()]).toString('hex')}`)
      } catch (cause) {
        throw new GranaryError('credential.ended', 'The key behind this API key was sealed under another master key.', {
          cause,
          keyId,
        })
      }
    },
  }
}

export interface ApiSecret {
  keyId: string
  secretHash: string
  /** gk_<keyId>_<secret>: shown once. */
  token: string
}

export function makeApiSecret(): ApiSecret {
  const keyId = randomBytes(9).toString('hex')
  const secret = randomBytes(32).toString('hex')
  return { keyId, secretHash: hashSecret(secret), token: `gk_${keyId}_${secret}` }
}

/** The parts of a token, or null if it is none. */
export function readApiToken(token: string): { keyId: string; secretHash: string } | null {
  const match = /^gk_([0-9a-f]{18})_([0-9a-f]{64})$/.exec(token)
  if (!match?.[1] || !match[2]) return null
  return { keyId: match[1], secretHash: hashSecret(match[2]) }
}

export function sameHash(a: string, b: string): boolean {
  return a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b))
}

function hashSecret(secret: string): string {
  return createHash('sha256').update(secret).digest('hex')
}

function derive(masterKey: Uint8Array, purpose: string): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', masterKey, new Uint8Array(0), purpose, 32))
}
