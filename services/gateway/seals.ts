import { createCipheriv, createDecipheriv, createHash, createSecretKey, hkdfSync, type KeyObject } from 'node:crypto'
import { type HmacKey, hmacKey, hmacOf } from '../adapters/hmac.ts'
import { randomOf } from '../adapters/randomness.ts'
import { GranaryError } from '../core/errors.ts'

/**
 * AES-256-GCM under keys derived from master keys. The first master key seals, every one opens, so that one can be replaced
 * while services run. What is sealed begins with the name of its key: version, four bytes of the derived key's hash.
 */
export interface Seals {
  seal(bytes: Uint8Array, of: SealedFor): Buffer
  /** Throws `credential.ended` when it was sealed under another master key, for another context or with another secret. */
  open(sealed: Uint8Array, of: SealedFor): Buffer
  /** What everything begins with that the first master key has sealed. */
  readonly prefix: Buffer
}

export interface SealedFor {
  /** What it belongs to: it opens nowhere else. */
  context: string
  /** Needed beside the master key, where somebody else holds it. */
  secret?: string
}

const VERSION = 1
const PREFIX_BYTES = 5
const IV_BYTES = 12
const TAG_BYTES = 16

interface NamedKey {
  prefix: Buffer
  /** A KeyObject, because from raw bytes each cipher takes some 30 µs longer. */
  key: KeyObject
  /** The same key, from which and a secret another is derived. */
  deriving: HmacKey
}

export function openSeals(masterKeys: readonly Uint8Array[], purpose: string): Seals {
  const keys = masterKeys.map((masterKey) => named(derive(masterKey, purpose)))
  const [current] = keys
  if (!current) throw new GranaryError('config.invalid', 'There is no master key.')
  return {
    prefix: current.prefix,
    seal(bytes, of) {
      const iv = randomOf(IV_BYTES)
      const cipher = createCipheriv('aes-256-gcm', keyFor(current, of), iv).setAAD(Buffer.from(of.context))
      const sealed = cipher.update(bytes)
      // GCM keeps nothing back for the end.
      cipher.final()
      return Buffer.concat([current.prefix, iv, cipher.getAuthTag(), sealed])
    },
    open(sealed, of) {
      const bytes = Buffer.from(sealed)
      const found = keys.find(({ prefix }) => prefix.equals(bytes.subarray(0, PREFIX_BYTES)))
      // Before keys had names, a sealed escrow key was iv, tag and 32 bytes.
      const candidates = found ? [found] : bytes.length === IV_BYTES + TAG_BYTES + 32 ? keys : []
      const body = found ? bytes.subarray(PREFIX_BYTES) : bytes
      for (const key of candidates) {
        const opened = decrypt(body, keyFor(key, of), of.context)
        if (opened) return opened
      }
      throw new GranaryError('credential.ended', 'This was sealed under a master key that the gateway does not have (any more).')
    },
  }
}

export function derive(masterKey: Uint8Array, purpose: string): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', masterKey, new Uint8Array(0), purpose, 32))
}

function keyFor({ key, deriving }: NamedKey, { secret }: SealedFor): KeyObject {
  return secret === undefined ? key : createSecretKey(Buffer.from(hmacOf(deriving, secret, 'binary'), 'latin1'))
}

function named(key: Uint8Array): NamedKey {
  const hash = createHash('sha256').update('granary/key-name/1').update(key).digest()
  const prefix = Buffer.concat([Buffer.from([VERSION]), hash.subarray(0, PREFIX_BYTES - 1)])
  return { prefix, key: createSecretKey(key), deriving: hmacKey(key) }
}

function decrypt(body: Buffer, key: KeyObject, context: string): Buffer | null {
  try {
    const decipher = createDecipheriv('aes-256-gcm', key, body.subarray(0, IV_BYTES)).setAAD(Buffer.from(context))
    decipher.setAuthTag(body.subarray(IV_BYTES, IV_BYTES + TAG_BYTES))
    return Buffer.concat([decipher.update(body.subarray(IV_BYTES + TAG_BYTES)), decipher.final()])
  } catch {
    return null
  }
}
