import type { Log } from '../../adapters/log.ts'
import { GranaryError } from '../../core/errors.ts'
import type { Ledger } from '../../core/ports.ts'
import type { Delivery } from '../../core/selling-ledger.ts'

export interface StreamLimits {
  /** A whole stream, whatever it waits for. */
  wholeMs: number
  /** For the next step, and for a reader to take one. */
  stepMs: number
  patienceMs: number
  /** For a voucher, once what was paid for is delivered. */
  topUpMs: number
}

/** What the streams of this process share. */
export interface StreamDesk extends AsyncDisposable {
  readonly limits: StreamLimits
  /** Aborted when the gateway stops: running streams end with what they have delivered. */
  readonly closing: AbortSignal
  close(): void
  /** A voucher of this key was kept here. */
  raised(of: { accountId: string; key: string }): void
  /** Resolves at the next voucher of the key, and after `timeoutMs` at the latest: another process may have kept one. */
  untilRaised(of: { accountId: string; key: string }, options: { timeoutMs: number; signal: AbortSignal }): Promise<void>
  /** null: the ledger does not answer; the commit is tried again until it does. */
  commit(delivery: Delivery): Promise<{ answer: Uint8Array } | null>
}

const RETRY_MS = 1000
/** Commits that wait for the ledger. What was recorded of others is committed when this process starts again. */
const MOST_WAITING = 1000

export function openStreamDesk({ ledger, limits, log }: { ledger: Ledger; limits: StreamLimits; log: Log }): StreamDesk {
  const waiters = new Map<string, Set<() => void>>()
  const waiting = new Map<string, Delivery>()
  const closing = new AbortController()
  const nameOf = ({ accountId, key }: { accountId: string; key: string }) => `${accountId}:${key}`
  const timer = setInterval(() => void retry(), RETRY_MS)
  timer.unref()
  let retrying: Promise<void> | null = null

  function retry(): Promise<void> {
    retrying ??= retryAll().finally(() => {
      retrying = null
    })
    return retrying
  }

  async function retryAll(): Promise<void> {
    for (const [requestId, delivery] of [...waiting]) {
      try {
        await ledger.commit(delivery)
        log.info({ event: 'stream.committed-late', requestId })
      } catch (error) {
        if (isUnavailable(error)) return
        log.error({ event: 'stream.commit-failed', requestId, error })
      }
      waiting.delete(requestId)
    }
  }

  return {
    limits,
    closing: closing.signal,
    close: () => closing.abort(),
    raised(of) {
      for (const wake of waiters.get(nameOf(of)) ?? []) wake()
    },
    async untilRaised(of, { timeoutMs, signal }) {
      if (signal.aborted) return
      const { promise, resolve } = Promise.withResolvers<void>()
      const wakes = waiters.get(nameOf(of)) ?? new Set()
      waiters.set(nameOf(of), wakes.add(resolve))
      const timer = setTimeout(resolve, timeoutMs)
      const stop = () => resolve()
      signal.addEventListener('abort', stop, { once: true })
      await promise
      signal.removeEventListener('abort', stop)
      clearTimeout(timer)
      wakes.delete(resolve)
      if (wakes.size === 0) waiters.delete(nameOf(of))
    },
    async commit(delivery) {
      try {
        return await ledger.commit(delivery)
      } catch (error) {
        if (!isUnavailable(error)) throw error
        log.error({ event: 'stream.commit-waits', requestId: delivery.requestId, error })
        if (waiting.size < MOST_WAITING) waiting.set(delivery.requestId, delivery)
        return null
      }
    },
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      await retrying
      await retryAll()
    },
  }
}

function isUnavailable(error: unknown): boolean {
  return error instanceof GranaryError && error.code === 'ledger.unavailable'
}
