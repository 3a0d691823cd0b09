import type { Wallet } from 'ethers'
import type { Head } from '../core/chain-records.ts'
import { GranaryError } from '../core/errors.ts'
import type { Job, JobReceipt, JobResult } from '../core/jobs.ts'
import { typedData, type Verifier } from '../core/messages.ts'
import { checkInputs, countUnits } from '../core/metering.ts'
import type { LoadedModel, Runtime } from '../core/ports.ts'
import { commitTensors } from '../core/tensors.ts'
import type { Offer } from './offers.ts'

export const MAX_MICROS = 2 ** 32 - 1

export interface Answering {
  operator: () => string | null
  offer: (modelId: string) => Offer | null
  model: (modelId: string) => LoadedModel | null
  /** Throws when the use is not permitted now. */
  permit: (use: { modelId: string; purpose: number; jurisdiction: number }) => Promise<Head>
  runtime: Runtime
  wallet: Wallet
  escrow: Verifier
}

/** Does one job: own offer, own count, own look at consent, then the work, then a receipt that the chain can check. */
export async function answerJob(
  answering: Answering,
  job: Job,
  { timeoutMs, signal }: { timeoutMs: number; signal: AbortSignal },
): Promise<JobResult> {
  const deadline = performance.now() + timeoutMs
  const provider = checkTerms(answering, job)
  const { modelId, purpose, jurisdiction } = job
  const head = await answering.permit({ modelId, purpose, jurisdiction })
  const leftMs = Math.floor(deadline - performance.now())
  if (signal.aborted || leftMs <= 0) throw new GranaryError('deadline.exceeded', 'The job came too late.')
  const { outputs, computeMicros } = await answering.runtime.infer(modelId, job.inputs, { timeoutMs: leftMs })
  const receipt: JobReceipt = {
    jobId: job.jobId,
    modelId,
    provider,
    purpose,
    consentBlock: job.consentBlock,
    inputCommitment: commitTensors(job.inputs, job.inputSalt),
    outputCommitment: commitTensors(outputs, job.outputSalt),
    units: job.units,
    unitPrice: job.unitPrice,
    servedAt: head.timestamp,
    computeMicros: Math.min(MAX_MICROS, Math.max(0, Math.round(computeMicros))),
  }
  const { domain, types, value } = typedData('InferenceEscrow', 'JobReceipt', answering.escrow, { ...receipt })
  return { outputs, receipt, signature: await answering.wallet.signTypedData(domain, types, value) }
}

/** Refuses a job that this worker did not offer at this price, or whose units it counts differently. */
export function checkTerms(answering: Answering, job: Job): string {
  const provider = answering.operator()
  const offer = answering.offer(job.modelId)
  const model = answering.model(job.modelId)
  if (!provider || !offer || !model) throw new GranaryError('provider.failed', 'The worker does not serve this model.')
  if (job.unitPrice !== offer.unitPrice) {
    throw new GranaryError('provider.failed', 'The job does not pay what the provider asks.', {
      actual: job.unitPrice.toString(),
      expected: offer.unitPrice.toString(),
    })
  }
  checkInputs(model.manifest, job.inputs)
  const units = countUnits(model.manifest.unit, job.inputs)
  if (job.units !== units) {
    throw new GranaryError('provider.failed', 'The job counts other units than its inputs have.', {
      actual: job.units.toString(),
      expected: units.toString(),
    })
  }
  return provider
}
