import type { FastifyInstance } from 'fastify'
import { GranaryError } from '../../core/errors.ts'
import { publishedJob } from '../../core/published-batch.ts'
import type { PublishingLedger, StoredReceipt } from '../../core/settlement-ledger.ts'
import type { Archive } from '../archive/archive.ts'
import type { Callers } from '../callers.ts'
import { pageLimit } from '../page-limit.ts'

const MAX_RECEIPTS = 100
const MAX_BATCHES = 100

export interface ReceiptsContext {
  ledger: Pick<PublishingLedger, 'receipts' | 'settledBatches'>
  archive: Archive
  callers: Pick<Callers, 'payer'>
  collector: string
}

/** What an account was charged for, with proofs against the chain; and what the collector has settled, for everybody. */
export function receiptRoutes(app: FastifyInstance, { ledger, archive, callers, collector }: ReceiptsContext): void {
  app.get<{ Querystring: { before?: string; limit?: string } }>('/v1/receipts', async (request) => {
    const { accountId } = await callers.payer(request)
    const limit = pageLimit(request.query.limit, { fallback: MAX_RECEIPTS, most: MAX_RECEIPTS })
    const before = /^[0-9]{1,18}$/.test(request.query.before ?? '') ? BigInt(request.query.before ?? 0) : undefined
    const receipts = await ledger.receipts(accountId, { limit, ...(before === undefined ? {} : { before }) })
    const proofs = await proofsOf(receipts, archive)
    return { accountId, receipts: receipts.map((receipt) => describe(receipt, proofs.get(receipt.head))) }
  })

  app.get<{ Querystring: { beforeBlock?: string; limit?: string } }>('/v1/batches', async (request) => {
    const { beforeBlock = '', limit } = request.query
    const before = /^[0-9]{1,9}$/.test(beforeBlock) ? { beforeBlock: Number(beforeBlock) } : {}
    return {
      collector,
      batches: await ledger.settledBatches(collector, {
        limit: pageLimit(limit, { fallback: MAX_BATCHES, most: MAX_BATCHES }),
        ...before,
      }),
    }
  })

  app.get<{ Params: { batchId: string } }>('/v1/batches/:batchId', async (request, reply) => {
    const { batchId } = request.params
    const batch = /^0x[0-9a-f]{64}$/.test(batchId) ? await archive.bytes(batchId) : null
    if (!batch) throw new GranaryError('batch.unknown', 'No such batch is settled here.', { batchId: batchId.slice(0, 66) })
    const { bytes, transaction, cid } = batch
    reply.header('granary-transaction', transaction)
    if (cid !== null) reply.header('granary-cid', cid)
    return reply.type('application/json').send(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length))
  })
}

/** By head, of those that are in a settled batch; each batch's tree is built once. */
async function proofsOf(receipts: readonly StoredReceipt[], archive: Archive) {
  const proofs = new Map<string, { transaction: string; proof: readonly string[] }>()
  const settled = Map.groupBy(
    receipts.filter(({ state }) => state === 'FINAL'),
    ({ batchId }) => batchId ?? '',
  )
  for (const [batchId, inBatch] of settled) {
    const heads = inBatch.map(({ head }) => head)
    const batch = await archive.proofs(batchId, heads)
    for (const [head, proof] of batch?.proofs ?? []) proofs.set(head, { transaction: batch?.transaction ?? '', proof })
  }
  return proofs
}

function describe(stored: StoredReceipt, settled: { transaction: string; proof: readonly string[] } | undefined) {
  const { sequence, previousHead, head, charged, receipt, providerSignature, key, state, batchId, requestId } = stored
  return {
    requestId,
    key,
    state,
    sequence: sequence.toString(),
    previousHead,
    head,
    charged: charged.toString(),
    job: publishedJob(receipt),
    providerSignature,
    batchId,
    transaction: settled?.transaction ?? null,
    proof: settled?.proof ?? null,
  }
}
