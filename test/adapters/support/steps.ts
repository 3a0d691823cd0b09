import type { Wallet } from 'ethers'
import type { Job, JobReceipt, JobStep } from '../../../services/core/jobs.ts'
import { planSteps, type StepPlan } from '../../../services/core/steps.ts'
import { joinBytes, type Tensor } from '../../../services/core/tensors.ts'
import { bytesTensor, honestReceipt, newJob, signResult } from './jobs.ts'

export type WorkerSteps = (
  job: Job,
  options: { timeoutMs: number; signal: AbortSignal },
) => AsyncIterable<JobStep & { isLast: boolean }>

const MANIFEST = { steps: { size: 4 }, unit: 'row' } as const

/** A job whose inputs make so many steps, of four numbers each, and how it is cut. */
export function steppedJob(steps: number, numbers = 4 * steps): { job: Job; plan: StepPlan } {
  const data = new Uint8Array(4 * numbers).map((_, index) => index % 251)
  const job = { ...newJob(data), units: BigInt(numbers), stepSize: 4 }
  return { job, plan: planOf(job) }
}

export function planOf(job: Job): StepPlan {
  const plan = planSteps(MANIFEST, job.inputs)
  if (!plan) throw new Error('the job makes no steps')
  return plan
}

/** Answers each step with its inputs reversed; `change` makes the receipt of one what it is not. */
export function reverseInSteps(
  wallet: Wallet,
  options: { change?: (step: JobStep) => Partial<JobReceipt>; index?: (index: number) => number; bytes?: number } = {},
): WorkerSteps {
  const { change = () => ({}), index: shown = (index: number) => index, bytes } = options
  return async function* (job) {
    const plan = planOf(job)
    const given: Tensor[] = []
    for (let index = 0; index < plan.steps; index += 1) {
      const [input] = plan.inputsOf(index)
      const output = bytesTensor('y', bytes ? new Uint8Array(bytes) : (input?.data ?? new Uint8Array()).slice().reverse())
      given.push(output)
      const all = bytesTensor('y', joinBytes(given.map(({ data }) => data)))
      const receipt = { ...honestReceipt(job, [all]), units: plan.unitsAfter(index + 1) }
      const honest = await signResult(wallet, receipt, [output])
      const lie = change({ index, ...honest })
      const result = Object.keys(lie).length === 0 ? honest : await signResult(wallet, { ...receipt, ...lie }, [output])
      yield { index: shown(index), ...result, isLast: index === plan.steps - 1 }
    }
  }
}
