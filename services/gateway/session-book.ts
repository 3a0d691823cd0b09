import { createSecretKey, type KeyObject } from 'node:crypto'
import { recoverSigner } from '../adapters/signatures.ts'
import { accountIdOf } from '../core/accounts.ts'
import type { SessionBody } from '../core/api.ts'
import { GranaryError } from '../core/errors.ts'
import { digestOf, type Verifier } from '../core/messages.ts'
import type { AccountConfig } from '../core/ports.ts'
import { deriveMacKey } from '../core/sessions.ts'
import type { Vault } from './vault.ts'

export interface Session {
  sessionId: string
  accountId: string
  key: string
  macKey: KeyObject
  expiresAt: number
}

export interface SessionBook {
  /** Checks the key's signature; `now` in seconds. What comes back is no session until it is kept: anyone can compute its id. */
  verify(body: SessionBody, now: number): Session & { config: AccountConfig }
  keep(session: Session): void
  find(sessionId: string): Session | null
}

const MAX_SESSIONS = 100_000
const MAX_LIFE_SECONDS = 24 * 3600

/**
 * Sessions live in memory: a client whose session is gone (a restart, another gateway process, the bound reached) opens
 * a new one, which costs it one signature.
 */
export function openSessionBook(options: {
  vault: Vault
  escrow: Verifier
  token: string
  collector: string
  clock: () => number
}): SessionBook {
  const { vault, escrow, token, collector, clock } = options
  const sessions = new Map<string, Session>()
  return {
    verify(body, now) {
      const config = configOf(body.account, collector)
      if (body.expiresAt <= now || body.expiresAt > now + MAX_LIFE_SECONDS) {
        throw new GranaryError('request.malformed', 'A session must expire within 24 hours.', { now, expiresAt: body.expiresAt })
      }
      const accountId = accountIdOf(config, { ...escrow, token })
      const key = body.key.toLowerCase()
      const value = { accountId, key, ephemeralKey: body.ephemeralKey, expiresAt: body.expiresAt }
      const sessionId = digestOf('InferenceEscrow', 'Session', escrow, value)
      if (recoverSigner(sessionId, body.signature) !== key) {
        throw new GranaryError('credential.unknown', 'The session is not signed by its key.', { key })
      }
      const macKey = agree({ secretKey: vault.sessionSecret, publicKey: body.ephemeralKey, sessionId })
      return { sessionId, accountId, key, macKey, expiresAt: body.expiresAt, config }
    },
    keep({ sessionId, accountId, key, macKey, expiresAt }) {
      const oldest = sessions.keys().next()
      if (sessions.size >= MAX_SESSIONS && !oldest.done) sessions.delete(oldest.value)
      sessions.set(sessionId, { sessionId, accountId, key, macKey, expiresAt })
    },
    find(sessionId) {
      const session = sessions.get(sessionId)
      if (!session) return null
      if (session.expiresAt > clock()) return session
      sessions.delete(sessionId)
      return null
    },
  }
}

/** X25519 refuses points of low order: with one, anybody would know the secret. */
function agree(parts: Parameters<typeof deriveMacKey>[0]): KeyObject {
  try {
    return createSecretKey(deriveMacKey(parts))
  } catch (cause) {
    throw new GranaryError('request.malformed', 'The ephemeral key is no X25519 key that gives a secret.', { cause })
  }
}

/** An account of another collector has no business here. */
export function configOf(account: AccountConfig, collector: string): AccountConfig {
  const config = lowerConfig(account)
  if (config.collector === collector) return config
  throw new GranaryError('request.malformed', `The account names another collector: this gateway is ${collector}.`, {
    collector,
  })
}

function lowerConfig({ payer, collector, thawSeconds, salt }: AccountConfig): AccountConfig {
  return { payer: payer.toLowerCase(), collector: collector.toLowerCase(), thawSeconds, salt }
}
