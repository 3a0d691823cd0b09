import type { FastifyInstance } from 'fastify'
import { GranaryError } from '../../core/errors.ts'
import { receiptProofs } from '../../core/merkle.ts'
import { type Escrow, publishedJob } from '../../core/published-batch.ts'
import type { PublishingLedger, StoredReceipt } from '../../core/settlement-ledger.ts'
import type { Callers } from '../callers.ts'
import { pageLimit } from '../page-limit.ts'
import { bytesOf } from '../publisher.ts'

const MAX_RECEIPTS = 100
const MAX_BATCHES = 100

export interface ReceiptsContext {
  ledger: PublishingLedger
  callers: Pick<Callers, 'payer'>
  collector: string
  escrow: Escrow
}

/** What an account was charged for, with proofs against the chain; and what the collector has settled, for everybody. */
export function receiptRoutes(app: FastifyInstance, { ledger, callers, collector, escrow }: ReceiptsContext): void {
  app.get<{ Querystring: { before?: string; limit?: string } }>('/v1/receipts', async (request) => {
    const { accountId } = await callers.payer(request)
    const limit = pageLimit(request.query.limit, { fallback: MAX_RECEIPTS, most: MAX_RECEIPTS })
    const before = /^[0-9]{1,18}$/.test(request.query.before ?? '') ? BigInt(request.query.before ?? 0) : undefined
    const receipts = await ledger.receipts(accountId, { limit, ...(before === undefined ? {} : { before }) })
    const proofs = await proofsOf(receipts, ledger)
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
    const settled = /^0x[0-9a-f]{64}$/.test(batchId) ? await ledger.settledBatch(batchId) : null
    if (!settled) throw new GranaryError('batch.unknown', 'No such batch is settled here.', { batchId: batchId.slice(0, 66) })
    const { transaction, cid } = settled
    reply.header('granary-transaction', transaction)
    if (cid !== null) reply.header('granary-cid', cid)
    return reply.type('application/json').send(Buffer.from(await bytesOf(settled.draft, { ledger, escrow })))
  })
}

/** By head, of those that are in a settled batch; each batch's tree is built once. */
async function proofsOf(receipts: readonly StoredReceipt[], ledger: PublishingLedger) {
  const proofs = new Map<string, { transaction: string; proof: string[] }>()
  const settled = Map.groupBy(
    receipts.filter(({ state }) => state === 'FINAL'),
    ({ batchId }) => batchId ?? '',
  )
  for (const [batchId, inBatch] of settled) {
    const batch = await ledger.settledBatch(batchId)
    if (!batch) continue
    const heads = inBatch.map(({ head }) => head)
    for (const [head, proof] of receiptProofs(batch.draft.leaves, heads))
      proofs.set(head, { transaction: batch.transaction, proof })
  }
  return proofs
}

function describe(stored: StoredReceipt, settled: { transaction: string; proof: string[] } | undefined) {
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
