import { GranaryError } from '../../core/errors.ts'
import { checkInputs } from '../../core/metering.ts'
import type { LoadedModel, ModelFiles, ModelStep, Runtime, Stepped } from '../../core/ports.ts'
import type { Tensor } from '../../core/tensors.ts'
import { type Inferred, ModelThread } from './model-thread.ts'

export interface RuntimeLimits {
  /** One thread and one session each. */
  maxModels: number
  /** Requests, and bytes, that may wait for one model. */
  maxQueued: number
  maxQueuedBytes: number
  /** Rows of one shared run. */
  maxBatchRows: number
  /** A run that nobody waits for any more may go on this long before its thread is taken for hung. */
  hungAfterMs: number
  /** How long to wait for a thread to end, and for a new one in its place. */
  endTimeoutMs: number
  reopenTimeoutMs: number
}

const defaults: RuntimeLimits = {
  maxModels: 16,
  maxQueued: 256,
  maxQueuedBytes: 128 * 1024 * 1024,
  maxBatchRows: 64,
  hungAfterMs: 2000,
  endTimeoutMs: 5000,
  reopenTimeoutMs: 30_000,
}

/** Runtime on onnxruntime-node. Its `session.run` blocks the calling thread, so every model has a thread of its own. */
export class OnnxRuntime implements Runtime {
  readonly #limits: RuntimeLimits
  readonly #models = new Map<string, ModelThread>()
  readonly #loading = new Map<string, Promise<LoadedModel>>()
  #disposed = false

  constructor(limits: Partial<RuntimeLimits> = {}) {
    this.#limits = { ...defaults, ...limits }
  }

  /** A model id that is loaded, or loading, is not loaded again. */
  async load(model: ModelFiles, { timeoutMs }: { timeoutMs: number }): Promise<LoadedModel> {
    if (this.#disposed) throw new GranaryError('provider.gone', 'The runtime has ended.')
    const known = this.#models.get(model.modelId)?.loaded ?? this.#loading.get(model.modelId)
    if (known) return known
    if (this.#models.size + this.#loading.size >= this.#limits.maxModels) {
      throw new GranaryError('provider.busy', 'The runtime holds as many models as it may.', { limit: this.#limits.maxModels })
    }
    const loading = this.#open(model, timeoutMs)
    this.#loading.set(model.modelId, loading)
    return loading.finally(() => this.#loading.delete(model.modelId))
  }

  async unload(modelId: string): Promise<void> {
    await this.#loading.get(modelId)?.catch(() => undefined)
    const model = this.#models.get(modelId)
    this.#models.delete(modelId)
    await model?.dispose()
  }

  loaded(): LoadedModel[] {
    return [...this.#models.values()].map(({ loaded }) => loaded)
  }

  async infer(modelId: string, inputs: readonly Tensor[], { timeoutMs }: { timeoutMs: number }): Promise<Inferred> {
    const model = this.#models.get(modelId)
    if (!model) throw new GranaryError('model.unknown', `Model ${modelId} is not loaded here.`, { modelId })
    checkInputs(model.loaded.manifest, inputs)
    return model.infer(inputs, timeoutMs)
  }

  async step(modelId: string, step: ModelStep, { timeoutMs }: { timeoutMs: number }): Promise<Stepped> {
    const model = this.#models.get(modelId)
    if (!model) throw new GranaryError('model.unknown', `Model ${modelId} is not loaded here.`, { modelId })
    const { manifest } = model.loaded
    if (!manifest.steps) throw new GranaryError('input.invalid', `Model ${manifest.name} does not yield in steps.`, { modelId })
    checkInputs(manifest, step.inputs)
    return model.step(step, timeoutMs)
  }

  async health(): Promise<{ live: boolean; queued: number }> {
    const models = [...this.#models.values()]
    return {
      live: !this.#disposed && models.every(({ live }) => live),
      queued: models.reduce((sum, { queued }) => sum + queued, 0),
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true
    await Promise.allSettled(this.#loading.values())
    const models = [...this.#models.values()]
    this.#models.clear()
    await Promise.all(models.map((model) => model.dispose()))
  }

  async #open(model: ModelFiles, timeoutMs: number): Promise<LoadedModel> {
    const thread = new ModelThread(model, this.#limits)
    await thread.open(timeoutMs)
    if (this.#disposed) {
      await thread.dispose()
      throw new GranaryError('provider.gone', 'The runtime has ended.')
    }
    this.#models.set(model.modelId, thread)
    return thread.loaded
  }
}
