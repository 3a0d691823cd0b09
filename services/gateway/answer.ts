import type { InferAnswer } from '../core/api.ts'
import { DEFAULT_PURPOSE } from '../core/consent.ts'
import type { Job, JobResult } from '../core/jobs.ts'
import { priceOf } from '../core/metering.ts'
import type { CommittedTogether } from '../core/selling-ledger.ts'
import { toJsonTensor } from '../core/tensors.ts'
import type { Shop } from './order.ts'
import type { Payer } from './payer.ts'

/** A delivered job and what its answer says of it. */
export interface Delivered {
  order: { model: { modelId: string; manifest: { name: string } }; body: { purpose?: string } }
  requestId: string
  result: JobResult
  job: Pick<Job, 'inputSalt' | 'outputSalt'>
}

/** What the caller gets: outputs, what they cost, and the receipt, which the collector signs. */
export function inferAnswer(
  shop: Pick<Shop, 'signatureOf'>,
  delivered: Delivered & { payer: Pick<Payer, 'accountId' | 'key'> },
  committed: CommittedTogether,
): InferAnswer {
  const { order, payer, requestId, result, job } = delivered
  const { receipt, signature, outputs } = result
  return {
    id: requestId,
    model: order.model.manifest.name,
    modelId: order.model.modelId,
    purpose: order.body.purpose ?? DEFAULT_PURPOSE,
    outputs: outputs.map(toJsonTensor),
    provider: receipt.provider,
    units: receipt.units.toString(),
    unitPrice: receipt.unitPrice.toString(),
    charged: priceOf(receipt.units, receipt.unitPrice).toString(),
    receipt: {
      accountId: payer.accountId,
      key: payer.key,
      job: { ...receipt, units: receipt.units.toString(), unitPrice: receipt.unitPrice.toString() },
      providerSignature: signature,
      inputSalt: job.inputSalt,
      outputSalt: job.outputSalt,
      sequence: committed.sequence.toString(),
      previousHead: committed.previousHead,
      head: committed.head,
      ...shop.signatureOf(committed),
    },
  }
}
