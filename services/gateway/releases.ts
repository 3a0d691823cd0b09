import type { Log } from '../adapters/log.ts'
import type { Ledger } from '../core/ports.ts'

/**
 * Ends reservations of failed requests. When the ledger itself is the failure, the release is kept and tried again, so that
 * nobody's money stays reserved for a job that ended; past the bound a restart of this process releases the rest.
 */
export class Releases implements AsyncDisposable {
  readonly #ledger: Ledger
  readonly #log: Log
  readonly #waiting = new Map<string, string>()
  readonly #timer: NodeJS.Timeout

  constructor({ ledger, log, retryMs = 1000, most = 10_000 }: { ledger: Ledger; log: Log; retryMs?: number; most?: number }) {
    this.#ledger = ledger
    this.#log = log
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

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer)
    await this.#retry()
  }

  async #retry(): Promise<void> {
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
