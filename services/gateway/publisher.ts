import { isDeepStrictEqual } from 'node:util'
import type { Log } from '../adapters/log.ts'
import { GranaryError } from '../core/errors.ts'
import type { ContentStore } from '../core/ports.ts'
import { type Escrow, encodeBatch, MAX_BATCH_BYTES, publishBatch, rebuildBatch } from '../core/published-batch.ts'
import { toBatchArgument } from '../core/settlement.ts'
import type { BatchDraft, PublishingLedger } from '../core/settlement-ledger.ts'

const AT_ONCE = 64
const PAUSE_MS = 2000

export interface PublisherOptions {
  ledger: Pick<PublishingLedger, 'unpublishedBatches' | 'settledBatch' | 'receiptsOf' | 'publishedAs'>
  store: Pick<ContentStore, 'put'>
  collector: string
  escrow: Escrow
  log: Log
}

/**
 * One round: puts settled batches with their receipts to IPFS; returns how many. Gateways side by side put the same bytes, so
 * none is in the other's way, and a batch that can't be published holds up no other.
 */
export async function publishRound(options: PublisherOptions): Promise<number> {
  const { ledger, collector, log } = options
  let published = 0
  for (const batchId of await ledger.unpublishedBatches(collector, AT_ONCE)) {
    try {
      published += await publishOne(batchId, options)
    } catch (error) {
      log.warn({ event: 'batch.not-published', batchId, error })
    }
  }
  return published
}

async function publishOne(batchId: string, { ledger, store, escrow, log }: PublisherOptions): Promise<number> {
  const settled = await ledger.settledBatch(batchId)
  if (!settled) return 0
  const bytes = await bytesOf(settled.draft, { ledger, escrow })
  const cid = await store.put(bytes)
  await ledger.publishedAs(batchId, cid)
  log.info({ event: 'batch.published', batchId, cid, bytes: bytes.length })
  return 1
}

/** The bytes to publish; refuses to show what would not rebuild the transaction that was sent. */
export async function bytesOf(
  draft: BatchDraft,
  { ledger, escrow }: { ledger: Pick<PublishingLedger, 'receiptsOf'>; escrow: Escrow },
): Promise<Uint8Array> {
  const receipts = await ledger.receiptsOf(draft.rows.flatMap(({ requestIds }) => requestIds))
  const published = publishBatch(draft, { receipts, escrow })
  if (!isDeepStrictEqual(rebuildBatch(published, null).argument, toBatchArgument(draft)))
    throw new GranaryError('internal', 'The receipts of a batch do not rebuild it.', { batchId: draft.batchId })
  const bytes = encodeBatch(published)
  if (bytes.length > MAX_BATCH_BYTES)
    throw new GranaryError('internal', 'A batch is too large to be published.', { bytes: bytes.length })
  return bytes
}

/** Rounds until disposed. */
export function openPublisher(options: PublisherOptions): AsyncDisposable {
  let stopped = false
  let timer: NodeJS.Timeout | undefined
  let running: Promise<void> = Promise.resolve()
  const round = async () => {
    await publishRound(options).catch((error: unknown) => options.log.warn({ event: 'batch.not-published', error }))
    if (!stopped) timer = setTimeout(start, PAUSE_MS)
  }
  const start = () => {
    running = round()
  }
  start()
  return {
    async [Symbol.asyncDispose]() {
      stopped = true
      clearTimeout(timer)
      await running
    },
  }
}
