import { type HmacKey, hmacKey } from '../adapters/hmac.ts'
import { nativeDeriveMacKey, recoverSigner } from '../adapters/signatures.ts'
import { accountIdOf } from '../core/accounts.ts'
import type { SessionBody } from '../core/api.ts'
import { GranaryError } from '../core/errors.ts'
import { digestOf, type Verifier } from '../core/messages.ts'
import type { Ledger } from '../core/ports.ts'
import type { AccountConfig, StoredSession } from '../core/selling-ledger.ts'
import type { MacAgreement } from '../core/sessions.ts'
import type { Vault } from './vault.ts'

export interface Session {
  sessionId: string
  accountId: string
  key: string
  macKey: HmacKey
  expiresAt: number
}

export interface SessionBook {
  /** Checks the key's signature; `now` in seconds. What comes back is no session until it is kept: anyone can compute its id. */
  verify(body: SessionBody, now: number): StoredSession & { macKey: HmacKey; config: AccountConfig }
  /** From then on every gateway of the operator finds it, also after a restart. */
  keep(session: StoredSession & { macKey: HmacKey }): Promise<void>
  find(sessionId: string): Promise<Session | null>
}

const MAX_SESSIONS = 100_000
const MAX_LIFE_SECONDS = 24 * 3600

/**
 * Sessions in use are in memory, all of accounts with money in the ledger: what one gateway of the operator has opened, the
 * others take up when a request of it comes to them. A client whose session is gone opens a new one, at the cost of one signature.
 */
export function openSessionBook(options: {
  ledger: Pick<Ledger, 'keepSession' | 'session'>
  vault: Vault
  escrow: Verifier
  token: string
  collector: string
  clock: () => number
}): SessionBook {
  const { ledger, vault, escrow, token, collector, clock } = options
  const sessions = new Map<string, Session>()
  const remember = ({ sessionId, accountId, key, macKey, expiresAt }: Session): Session => {
    const oldest = sessions.keys().next()
    if (sessions.size >= MAX_SESSIONS && !oldest.done) sessions.delete(oldest.value)
    const session = { sessionId, accountId, key, macKey, expiresAt }
    sessions.set(sessionId, session)
    return session
  }

  /** Opened by another gateway of the operator, or by this one before it started again. */
  async function takeUp(sessionId: string): Promise<Session | null> {
    const stored = /^0x[0-9a-f]{64}$/.test(sessionId) ? await ledger.session(sessionId) : null
    const secretKey = stored && vault.sessionSecret(stored.gatewayKey)
    if (!stored || !secretKey || stored.expiresAt <= clock()) return null
    return remember({ ...stored, macKey: agree({ secretKey, publicKey: stored.ephemeralKey, sessionId }) })
  }

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
      const { ephemeralKey, expiresAt } = body
      const gatewayKey = vault.sessionPublicKey
      const secretKey = vault.sessionSecret(gatewayKey)
      if (!secretKey) throw new GranaryError('internal', 'The gateway has no secret for its own key.')
      const macKey = agree({ secretKey, publicKey: ephemeralKey, sessionId })
      return { sessionId, accountId, key, ephemeralKey, gatewayKey, expiresAt, macKey, config }
    },
    async keep({ macKey, ...stored }) {
      await ledger.keepSession(stored)
      remember({ ...stored, macKey })
    },
    async find(sessionId) {
      const session = sessions.get(sessionId)
      if (!session) return takeUp(sessionId)
      if (session.expiresAt > clock()) return session
      sessions.delete(sessionId)
      return null
    },
  }
}

/** X25519 refuses points of low order: with one, anybody would know the secret. */
function agree(parts: MacAgreement): HmacKey {
  try {
    return hmacKey(nativeDeriveMacKey(parts))
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
