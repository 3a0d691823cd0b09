import type { Head } from '../core/chain-records.ts'
import type { SettlerOptions } from './batches.ts'

/** How far back settled batches are looked at again. */
const REORG_BLOCKS = 256

/**
 * A reorganisation deeper than the confirmations took a settled batch back: it is sent again, as if it had never been mined.
 * Returns whether all stand now; not before the head is past the newest again, where a node lags.
 */
export async function reopenLost(
  { chain, ledger, collector, log }: Pick<SettlerOptions, 'chain' | 'ledger' | 'collector' | 'log'>,
  head: Head,
): Promise<boolean> {
  const settled = await ledger.finalBatches(collector, head.number - REORG_BLOCKS)
  // The newest goes first: if that block stands, so do all before it.
  for (const { batchId, block, blockHash } of settled) {
    if (block > head.number) return false
    if ((await chain.block(block))?.hash === blockHash) return true
    await ledger.reopenBatch(batchId)
    log.error({ event: 'batch.reopened', batchId, block, blockHash })
  }
  return true
}
