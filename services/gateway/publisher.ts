import type { Log } from '../adapters/log.ts'
import type { ContentStore } from '../core/ports.ts'
import type { PublishingLedger } from '../core/settlement-ledger.ts'
import type { Archive } from './archive/archive.ts'

const AT_ONCE = 64
const PAUSE_MS = 2000

export interface PublisherOptions {
  ledger: Pick<PublishingLedger, 'unpublishedBatches' | 'publishedAs'>
  archive: Pick<Archive, 'bytes'>
  store: Pick<ContentStore, 'put'>
  collector: string
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

async function publishOne(batchId: string, { ledger, archive, store, log }: PublisherOptions): Promise<number> {
  const batch = await archive.bytes(batchId, 'always')
  if (!batch) return 0
  const { bytes } = batch
  const cid = await store.put(bytes)
  await ledger.publishedAs(batchId, cid)
  log.info({ event: 'batch.published', batchId, cid, bytes: bytes.length })
  return 1
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
