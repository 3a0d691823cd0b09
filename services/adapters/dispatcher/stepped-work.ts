import { GranaryError } from '../../core/errors.ts'
import type { JobStep } from '../../core/jobs.ts'

/** How many steps of a job the gateway has asked for, and who waits for it to ask for more. */
export class StepGrant {
  #steps: number
  #waiting: PromiseWithResolvers<void> | null = null

  constructor(steps: number) {
    this.#steps = steps
  }

  raise(steps: number): void {
    if (steps <= this.#steps) return
    this.#steps = steps
    this.#waiting?.resolve()
  }

  /** Resolves once so many steps are granted; throws `deadline.exceeded` when the job is given up first. */
  async until(steps: number, signal: AbortSignal): Promise<void> {
    while (this.#steps < steps) {
      signal.throwIfAborted()
      const waiting = Promise.withResolvers<void>()
      this.#waiting = waiting
      signal.addEventListener('abort', () => waiting.resolve(), { once: true })
      await waiting.promise
      this.#waiting = null
      if (signal.aborted) throw new GranaryError('deadline.exceeded', 'The job was given up.')
    }
  }
}

/** Computes and sends step after step, none before it is granted: what is not paid for is not worked for. */
export async function workInSteps(options: {
  steps: AsyncIterable<JobStep & { isLast: boolean }>
  grant: StepGrant
  signal: AbortSignal
  send: (step: JobStep) => void
}): Promise<void> {
  const { steps, grant, signal, send } = options
  const iterator = steps[Symbol.asyncIterator]()
  try {
    for (let done = 0; ; done += 1) {
      await grant.until(done + 1, signal)
      const next = await iterator.next()
      if (next.done || signal.aborted) return
      const { isLast, ...step } = next.value
      send(step)
      if (isLast) return
    }
  } finally {
    await iterator.return?.()
  }
}
