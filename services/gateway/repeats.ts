import { hash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { GranaryError } from '../core/errors.ts'
import type { Ledger } from '../core/ports.ts'
import type { Reserved, StoredRequest } from '../core/selling-ledger.ts'
import { openSeals } from './seals.ts'

/**
 * The same request again. Every rail gives the request one identity: whose money (account and key) and the identifier that
 * the client chose, an Idempotency-Key or x402's payment identifier. The ledger knows a digest of it; the answer is kept
 * sealed under a key that needs the master key and the client's identifier, so the database alone opens nothing.
 */
export interface Identity {
  /** Under which the ledger knows the request. */
  digest: string
  /** Opens the stored answer, with the master key. */
  secret: string
}

export function identityOf(of: { accountId: string; key: string; idempotencyKey: string }): Identity {
  const secret = `${of.accountId}\n${of.key}\n${of.idempotencyKey}`
  return { digest: hash('sha256', secret), secret }
}

type Repeated = Extract<Reserved, { reason: 'repeated' }>

export interface Repeats {
  /** Seals an answer for the ledger; null where none is kept. */
  sealing(identity: Identity): ((answer: Uint8Array) => Uint8Array) | null
  /** The stored answer; waits for a request that still runs. null: that one was released, so this one may run. */
  answer(repeated: Repeated, identity: Identity): Promise<Uint8Array | null>
}

const FIRST_LOOK_MS = 20
const SLOWEST_LOOK_MS = 250
/** Requests that repeats wait for at the same time; more are told to come again. */
const MOST_AWAITED = 1000
const RETRY_AFTER_SECONDS = 1

export function openRepeats(options: {
  ledger: Pick<Ledger, 'request'>
  masterKeys: readonly Uint8Array[]
  /** False keeps no answer: a repeat is not charged again, and is told so. */
  keep: boolean
  waitMs: number
}): Repeats {
  const { ledger, masterKeys, keep, waitMs } = options
  const seals = openSeals(masterKeys, ANSWERS)
  const awaited = new Map<string, Promise<StoredRequest | null>>()

  /** One look at the ledger for all that wait for the same request. */
  function ended(requestId: string): Promise<StoredRequest | null> {
    const known = awaited.get(requestId)
    if (known) return known
    if (awaited.size >= MOST_AWAITED) return Promise.resolve(null)
    const waiting = untilEnded(ledger, requestId, waitMs).finally(() => awaited.delete(requestId))
    awaited.set(requestId, waiting)
    return waiting
  }

  return {
    sealing: ({ digest, secret }) => (keep ? (answer) => seals.seal(answer, { context: digest, secret }) : null),
    async answer({ request }, { digest, secret }) {
      const stored = isRunning(request) ? await ended(request.requestId) : request
      if (stored === null) {
        throw new GranaryError('idempotency.running', 'The same request is still running.', {
          requestId: request.requestId,
          retryAfterSeconds: RETRY_AFTER_SECONDS,
        })
      }
      if (stored.state === 'RELEASED') return null
      if (stored.answer === null) throw gone(stored)
      try {
        return seals.open(stored.answer, { context: digest, secret })
      } catch (cause) {
        // Sealed under a master key that is gone.
        throw gone(stored, cause)
      }
    },
  }
}

/** Names the key under which answers are sealed, for the command that replaces the master key. */
export const ANSWERS = 'granary/answers/1'

async function untilEnded(ledger: Pick<Ledger, 'request'>, requestId: string, waitMs: number): Promise<StoredRequest | null> {
  const startedMs = performance.now()
  for (let pauseMs = FIRST_LOOK_MS; ; pauseMs = Math.min(SLOWEST_LOOK_MS, 2 * pauseMs)) {
    await delay(Math.max(0, Math.min(pauseMs, waitMs - (performance.now() - startedMs))))
    const stored = await ledger.request(requestId)
    if (stored && !isRunning(stored)) return stored
    if (performance.now() - startedMs >= waitMs) return null
  }
}

function isRunning({ state }: StoredRequest): boolean {
  return state === 'RESERVED' || state === 'DISPATCHED'
}

function gone({ requestId, charged }: StoredRequest, cause?: unknown): GranaryError {
  return new GranaryError('answer.gone', 'This request was answered and charged once; its answer is no longer kept.', {
    cause,
    requestId,
    charged: charged.toString(),
  })
}
