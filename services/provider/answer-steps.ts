import { openSigner } from '../adapters/signatures.ts'
import { GranaryError } from '../core/errors.ts'
import type { Job, JobReceipt, JobStep } from '../core/jobs.ts'
import { digestOf } from '../core/messages.ts'
import { openCommitment } from '../core/running-commitment.ts'
import { planSteps, type StepPlan } from '../core/steps.ts'
import { commitTensors, type Tensor } from '../core/tensors.ts'
import { type Answering, checkTerms, MAX_MICROS } from './answer.ts'

/**
 * Does a job step by step, each when it is asked for: own look at consent, the work, and a receipt over all that was given until
 * then. So wherever the stream ends, the last receipt is for exactly what came before.
 */
export async function* answerInSteps(
  answering: Answering,
  job: Job,
  { timeoutMs, signal }: { timeoutMs: number; signal: AbortSignal },
): AsyncGenerator<JobStep & { isLast: boolean }> {
  const deadline = performance.now() + timeoutMs
  const { plan, provider } = planOf(answering, job)
  const { jobId, modelId, purpose, jurisdiction, consentBlock, unitPrice } = job
  const sign = openSigner(answering.wallet.privateKey)
  const inputCommitment = commitTensors(job.inputs, job.inputSalt)
  const commitment = openCommitment()
  let carried: readonly Tensor[] = []
  let micros = 0
  for (let index = 0; index < plan.steps; index += 1) {
    const isLast = index === plan.steps - 1
    const { timestamp: servedAt } = await answering.permit({ modelId, purpose, jurisdiction })
    const leftMs = Math.floor(deadline - performance.now())
    if (signal.aborted || leftMs <= 0) throw new GranaryError('deadline.exceeded', 'The job was given up.')
    const step = { inputs: plan.inputsOf(index), carried, isLast }
    const { outputs, computeMicros, ...stepped } = await answering.runtime.step(modelId, step, { timeoutMs: leftMs })
    carried = stepped.carried
    micros += computeMicros
    commitment.add(outputs)
    const receipt: JobReceipt = {
      ...{ jobId, modelId, provider, purpose, consentBlock, inputCommitment, servedAt, unitPrice },
      outputCommitment: commitment.value(job.outputSalt),
      units: plan.unitsAfter(index + 1),
      computeMicros: Math.min(MAX_MICROS, Math.max(0, Math.round(micros))),
    }
    const signature = sign(digestOf('InferenceEscrow', 'JobReceipt', answering.escrow, { ...receipt }))
    yield { index, outputs, receipt, signature, isLast }
  }
}

function planOf(answering: Answering, job: Job): { plan: StepPlan; provider: string } {
  const provider = checkTerms(answering, job)
  const manifest = answering.model(job.modelId)?.manifest
  const plan = manifest ? planSteps(manifest, job.inputs) : null
  if (plan && plan.size === job.stepSize) return { plan, provider }
  throw new GranaryError('provider.failed', 'The job is cut into other steps than the manifest says.', {
    actual: job.stepSize,
    expected: plan?.size ?? null,
  })
}
