import type { Log } from '../adapters/log.ts'
import type { Ledger } from '../core/ports.ts'

/**
 * Ends reservations of failed requests. When the ledger itself is the failure, the release is kept and tried again, so that
 * nobody's money stays reserved for a job that ended; past the bound a restart of this process releases the rest.
 */
export class Releases implements AsyncDisposable {
  readonly #ledger: Pick<Ledger, 'release'>
  readonly #log: Log
  readonly #waiting = new Map<string, string>()
  /** Released once, and to be released again at this time. */
  readonly #uncertain = new Map<string, { reason: string; atMs: number }>()
  readonly #settledMs: number
  readonly #timer: NodeJS.Timeout

  constructor(options: {
    ledger: Pick<Ledger, 'release'>
    log: Log
    retryMs?: number
    /** Longer than the database keeps working on what nobody waits for any more. */
    settledMs?: number
    most?: number
  }) {
    const { ledger, log, retryMs = 1000, settledMs = 30_000, most = 10_000 } = options
    this.#ledger = ledger
    this.#log = log
    this.#settledMs = settledMs
    this.most = most
    this.#timer = setInterval(() => void this.#retry(), retryMs)
    this.#timer.unref()
  }

  readonly most: number

  async release(requestId: string, reason: string): Promise<void> {
    try {
      await this.#ledger.release(requestId, reason)
      this.#log.info({ event: 'request.released', requestId, reason })
    } catch (error) {
      this.#log.error({ event: 'release.failed', requestId, error })
      if (this.#waiting.size < this.most) this.#waiting.set(requestId, reason)
    }
  }

  /** A reservation whose answer was lost may have happened, or may yet happen when the database goes on. */
  async releaseUncertain(requestId: string): Promise<void> {
    const reason = 'ledger.unavailable'
    if (this.#uncertain.size < this.most) this.#uncertain.set(requestId, { reason, atMs: performance.now() + this.#settledMs })
    await this.release(requestId, reason)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer)
    await this.#retry()
  }

  async #retry(): Promise<void> {
    for (const [requestId, { reason, atMs }] of [...this.#uncertain]) {
      if (performance.now() < atMs) continue
      this.#uncertain.delete(requestId)
      this.#waiting.set(requestId, reason)
    }
    for (const [requestId, reason] of [...this.#waiting]) {
      try {
        await this.#ledger.release(requestId, reason)
        this.#waiting.delete(requestId)
      } catch {
        return
      }
    }
  }
}
