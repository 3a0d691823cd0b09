import { dataSlice, getBytes, keccak256 } from 'ethers'
import secp256k1 from 'secp256k1'
import type { Job, JobReceipt, JobResult } from '../../core/jobs.ts'
import { digestOf, type Verifier } from '../../core/messages.ts'
import { commitTensors } from '../../core/tensors.ts'

/** How far a receipt's time may be from the chain time that the gateway knows. */
const MAX_BEHIND_SECONDS = 120
const MAX_AHEAD_SECONDS = 5

/** Why a result is not what was asked for, or null if it is: every field, both commitments, the session key's signature. */
export function flawOf(options: {
  job: Job
  result: JobResult
  provider: string
  sessionKey: string
  escrow: Verifier
  chainTime: number | null
}): string | null {
  const { job, result, provider, ...signed } = options
  const { outputs } = result
  const expected: ExpectedReceipt = {
    jobId: job.jobId,
    modelId: job.modelId,
    provider,
    purpose: job.purpose,
    consentBlock: job.consentBlock,
    inputCommitment: commitTensors(job.inputs, job.inputSalt),
    outputCommitment: commitTensors(outputs, job.outputSalt),
    units: job.units,
    unitPrice: job.unitPrice,
  }
  return flawOfReceipt({ ...signed, result, expected })
}

export type ExpectedReceipt = Omit<JobReceipt, 'servedAt' | 'computeMicros'>

/** The same against fields that are worked out already. */
export function flawOfReceipt(options: {
  result: JobResult
  expected: ExpectedReceipt
  sessionKey: string
  escrow: Verifier
  chainTime: number | null
}): string | null {
  const { result, expected, sessionKey, escrow, chainTime } = options
  const { receipt, signature } = result
  for (const [name, value] of Object.entries(expected)) {
    if (receipt[name as keyof typeof expected] !== value) return `its ${name} is not the job's`
  }
  if (chainTime !== null && receipt.servedAt > chainTime + MAX_AHEAD_SECONDS) return 'its servedAt is in the future'
  if (chainTime !== null && receipt.servedAt < chainTime - MAX_BEHIND_SECONDS) return 'its servedAt is long past'
  const signer = recover(digestOf('InferenceEscrow', 'JobReceipt', escrow, { ...receipt }), signature)
  return signer === sessionKey ? null : 'its signature is not by the session key'
}

/** Lower-case address of the signer; null if malformed or malleable. The native library does this 50 times faster than ethers. */
export function recover(digest: string, signature: string): string | null {
  try {
    const bytes = getBytes(signature)
    const compact = bytes.slice(0, 64)
    const recovery = (bytes[64] ?? 0) - 27
    if (bytes.length !== 65 || (recovery !== 0 && recovery !== 1)) return null
    const normal = secp256k1.signatureNormalize(compact.slice())
    if (!Buffer.from(normal).equals(compact)) return null
    const publicKey = secp256k1.ecdsaRecover(compact, recovery, getBytes(digest), false)
    return dataSlice(keccak256(publicKey.slice(1)), 12)
  } catch {
    return null
  }
}
