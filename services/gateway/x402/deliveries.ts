import type { Tensor } from '../../core/tensors.ts'
import type { Delivered } from '../answer.ts'
import { openSeals } from '../seals.ts'

/** A delivered job, and under which identity its answer is kept. */
export interface PaidDelivery extends Delivered {
  idempotencyKey: string
}

/**
 * What a job delivered while its payment is under way: kept in the ledger so that neither a crash nor a silent chain costs
 * the payer the answer, and sealed under the master key, since it is not the payer's before it is paid for.
 */
export interface Deliveries {
  seal(delivery: PaidDelivery): Uint8Array
  /** Throws `credential.ended` when it was sealed under a master key that the gateway does not have. */
  open(sealed: Uint8Array, requestId: string): PaidDelivery
}

/** Names the key under which deliveries are sealed, for the command that replaces the master key. */
export const DELIVERIES = 'granary/deliveries/1'

export function openDeliveries(masterKeys: readonly Uint8Array[]): Deliveries {
  const seals = openSeals(masterKeys, DELIVERIES)
  return {
    seal: (delivery) => seals.seal(Buffer.from(textOf(delivery)), { context: delivery.requestId }),
    open: (sealed, requestId) => deliveryOf(seals.open(sealed, { context: requestId }).toString('utf8')),
  }
}

interface Stored extends Omit<PaidDelivery, 'result'> {
  signature: string
  receipt: Omit<Delivered['result']['receipt'], 'units' | 'unitPrice'> & { units: string; unitPrice: string }
  outputs: (Omit<Tensor, 'data'> & { data: string })[]
}

function textOf({ order, requestId, idempotencyKey, result, job }: PaidDelivery): string {
  const { receipt, signature, outputs } = result
  const stored: Stored = {
    order: {
      model: { modelId: order.model.modelId, manifest: { name: order.model.manifest.name } },
      body: purposeOf(order.body),
    },
    requestId,
    idempotencyKey,
    job: { inputSalt: job.inputSalt, outputSalt: job.outputSalt },
    signature,
    receipt: { ...receipt, units: receipt.units.toString(), unitPrice: receipt.unitPrice.toString() },
    outputs: outputs.map((tensor) => ({ ...tensor, data: Buffer.from(tensor.data).toString('base64') })),
  }
  return JSON.stringify(stored)
}

function deliveryOf(text: string): PaidDelivery {
  const { receipt, signature, outputs, ...rest } = JSON.parse(text) as Stored
  const result = {
    receipt: { ...receipt, units: BigInt(receipt.units), unitPrice: BigInt(receipt.unitPrice) },
    signature,
    outputs: outputs.map((tensor) => ({ ...tensor, data: new Uint8Array(Buffer.from(tensor.data, 'base64')) })),
  }
  return { ...rest, result }
}

function purposeOf({ purpose }: { purpose?: string }): { purpose?: string } {
  return purpose === undefined ? {} : { purpose }
}
