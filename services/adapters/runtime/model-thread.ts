import { GranaryError } from '../../core/errors.ts'
import type { LoadedModel, ModelFiles, ModelStep, Stepped } from '../../core/ports.ts'
import type { Tensor } from '../../core/tensors.ts'
import type { RuntimeLimits } from './onnx-runtime.ts'
import { SessionClient } from './session-client.ts'
import { rowsOf } from './stacking.ts'
import { buffersOf, errorOf, type Question, type RunResult } from './thread-messages.ts'

export interface Inferred {
  outputs: Tensor[]
  computeMicros: number
}

interface Pending {
  inputs: Tensor[]
  /** Runs alone, after what its stream carries. */
  step: Pick<ModelStep, 'carried' | 'isLast'> | null
  sizeBytes: number
  endsAt: number
  settled: boolean
  settle(result: RunResult | GranaryError): void
}

/**
 * One model, its thread and its queue. What has queued while a run was on goes into the next run together, if the model
 * is batchable; nothing ever waits for company.
 */
export class ModelThread {
  readonly #model: ModelFiles
  readonly #limits: RuntimeLimits
  #batchable = false
  #client: SessionClient | null = null
  #ready = false
  #reopening: Promise<void> | null = null
  #queue: Pending[] = []
  #queuedBytes = 0
  #running: Pending[] = []
  #disposed = false

  constructor(model: ModelFiles, limits: RuntimeLimits) {
    this.#model = model
    this.#limits = limits
  }

  get loaded(): LoadedModel {
    return { modelId: this.#model.modelId, manifest: this.#model.manifest, batchable: this.#batchable }
  }

  get live(): boolean {
    return this.#ready && this.#client?.ended === false
  }

  get queued(): number {
    return this.#queue.length + this.#running.length
  }

  /** Starts the thread, checks the bytes and the golden samples; leaves nothing behind when it throws. */
  async open(timeoutMs: number): Promise<void> {
    const { manifest, onnx, files } = this.#model
    const client = new SessionClient()
    this.#client = client
    this.#ready = false
    const copies = {
      onnx: new Uint8Array(onnx),
      files: new Map([...files].map(([name, bytes]) => [name, new Uint8Array(bytes)])),
    }
    const deadline = Promise.withResolvers<never>()
    const timer = setTimeout(() => {
      deadline.reject(new GranaryError('deadline.exceeded', `Loading ${manifest.name} took longer than ${timeoutMs} ms.`))
    }, timeoutMs)
    try {
      const transfer = [copies.onnx, ...copies.files.values()].map(({ buffer }) => buffer)
      const answer = await Promise.race([client.call({ ask: 'open', manifest, ...copies }, transfer), deadline.promise])
      if (answer.answer !== 'opened') throw new GranaryError('internal', 'The thread gave another answer than asked for.')
      this.#batchable = answer.batchable
      this.#ready = true
    } catch (error) {
      await this.#end(client)
      throw error
    } finally {
      clearTimeout(timer)
    }
  }

  async infer(inputs: readonly Tensor[], timeoutMs: number): Promise<Inferred> {
    const { outputs, computeMicros } = await this.#wait(inputs, null, timeoutMs)
    return { outputs, computeMicros }
  }

  step({ inputs, carried, isLast }: ModelStep, timeoutMs: number): Promise<Stepped> {
    return this.#wait(inputs, { carried: copied(carried), isLast }, timeoutMs)
  }

  #wait(inputs: readonly Tensor[], step: Pending['step'], timeoutMs: number): Promise<Stepped> {
    const sizeBytes = inputs.reduce((sum, { data }) => sum + data.length, 0)
    const { maxQueued, maxQueuedBytes } = this.#limits
    if (this.#queue.length >= maxQueued || (this.#queue.length > 0 && this.#queuedBytes + sizeBytes > maxQueuedBytes)) {
      const evidence = { queued: this.#queue.length, limit: maxQueued }
      return Promise.reject(new GranaryError('provider.busy', `The queue of ${this.#model.manifest.name} is full.`, evidence))
    }
    const { promise, resolve, reject } = Promise.withResolvers<Stepped>()
    const timer = setTimeout(() => {
      pending.settle(new GranaryError('deadline.exceeded', `The inference took longer than ${timeoutMs} ms.`, { timeoutMs }))
      this.#leave(pending)
    }, timeoutMs)
    const pending: Pending = {
      inputs: copied(inputs),
      step,
      sizeBytes,
      endsAt: performance.now() + timeoutMs,
      settled: false,
      settle(result) {
        if (pending.settled) return
        pending.settled = true
        clearTimeout(timer)
        if (result instanceof GranaryError) reject(result)
        else if (result.ok) resolve({ carried: [], ...result })
        else reject(errorOf(result.failure))
      },
    }
    this.#queue.push(pending)
    this.#queuedBytes += sizeBytes
    void this.#pump()
    return promise
  }

  /** Fails what is queued or running and ends the thread. */
  async dispose(): Promise<void> {
    this.#disposed = true
    const gone = new GranaryError('provider.gone', 'The model was unloaded.')
    for (const pending of [...this.#running, ...this.#takeQueue()]) pending.settle(gone)
    if (this.#client) await this.#end(this.#client)
    if (this.#client?.ended) await this.#reopening
  }

  /** Runs what is queued until nothing is, one run at a time. */
  async #pump(): Promise<void> {
    while (this.#running.length === 0 && this.#queue.length > 0 && !this.#disposed) {
      const client = this.#client
      if (!client || !this.live) {
        await this.#reopen()
        continue
      }
      const batch = this.#takeBatch()
      this.#running = batch
      await this.#run(client, batch)
      this.#running = []
    }
  }

  async #run(client: SessionClient, batch: readonly Pending[]): Promise<void> {
    const question = questionOf(batch)
    const now = performance.now()
    const hungAt = Math.max(now + this.#limits.hungAfterMs, ...batch.map(({ endsAt }) => endsAt))
    const timer = setTimeout(() => {
      this.#ready = false
      void this.#end(client)
    }, hungAt - now)
    try {
      const answer = await client.call(question, buffersOf(tensorsOf(question)))
      const results = answer.answer === 'ran' ? answer.results : []
      for (const [index, pending] of batch.entries()) {
        pending.settle(results[index] ?? new GranaryError('internal', 'The thread left a request without an answer.'))
      }
    } catch (cause) {
      const error =
        cause instanceof GranaryError ? cause : new GranaryError('provider.failed', 'The thread took no input.', { cause })
      for (const pending of batch) pending.settle(error)
    } finally {
      clearTimeout(timer)
    }
  }

  /** One new thread at a time, and only when the old one is gone: a stuck model can't take the machine. */
  #reopen(): Promise<void> {
    this.#reopening ??= (async () => {
      try {
        await this.#client?.exited
        if (this.#disposed) return
        await this.open(this.#limits.reopenTimeoutMs)
      } catch (cause) {
        const error = new GranaryError('provider.failed', `Model ${this.#model.manifest.name} does not start again.`, { cause })
        for (const pending of this.#takeQueue()) pending.settle(error)
      } finally {
        this.#reopening = null
      }
    })()
    return this.#reopening
  }

  /** The oldest request, and as many behind it as share its run. */
  #takeBatch(): Pending[] {
    const batch = this.#queue.splice(0, 1)
    let rows = sharedRowsOf(batch[0])
    while (this.#batchable && rows !== null && this.#queue.length > 0) {
      const more = sharedRowsOf(this.#queue[0])
      if (more === null || rows + more > this.#limits.maxBatchRows) break
      batch.push(...this.#queue.splice(0, 1))
      rows += more
    }
    for (const { sizeBytes } of batch) this.#queuedBytes -= sizeBytes
    return batch
  }

  #takeQueue(): Pending[] {
    this.#queuedBytes = 0
    return this.#queue.splice(0)
  }

  /** What expired before its turn is not run. */
  #leave(pending: Pending): void {
    const at = this.#queue.indexOf(pending)
    if (at < 0) return
    this.#queue.splice(at, 1)
    this.#queuedBytes -= pending.sizeBytes
  }

  async #end(client: SessionClient): Promise<void> {
    const patience = Promise.withResolvers<void>()
    const timer = setTimeout(() => {
      client.abandon()
      patience.resolve()
    }, this.#limits.endTimeoutMs)
    await Promise.race([client.end(), patience.promise])
    clearTimeout(timer)
  }
}

/** Copied exactly once, here: the copy is handed to the thread, the caller's tensors stay the caller's. */
function copied(tensors: readonly Tensor[]): Tensor[] {
  return tensors.map((tensor) => ({ ...tensor, data: new Uint8Array(tensor.data) }))
}

function sharedRowsOf(pending: Pending | undefined): number | null {
  return pending?.step ? null : rowsOf(pending?.inputs ?? [])
}

function questionOf(batch: readonly Pending[]): Extract<Question, { ask: 'run' | 'step' }> {
  const [first] = batch
  if (first?.step) return { ask: 'step', step: { inputs: first.inputs, ...first.step } }
  return { ask: 'run', requests: batch.map(({ inputs }) => inputs) }
}

function tensorsOf(question: Extract<Question, { ask: 'run' | 'step' }>): Tensor[] {
  return question.ask === 'run' ? question.requests.flat() : [...question.step.inputs, ...question.step.carried]
}
