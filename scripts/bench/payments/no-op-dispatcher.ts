import { GranaryError } from '../../../services/core/errors.ts'
import type { Job, JobResult } from '../../../services/core/jobs.ts'
import type { Dispatcher, Worker } from '../../../services/core/ports.ts'
import { commitTensors, type Tensor, textTensor } from '../../../services/core/tensors.ts'

/** Has every model. */
class Everything extends Set<string> {
  override has(): boolean {
    return true
  }
}

const outputs = [textTensor('label', ['ham'])]
const UNCOMMITTED = `0x${'00'.repeat(32)}`
const SIGNATURE = `0x${'11'.repeat(64)}1b`

/**
 * Inference that costs nothing, so that what is left is the cost of paying. Its receipts carry no real signature and, unless
 * `committed`, no commitments: both are the provider's work, and checking them is the dispatcher's.
 */
export function openNoOpDispatcher({ provider, chainTime }: { provider: string; chainTime: () => number }): Dispatcher & {
  committed: boolean
} {
  const worker: Worker = {
    workerId: 'no-op',
    provider,
    sessionKey: provider,
    ready: new Everything(),
    inFlight: 0,
    capacity: 1_000_000,
    averageMs: 1,
  }
  const workers = [worker]
  return {
    committed: false,
    workers: () => workers,
    async send(_workerId: string, job: Job): Promise<JobResult> {
      const commit = (tensors: readonly Tensor[], salt: string) => (this.committed ? commitTensors(tensors, salt) : UNCOMMITTED)
      const { jobId, modelId, purpose, consentBlock, units, unitPrice } = job
      const receipt = {
        jobId,
        modelId,
        provider,
        purpose,
        consentBlock,
        inputCommitment: commit(job.inputs, job.inputSalt),
        outputCommitment: commit(outputs, job.outputSalt),
        units,
        unitPrice,
        servedAt: chainTime(),
        computeMicros: 1,
      }
      return { outputs, receipt, signature: SIGNATURE }
    },
    stream: () => {
      throw new GranaryError('provider.failed', 'The no-op model answers in one piece.')
    },
    async [Symbol.asyncDispose]() {},
  }
}
