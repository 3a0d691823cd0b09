import type { Log } from '../adapters/log.ts'
import { GranaryError } from '../core/errors.ts'
import { unitIndex } from '../core/metering.ts'
import type { LoadedModel, ModelFiles, Runtime } from '../core/ports.ts'
import type { Offer } from './offers.ts'

const LOAD_TIMEOUT_MS = 120_000
const FIRST_RETRY_MS = 1_000
const LONGEST_RETRY_MS = 60_000

interface Failure {
  attempts: number
  retryAtMs: number
}

/** The models on this worker: brought in when they are offered, taken away when they no longer are. */
export class Shelf {
  readonly #runtime: Runtime
  readonly #fetch: (modelId: string) => Promise<ModelFiles>
  readonly #maxModels: number
  readonly #log: Log
  readonly #models = new Map<string, LoadedModel>()
  readonly #failures = new Map<string, Failure>()

  constructor(options: { runtime: Runtime; fetch: (modelId: string) => Promise<ModelFiles>; maxModels: number; log: Log }) {
    this.#runtime = options.runtime
    this.#fetch = options.fetch
    this.#maxModels = options.maxModels
    this.#log = options.log
  }

  model(modelId: string): LoadedModel | null {
    return this.#models.get(modelId) ?? null
  }

  ready(): string[] {
    return [...this.#models.keys()]
  }

  /** After other nodes became known, what failed may succeed at once. */
  retryNow(): void {
    this.#failures.clear()
  }

  /** Makes the shelf match the offers, one model at a time; `changed` is called after each change. */
  async arrange(offers: readonly Offer[], options: { signal: AbortSignal; changed: () => void }): Promise<void> {
    const wanted = offers.slice(0, this.#maxModels)
    for (const modelId of this.ready()) {
      if (wanted.some((offer) => offer.modelId === modelId)) continue
      this.#models.delete(modelId)
      // First no more jobs, then no more model.
      options.changed()
      await this.#runtime.unload(modelId)
      this.#log.info({ event: 'model.unloaded', modelId })
    }
    for (const modelId of this.#failures.keys()) {
      if (!wanted.some((offer) => offer.modelId === modelId)) this.#failures.delete(modelId)
    }
    for (const offer of wanted) {
      if (options.signal.aborted) return
      const due = (this.#failures.get(offer.modelId)?.retryAtMs ?? 0) <= performance.now()
      if (!this.#models.has(offer.modelId) && due && (await this.#bring(offer))) options.changed()
    }
  }

  async #bring({ modelId, unit }: Offer): Promise<boolean> {
    const startedAt = performance.now()
    try {
      const files = await this.#fetch(modelId)
      if (unitIndex(files.manifest.unit) !== unit) {
        throw new GranaryError('provider.failed', `The offer counts another unit than ${files.manifest.unit}.`, { unit })
      }
      const loaded = await this.#runtime.load(files, { timeoutMs: LOAD_TIMEOUT_MS })
      this.#models.set(modelId, loaded)
      this.#failures.delete(modelId)
      const tookMs = Math.round(performance.now() - startedAt)
      this.#log.info({ event: 'model.ready', modelId, name: loaded.manifest.name, batchable: loaded.batchable, tookMs })
      return true
    } catch (error) {
      const attempts = (this.#failures.get(modelId)?.attempts ?? 0) + 1
      const delayMs = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** (attempts - 1))
      this.#failures.set(modelId, { attempts, retryAtMs: performance.now() + delayMs })
      this.#log.warn({ event: 'model.not-loaded', modelId, attempts, retryInMs: delayMs, error })
      return false
    }
  }
}
