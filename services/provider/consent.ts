import { setTimeout } from 'node:timers/promises'
import type { Log } from '../adapters/log.ts'
import { explanations, isHeadFresh, servableReasons } from '../core/consent.ts'
import { GranaryError } from '../core/errors.ts'
import type { Chain, Head } from '../core/ports.ts'

const MAX_VERDICTS = 10_000

/**
 * The provider's own view of consent, through its own node: a gateway that looks away cannot make it work. Freshness is
 * the time since a new head was last seen here, by the monotonic clock; the block's own time is not compared with ours.
 */
export class ProviderConsent implements AsyncDisposable {
  readonly #chain: Chain
  readonly #log: Log
  readonly #blockMs: number
  readonly #stop = new AbortController()
  readonly #done: Promise<void>
  #head: Head | null = null
  #seenMs = Number.NEGATIVE_INFINITY
  #verdicts = new Map<string, Promise<{ reason: number; because: string }>>()

  constructor(options: { chain: Chain; log: Log; blockMs: number }) {
    this.#chain = options.chain
    this.#log = options.log
    this.#blockMs = options.blockMs
    this.#done = this.#follow()
  }

  get head(): Head | null {
    return this.#head
  }

  isFresh(): boolean {
    return isHeadFresh({ seenMs: this.#seenMs, nowMs: performance.now(), blockMs: this.#blockMs })
  }

  /** The head at which the use is permitted; throws `provider.refused` with the chain's reason, or `consent.stale`. */
  async require(use: { modelId: string; purpose: number; jurisdiction: number }): Promise<Head> {
    const head = this.#head
    if (!head || !this.isFresh()) {
      throw new GranaryError('consent.stale', 'The provider has not seen a recent block and does not work on old consent.')
    }
    const { reason, because } = await this.#verdict(use, head)
    const named = servableReasons[reason]
    if (named === 'servable') return head
    throw new GranaryError('provider.refused', named ? explanations[named] : 'The registry gives an unknown reason.', {
      reason: named ?? String(reason),
      because,
      block: head.number,
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#done
  }

  #verdict(use: { modelId: string; purpose: number; jurisdiction: number }, head: Head) {
    const { modelId, purpose, jurisdiction } = use
    const key = `${modelId}:${purpose}:${jurisdiction}`
    const verdicts = this.#verdicts
    const known = verdicts.get(key)
    if (known) return known
    const args = [modelId, purpose, jurisdiction, head.timestamp]
    const asked = this.#chain.read({ contract: 'ModelRegistry', method: 'isServable', args }, head.number).then((answer) => {
      const { reason, because } = answer as { reason: bigint; because: string }
      return { reason: Number(reason), because }
    })
    if (verdicts.size < MAX_VERDICTS) verdicts.set(key, asked)
    asked.catch(() => verdicts.delete(key))
    return asked
  }

  async #follow(): Promise<void> {
    const pollMs = Math.max(20, Math.min(250, this.#blockMs / 4))
    while (!this.#stop.signal.aborted) {
      try {
        const head = await this.#chain.head()
        if (head.hash !== this.#head?.hash) {
          this.#head = head
          this.#seenMs = performance.now()
          this.#verdicts = new Map()
        }
      } catch (error) {
        if (this.isFresh()) this.#log.warn({ event: 'chain.head-failed', error })
      }
      await setTimeout(pollMs, undefined, { signal: this.#stop.signal }).catch(() => {})
    }
  }
}
