import { GranaryError } from '../../../services/core/errors.ts'
import type { Job, JobResult, JobStep } from '../../../services/core/jobs.ts'
import type { Dispatcher, JobStream } from '../../../services/core/ports.ts'
import { joinRows, type Tensor } from '../../../services/core/tensors.ts'

export interface PlayedSteps {
  stream: Dispatcher['stream']
  /** Steps go no further than this until more are let through; by default nothing holds them. */
  letThrough(steps: number): void
  /** The provider fails like this in place of the step. */
  failAt(index: number, error: GranaryError): void
  /** Everything as at first. */
  reset(): void
  /** Steps that were granted at most, beyond those that were asked for. */
  farthestAhead(): number
  /** Steps that were given since the last reset. */
  given(): number
  /** Jobs that were neither answered to their end nor left. */
  open(): number
}

/** A provider that answers in steps, each signed over all before it; `answer` answers a job in one piece. */
export function playSteps(
  answer: (job: Job) => JobResult,
  sign: (job: Job, outputs: Tensor[], units: bigint) => JobResult,
): PlayedSteps {
  let most = Number.POSITIVE_INFINITY
  let fault: { index: number; error: GranaryError } | null = null
  let ahead = 0
  let open = 0
  let count = 0
  let changed = Promise.withResolvers<void>()
  const change = () => {
    changed.resolve()
    changed = Promise.withResolvers<void>()
  }

  function stream(_worker: string, job: Job, { plan, granted }: Parameters<Dispatcher['stream']>[2]): JobStream {
    const given: Tensor[][] = []
    let [may, left] = [granted, false]
    open += 1
    const leave = () => {
      if (!left) open -= 1
      left = true
      change()
    }
    return {
      grant(steps) {
        may = Math.max(may, steps)
        ahead = Math.max(ahead, may - given.length)
        change()
      },
      async next(timeoutMs): Promise<JobStep | null> {
        const index = given.length
        const timer = setTimeout(change, timeoutMs)
        const endsAt = performance.now() + timeoutMs
        while (!left && index < plan.steps && (index >= may || index >= most) && performance.now() < endsAt) await changed.promise
        clearTimeout(timer)
        if (left || index === plan.steps) return null
        if (performance.now() >= endsAt) throw new GranaryError('deadline.exceeded', 'No step in time.')
        if (fault?.index === index) {
          leave()
          throw fault.error
        }
        const { outputs } = answer({ ...job, inputs: plan.inputsOf(index) })
        given.push(outputs)
        count += 1
        const { receipt, signature } = sign(job, joinRows(given), plan.unitsAfter(index + 1))
        if (given.length === plan.steps) leave()
        return { index, outputs, receipt, signature }
      },
      async [Symbol.asyncDispose]() {
        leave()
      },
    }
  }

  return {
    stream,
    letThrough(steps) {
      most = steps
      change()
    },
    failAt(index, error) {
      fault = { index, error }
    },
    reset() {
      most = Number.POSITIVE_INFINITY
      fault = null
      ahead = 0
      count = 0
      change()
    },
    farthestAhead: () => ahead,
    given: () => count,
    open: () => open,
  }
}
