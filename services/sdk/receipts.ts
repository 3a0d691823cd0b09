import type { InferAnswer, InferBody, ReceiptBody } from '../core/api.ts'
import { GranaryError } from '../core/errors.ts'
import { signerOf, structHashOf, type Verifier } from '../core/messages.ts'
import { signedDigestOf } from '../core/receipt-signature.ts'
import { commitTensors, fromJsonTensor, type JsonTensor } from '../core/tensors.ts'
import { strayOf } from './asked.ts'

export interface ReceiptCheck {
  asked: InferBody
  answer: InferAnswer
  escrow: Verifier
  collector: string
  accountId: string
  key: string
  /** The most the caller has agreed to for this request. */
  max: bigint
}

/**
 * Refuses an answer whose receipt does not hold: another request than the one asked, outputs that differ from what the provider
 * committed to, a charge above the price or the agreement, a head that does not follow, a path and a signature
 * that are not the collector's word for it.
 */
export function checkReceipt({ answer, ...check }: ReceiptCheck): void {
  checkReceiptOf({ ...check, answer, commitment: commitmentTo(answer.outputs) })
}

export function commitmentTo(outputs: InferAnswer['outputs']): (salt: string) => string {
  const tensors = outputs.map((output) => fromJsonTensor(output as JsonTensor))
  return (salt) => commitTensors(tensors, salt)
}

export interface ReceiptOfCheck extends Omit<ReceiptCheck, 'answer'> {
  answer: Omit<InferAnswer, 'outputs'>
  /** To all outputs, under the receipt's salt. */
  commitment: (salt: string) => string
}

/** The same where the outputs came before their receipt. */
export function checkReceiptOf({ asked, answer, commitment, escrow, collector, accountId, key, max }: ReceiptOfCheck): void {
  const { receipt } = answer
  const refuse = (why: string) => {
    throw wrongReceipt(answer.id, why)
  }
  if (receipt.accountId !== accountId || receipt.key !== key) refuse('it is for another account or key')
  const stray = strayOf(answer, asked)
  if (stray !== null) refuse(stray)
  if (commitment(receipt.outputSalt) !== receipt.job.outputCommitment)
    refuse('the outputs are not those that the provider signed')
  if (answer.modelId !== receipt.job.modelId) refuse('it is for another model')
  const charged = BigInt(answer.charged)
  if (charged !== BigInt(receipt.job.units ?? -1) * BigInt(receipt.job.unitPrice ?? -1))
    refuse('the charge is not units times price')
  if (charged > max) refuse(`it charges ${charged}, more than the ${max} agreed`)
  const value = receiptValue(receipt, charged)
  if (structHashOf('InferenceEscrow', 'Receipt', value) !== receipt.head) refuse('its head is not its hash')
  const digest = signedDigestOf(receipt, escrow)
  if (digest === null) refuse('its path is malformed')
  else if (groupSignerOf(digest, receipt.collectorSignature) !== collector) refuse('the collector did not sign it')
}

/** Signers seen last: what runs in parallel is committed together, and the same signature stands for all of it. */
const signers = new Map<string, string>()
const MOST_SIGNERS = 64

/** As signerOf, in lower case. */
function groupSignerOf(digest: string, signature: unknown): string | null {
  if (typeof signature !== 'string') return null
  const name = `${digest} ${signature}`
  const known = signers.get(name)
  if (known !== undefined) return known
  const signer = signerOf(digest, signature)?.toLowerCase()
  if (signer === undefined) return null
  const oldest = signers.keys().next()
  if (signers.size >= MOST_SIGNERS && !oldest.done) signers.delete(oldest.value)
  signers.set(name, signer)
  return signer
}

export function wrongReceipt(requestId: string, why: string): GranaryError {
  return new GranaryError('receipt.wrong', `The receipt does not hold: ${why}.`, { requestId })
}

function receiptValue({ job, accountId, key, sequence, previousHead }: ReceiptBody, charged: bigint) {
  return {
    jobHash: structHashOf('InferenceEscrow', 'JobReceipt', job),
    accountId,
    key,
    sequence: BigInt(sequence),
    charged,
    previousHead,
  }
}
