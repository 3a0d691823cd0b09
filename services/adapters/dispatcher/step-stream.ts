import { GranaryError } from '../../core/errors.ts'
import type { Job, JobReceipt, JobStep } from '../../core/jobs.ts'
import type { JobStream } from '../../core/ports.ts'
import { openCommitment } from '../../core/running-commitment.ts'
import type { StepPlan } from '../../core/steps.ts'
import { commitTensors } from '../../core/tensors.ts'
import { MAX_STEP_BYTES } from './worker-protocol.ts'

export interface StepStreamParts {
  job: Job
  provider: string
  plan: StepPlan
  granted: number
  /** Why a receipt is not the expected one, by the session key; null if it is. */
  flawOf: (step: JobStep, expected: Omit<JobReceipt, 'servedAt' | 'computeMicros'>) => string | null
  /** Tells the worker how far it may go. */
  sendGrant: (steps: number) => void
  /** Tells the worker to stop. */
  stop: () => void
}

/**
 * The gateway's end of a job whose answer comes in steps: each is checked as it comes, against the plan and against all that
 * came before, and waits here until it is asked for. A worker that sends more than it was granted breaks the protocol.
 */
export class StepStream implements JobStream {
  readonly #parts: StepStreamParts
  readonly #inputCommitment: string
  readonly #commitment: ReturnType<typeof openCommitment>
  readonly #queue: JobStep[] = []
  #received = 0
  #servedAt = 0
  #granted: number
  #failure: GranaryError | null = null
  #waiting: PromiseWithResolvers<void> | null = null
  #stopped = false

  constructor(parts: StepStreamParts) {
    this.#parts = parts
    this.#granted = parts.granted
    this.#inputCommitment = commitTensors(parts.job.inputs, parts.job.inputSalt)
    this.#commitment = openCommitment()
  }

  get ended(): boolean {
    return this.#stopped || this.#failure !== null || this.#received === this.#parts.plan.steps
  }

  grant(steps: number): void {
    const most = Math.min(steps, this.#parts.plan.steps)
    if (most <= this.#granted || this.ended) return
    this.#granted = most
    // A worker that has not sent a step may still be receiving the job.
    if (this.#received > 0) this.#parts.sendGrant(most)
  }

  /** A problem has no body, and comes at any time. */
  admits(bodyBytes: number): boolean {
    return bodyBytes === 0 || (bodyBytes <= MAX_STEP_BYTES && this.#received < this.#granted)
  }

  /** What the worker sent as its next step; the flaw if it can't be that. */
  take({ index, ...result }: JobStep): string | null {
    const { job, plan, provider, flawOf, sendGrant } = this.#parts
    if (index !== this.#received || index >= this.#granted) return `it sent step ${index} in place of ${this.#received}`
    try {
      this.#commitment.add(result.outputs)
    } catch {
      return 'its step has other outputs than those before'
    }
    const step = { index, ...result }
    const { jobId, modelId, purpose, consentBlock, unitPrice } = job
    const flaw = flawOf(step, {
      ...{ jobId, modelId, provider, purpose, consentBlock, unitPrice },
      inputCommitment: this.#inputCommitment,
      outputCommitment: this.#commitment.value(job.outputSalt),
      units: plan.unitsAfter(index + 1),
    })
    if (flaw !== null) return flaw
    if (step.receipt.servedAt < this.#servedAt) return 'its servedAt goes backwards'
    this.#servedAt = step.receipt.servedAt
    this.#queue.push(step)
    this.#received += 1
    if (index === 0 && this.#granted > this.#parts.granted) sendGrant(this.#granted)
    this.#waiting?.resolve()
    return null
  }

  /** Steps that are here already are still given. */
  fail(error: GranaryError): void {
    if (this.ended) return
    this.#failure = error
    this.#waiting?.resolve()
  }

  async next(timeoutMs: number): Promise<JobStep | null> {
    if (this.#queue.length === 0 && !this.ended) await this.#arrival(timeoutMs)
    const step = this.#queue.shift()
    if (step) return step
    if (this.#failure) throw this.#failure
    if (this.ended) return null
    throw new GranaryError('deadline.exceeded', `The worker gave no step within ${Math.round(timeoutMs)} ms.`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.ended) return
    this.#stopped = true
    this.#waiting?.resolve()
    this.#parts.stop()
  }

  async #arrival(timeoutMs: number): Promise<void> {
    const waiting = Promise.withResolvers<void>()
    this.#waiting = waiting
    const timer = setTimeout(waiting.resolve, timeoutMs)
    await waiting.promise
    clearTimeout(timer)
    this.#waiting = null
  }
}
