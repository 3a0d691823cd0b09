import { setTimeout } from 'node:timers/promises'
import type { Head } from '../core/chain-records.ts'
import { explanations, isHeadFresh, type ServableReason, servableReasons } from '../core/consent.ts'
import { GranaryError } from '../core/errors.ts'
import type { Chain } from '../core/ports.ts'
import type { Log } from './log.ts'

export interface ConsentQuery {
  modelId: string
  purpose: number
  jurisdiction: number
}

const MAX_VERDICTS = 10_000

/**
 * Consent in force, asked of the chain itself, by gateways and by workers each through their own node: neither can make the
 * other look away. A verdict holds for one block, so a withdrawal acts when its block is first seen. While no new head comes,
 * nothing is served; freshness is by the monotonic clock, the block's own time is not compared with ours.
 */
export class ConsentWatch implements AsyncDisposable {
  readonly #chain: Chain
  readonly #log: Log
  readonly #blockMs: number
  readonly #refusal: 'consent.refused' | 'provider.refused'
  readonly #stop = new AbortController()
  readonly #done: Promise<void>
  #head: Head | null = null
  #seenMs = Number.NEGATIVE_INFINITY
  #verdicts = new Map<string, Promise<Verdict>>()
  /** Of the present head: uses that it permits, by model, so that asking again costs next to nothing. */
  #permitted = new Map<string, Map<string, Promise<Head>>>()
  #nextHead = Promise.withResolvers<void>()

  constructor(options: { chain: Chain; log: Log; blockMs: number; refusal: 'consent.refused' | 'provider.refused' }) {
    this.#chain = options.chain
    this.#log = options.log
    this.#blockMs = options.blockMs
    this.#refusal = options.refusal
    this.#done = this.#follow()
  }

  get head(): Head | null {
    return this.#head
  }

  isFresh(): boolean {
    return isHeadFresh({ seenMs: this.#seenMs, nowMs: performance.now(), blockMs: this.#blockMs })
  }

  /** The block at which the use is permitted; throws the refusal with the chain's reason, or `consent.stale`. */
  require(query: ConsentQuery): Promise<Head> {
    const permitted = this.#permitted.get(query.modelId)?.get(useOf(query))
    return permitted && this.isFresh() ? permitted : this.#ask(query)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    this.#nextHead.resolve()
    await this.#done
  }

  async #ask(query: ConsentQuery): Promise<Head> {
    if (!this.isFresh()) await this.#awaitHead()
    const head = this.#head
    if (!head || !this.isFresh()) throw new GranaryError('consent.stale', 'No recent block was seen, so consent is not known.')
    const verdict = await this.#verdict(query, head)
    if (verdict.reason === 'servable') {
      this.#permit(query, head)
      return head
    }
    if (verdict.reason === 'unknown-model') throw new GranaryError('model.unknown', explanations[verdict.reason])
    throw new GranaryError(this.#refusal, explanations[verdict.reason], {
      reason: verdict.reason,
      because: verdict.because,
      block: head.number,
    })
  }

  /** There are no more of these than verdicts. What was asked of an earlier head than the present one says nothing of this one. */
  #permit(query: ConsentQuery, head: Head): void {
    if (head !== this.#head || !this.#verdicts.has(keyOf(query))) return
    const uses = this.#permitted.get(query.modelId) ?? new Map<string, Promise<Head>>()
    this.#permitted.set(query.modelId, uses.set(useOf(query), Promise.resolve(head)))
  }

  #verdict(query: ConsentQuery, head: Head): Promise<Verdict> {
    const { modelId, purpose, jurisdiction } = query
    const key = keyOf(query)
    const known = this.#verdicts.get(key)
    if (known) return known
    const asked = this.#chain
      .read(
        { contract: 'ModelRegistry', method: 'isServable', args: [modelId, purpose, jurisdiction, head.timestamp] },
        head.number,
      )
      .then(readVerdict, (cause: unknown) => {
        // A node that does not answer leaves consent unknown, as an old head does.
        if (!(cause instanceof GranaryError) || cause.code !== 'chain.unavailable') throw cause
        throw new GranaryError('consent.stale', 'The chain did not say whether consent is in force.', { cause })
      })
    if (this.#verdicts.size < MAX_VERDICTS) this.#verdicts.set(key, asked)
    asked.catch(() => this.#verdicts.delete(key))
    return asked
  }

  async #awaitHead(): Promise<void> {
    const timeout = AbortSignal.timeout(Math.max(1500, this.#blockMs * 1.5))
    const timedOut = new Promise<void>((resolve) => timeout.addEventListener('abort', () => resolve(), { once: true }))
    await Promise.race([this.#nextHead.promise, timedOut])
  }

  async #follow(): Promise<void> {
    const pollMs = Math.max(20, Math.min(250, this.#blockMs / 4))
    while (!this.#stop.signal.aborted) {
      // After a block none is due for three quarters of the time between two.
      let restMs = pollMs
      try {
        const head = await this.#chain.head()
        if (head.hash !== this.#head?.hash) {
          restMs = this.#head === null ? pollMs : 3 * pollMs
          this.#head = head
          this.#seenMs = performance.now()
          this.#verdicts = new Map()
          this.#permitted = new Map()
          this.#nextHead.resolve()
          this.#nextHead = Promise.withResolvers<void>()
        }
      } catch (error) {
        if (this.isFresh()) this.#log.warn({ event: 'consent.head-failed', error })
      }
      await setTimeout(restMs, undefined, { signal: this.#stop.signal }).catch(() => {})
    }
  }
}

function keyOf(query: ConsentQuery): string {
  return `${query.modelId}:${useOf(query)}`
}

function useOf({ purpose, jurisdiction }: ConsentQuery): string {
  return `${purpose}:${jurisdiction}`
}

interface Verdict {
  reason: ServableReason
  because: string
}

function readVerdict(value: unknown): Verdict {
  const { reason, because } = value as { reason: bigint; because: string }
  const named = servableReasons[Number(reason)]
  if (!named) throw new GranaryError('consent.stale', `The registry gave an unknown reason ${reason}.`)
  return { reason: named, because }
}
