import { randomBytes } from 'node:crypto'
import { hexlify, Wallet } from 'ethers'
import type { Job, JobReceipt, JobResult } from '../../../services/core/jobs.ts'
import { typedData, type Verifier } from '../../../services/core/messages.ts'
import { commitTensors, type Tensor } from '../../../services/core/tensors.ts'

/** Jobs and honest workers for tests of what carries them. */
export const GATEWAY = `0x${'ab'.repeat(20)}`
export const OPERATOR = `0x${'cd'.repeat(20)}`
export const MODEL = `0x${'11'.repeat(32)}`
export const providerRegistry: Verifier = { chainId: 31337n, address: `0x${'01'.repeat(20)}` }
export const escrow: Verifier = { chainId: 31337n, address: `0x${'02'.repeat(20)}` }
export const CHAIN_TIME = 1_800_000_000

export const random32 = () => hexlify(randomBytes(32))
export const newSessionKey = () => new Wallet(random32())

export function bytesTensor(name: string, data: Uint8Array): Tensor {
  return data.length % 4 === 0
    ? { name, datatype: 'FP32', shape: [data.length / 4], data }
    : { name, datatype: 'UINT8', shape: [data.length], data }
}

export function newJob(data: Uint8Array = new Uint8Array(randomBytes(64))): Job {
  return {
    jobId: random32(),
    modelId: MODEL,
    purpose: 3,
    jurisdiction: 7,
    consentBlock: 123_456,
    units: 2n ** 60n + 1n,
    unitPrice: 1_234_567_890_123_456_789n,
    inputSalt: random32(),
    outputSalt: random32(),
    inputs: [bytesTensor('x', data)],
  }
}

export function honestReceipt(job: Job, outputs: readonly Tensor[]): JobReceipt {
  const { jobId, modelId, purpose, consentBlock, units, unitPrice } = job
  return {
    ...{ jobId, modelId, purpose, consentBlock, units, unitPrice },
    provider: OPERATOR,
    inputCommitment: commitTensors(job.inputs, job.inputSalt),
    outputCommitment: commitTensors(outputs, job.outputSalt),
    servedAt: CHAIN_TIME,
    computeMicros: 1000,
  }
}

export async function signResult(wallet: Wallet, receipt: JobReceipt, outputs: Tensor[]): Promise<JobResult> {
  const { domain, types, value } = typedData('InferenceEscrow', 'JobReceipt', escrow, { ...receipt })
  return { outputs, receipt, signature: await wallet.signTypedData(domain, types, value) }
}

/** Answers with the inputs reversed, which no other job's answer equals. */
export async function reverse(wallet: Wallet, job: Job): Promise<JobResult> {
  const outputs = job.inputs.map(({ name, data }) => bytesTensor(`${name}-reversed`, data.slice().reverse()))
  return signResult(wallet, honestReceipt(job, outputs), outputs)
}
