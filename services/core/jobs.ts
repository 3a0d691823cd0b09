import type { Tensor } from './tensors.ts'

export interface Job {
  jobId: string
  modelId: string
  purpose: number
  jurisdiction: number
  /** The block whose consent the gateway has seen. */
  consentBlock: number
  units: bigint
  unitPrice: bigint
  inputSalt: string
  outputSalt: string
  inputs: Tensor[]
  /** The answer comes in steps of this size, by the manifest; left out, in one piece. */
  stepSize?: number
}

/** What the provider signs (EIP-712 JobReceipt of the escrow's domain). */
export interface JobReceipt {
  jobId: string
  modelId: string
  provider: string
  purpose: number
  consentBlock: number
  inputCommitment: string
  outputCommitment: string
  units: bigint
  unitPrice: bigint
  /** Chain time of the head that the worker saw. */
  servedAt: number
  computeMicros: number
}

export interface JobResult {
  outputs: Tensor[]
  receipt: JobReceipt
  /** By the provider's session key. */
  signature: string
}

/** One step's own outputs, and a result over all that came until then: outputs joined, units and time added up. */
export interface JobStep extends JobResult {
  index: number
}
