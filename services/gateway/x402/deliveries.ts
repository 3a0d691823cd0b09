import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import type { Tensor } from '../../core/tensors.ts'
import type { Delivered } from '../sale.ts'

/**
 * What a job delivered while its payment is under way: kept in the ledger so that neither a crash nor a silent chain costs
 * the payer the answer, and sealed (AES-256-GCM under the master key), since it is not the payer's before it is paid for.
 */
export interface Deliveries {
  seal(delivered: Delivered): Uint8Array
  open(sealed: Uint8Array, requestId: string): Delivered
}

const IV_BYTES = 12
const TAG_BYTES = 16

export function openDeliveries(masterKey: Uint8Array): Deliveries {
  const key = new Uint8Array(hkdfSync('sha256', masterKey, new Uint8Array(0), 'granary/deliveries/1', 32))
  return {
    seal(delivered) {
      const iv = randomBytes(IV_BYTES)
      const cipher = createCipheriv('aes-256-gcm', key, iv).setAAD(Buffer.from(delivered.requestId))
      const sealed = Buffer.concat([cipher.update(textOf(delivered), 'utf8'), cipher.final()])
      return Buffer.concat([iv, cipher.getAuthTag(), sealed])
    },
    open(sealed, requestId) {
      const bytes = Buffer.from(sealed)
      const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, IV_BYTES)).setAAD(Buffer.from(requestId))
      decipher.setAuthTag(bytes.subarray(IV_BYTES, IV_BYTES + TAG_BYTES))
      const text = Buffer.concat([decipher.update(bytes.subarray(IV_BYTES + TAG_BYTES)), decipher.final()]).toString('utf8')
      return deliveredOf(text)
    },
  }
}

interface Stored extends Omit<Delivered, 'result'> {
  signature: string
  receipt: Omit<Delivered['result']['receipt'], 'units' | 'unitPrice'> & { units: string; unitPrice: string }
  outputs: (Omit<Tensor, 'data'> & { data: string })[]
}

function textOf({ order, requestId, result, job }: Delivered): string {
  const { receipt, signature, outputs } = result
  const stored: Stored = {
    order: {
      model: { modelId: order.model.modelId, manifest: { name: order.model.manifest.name } },
      body: purposeOf(order.body),
    },
    requestId,
    job: { inputSalt: job.inputSalt, outputSalt: job.outputSalt },
    signature,
    receipt: { ...receipt, units: receipt.units.toString(), unitPrice: receipt.unitPrice.toString() },
    outputs: outputs.map((tensor) => ({ ...tensor, data: Buffer.from(tensor.data).toString('base64') })),
  }
  return JSON.stringify(stored)
}

function deliveredOf(text: string): Delivered {
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
