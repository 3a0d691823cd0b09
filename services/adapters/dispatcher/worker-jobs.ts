import { GranaryError } from '../../core/errors.ts'
import type { Job, JobResult } from '../../core/jobs.ts'
import type { Verifier } from '../../core/messages.ts'
import type { JobStream } from '../../core/ports.ts'
import type { StepPlan } from '../../core/steps.ts'
import { flawOf, flawOfReceipt } from './receipt-check.ts'
import { StepStream } from './step-stream.ts'
import type { TransferChannel } from './transfer-channel.ts'
import { decodeAnswer, encodeJob } from './worker-protocol.ts'

/** Weight of the newest job in the moving average. */
const NEWEST = 0.2

/** What becomes of a job's answer. */
interface InFlight {
  admits(bodyBytes: number): boolean
  /** True when nothing more is to come. */
  take(answer: Answer): boolean
  fail(error: GranaryError): void
}

interface Answer {
  header: unknown
  body: Uint8Array
}

export interface JobsContext {
  channel: TransferChannel
  /** Who signs here, and when: what receipts are held against. */
  signed: () => { provider: string; sessionKey: string; escrow: Verifier; chainTime: number | null }
  /** Ends the connection: the worker signs something else than it was asked, or can't speak the protocol. */
  drop: (jobId: string, flaw: string) => void
}

/** The jobs that one worker works on, by the stream on which each answer comes. */
export class WorkerJobs {
  readonly #context: JobsContext
  readonly #inFlight = new Map<number, InFlight>()
  #averageMs = 0
  #lastStream = 0

  constructor(context: JobsContext) {
    this.#context = context
  }

  get size(): number {
    return this.#inFlight.size
  }

  /** Of the jobs that were answered in one piece. */
  get averageMs(): number {
    return this.#averageMs
  }

  async send(job: Job, { timeoutMs, signal }: { timeoutMs: number; signal?: AbortSignal }): Promise<JobResult> {
    if (signal?.aborted) throw abandoned(signal.reason)
    const { channel } = this.#context
    const stream = this.#freeStream()
    const startedAt = performance.now()
    const answer = Promise.withResolvers<JobResult>()
    this.#inFlight.set(stream, {
      admits: () => true,
      take: (given) => {
        const result = this.#read(given, job)
        if (result instanceof GranaryError) answer.reject(result)
        else {
          this.#count(performance.now() - startedAt)
          answer.resolve(result)
        }
        return true
      },
      fail: answer.reject,
    })
    const giveUp = (error: GranaryError) => {
      if (!this.#inFlight.delete(stream)) return
      channel.cancel(stream)
      answer.reject(error)
    }
    const timer = setTimeout(() => giveUp(late(timeoutMs)), timeoutMs)
    const onAbort = () => giveUp(abandoned(signal?.reason))
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      channel.send({ stream, ...encodeJob(job, Math.max(1, Math.floor(timeoutMs))) })
      return await answer.promise
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      this.#inFlight.delete(stream)
    }
  }

  stream(job: Job, { plan, granted, timeoutMs }: { plan: StepPlan; granted: number; timeoutMs: number }): JobStream {
    const { channel, signed } = this.#context
    const stream = this.#freeStream()
    const stop = () => {
      clearTimeout(timer)
      if (this.#inFlight.delete(stream)) channel.cancel(stream)
    }
    const steps = new StepStream({
      ...{ job, plan, granted, stop, provider: signed().provider },
      flawOf: (result, expected) => flawOfReceipt({ ...signed(), result, expected }),
      sendGrant: (count) => channel.control({ kind: 'grant', stream, steps: count }),
    })
    const timer = setTimeout(() => {
      stop()
      steps.fail(late(timeoutMs))
    }, timeoutMs)
    const fail = (error: GranaryError) => {
      clearTimeout(timer)
      steps.fail(error)
    }
    this.#inFlight.set(stream, {
      admits: (bodyBytes) => {
        const isAdmitted = steps.admits(bodyBytes)
        if (!isAdmitted) fail(this.#drop(job, 'it sends more than it was granted'))
        return isAdmitted
      },
      take: (given) => {
        const flaw = this.#readStep(given, job, steps)
        if (flaw) fail(flaw)
        if (steps.ended) clearTimeout(timer)
        return steps.ended
      },
      fail,
    })
    try {
      channel.send({ stream, ...encodeJob(job, Math.max(1, Math.floor(timeoutMs)), granted) })
    } catch (error) {
      clearTimeout(timer)
      this.#inFlight.delete(stream)
      throw error
    }
    return steps
  }

  admits(stream: number, bodyBytes: number): boolean {
    return this.#inFlight.get(stream)?.admits(bodyBytes) ?? false
  }

  take({ stream, ...answer }: Answer & { stream: number }): void {
    if (this.#inFlight.get(stream)?.take(answer)) this.#inFlight.delete(stream)
  }

  fail(stream: number, error: GranaryError): void {
    const found = this.#inFlight.get(stream)
    this.#inFlight.delete(stream)
    found?.fail(error)
  }

  failAll(error: GranaryError): void {
    for (const stream of [...this.#inFlight.keys()]) this.fail(stream, error)
  }

  #read({ header, body }: Answer, job: Job): JobResult | GranaryError {
    try {
      const answer = decodeAnswer(header, body)
      if (answer instanceof GranaryError) return answer
      if ('index' in answer) return this.#drop(job, 'it is a step where the whole was asked for')
      const flaw = flawOf({ ...this.#context.signed(), job, result: answer })
      return flaw === null ? answer : this.#drop(job, flaw)
    } catch (error) {
      return this.#drop(job, error instanceof GranaryError ? error.message : 'it cannot be read')
    }
  }

  /** null when the step was taken. */
  #readStep({ header, body }: Answer, job: Job, steps: StepStream): GranaryError | null {
    try {
      const answer = decodeAnswer(header, body)
      if (answer instanceof GranaryError) return answer
      const flaw = 'index' in answer ? steps.take(answer) : 'it is whole where steps were asked for'
      return flaw === null ? null : this.#drop(job, flaw)
    } catch (error) {
      return this.#drop(job, error instanceof GranaryError ? error.message : 'it cannot be read')
    }
  }

  #drop({ jobId }: Job, flaw: string): GranaryError {
    this.#context.drop(jobId, flaw)
    return new GranaryError('provider.failed', `The provider's receipt is wrong: ${flaw}.`)
  }

  #count(tookMs: number): void {
    this.#averageMs = this.#averageMs === 0 ? tookMs : (1 - NEWEST) * this.#averageMs + NEWEST * tookMs
  }

  #freeStream(): number {
    do this.#lastStream = (this.#lastStream + 1) >>> 0
    while (this.#inFlight.has(this.#lastStream))
    return this.#lastStream
  }
}

export function gone(detail: string): GranaryError {
  return new GranaryError('provider.gone', detail)
}

export function busy(detail: string): GranaryError {
  return new GranaryError('provider.busy', detail)
}

function late(timeoutMs: number): GranaryError {
  return new GranaryError('deadline.exceeded', `The worker did not answer within ${Math.round(timeoutMs)} ms.`)
}

function abandoned(cause: unknown): GranaryError {
  return new GranaryError('deadline.exceeded', 'The caller gave the job up.', { cause })
}
