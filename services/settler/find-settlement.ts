import type { Head, TransactionOutcome } from '../core/chain-records.ts'
import type { Chain } from '../core/ports.ts'

const RANGE_BLOCKS = 2000
const MAX_RANGES = 50

/**
 * The transaction that executed a collector's batch, looked for from the head backwards; null if the last 100,000 blocks have none.
 * A batch id is its collector's own: another collector may have settled one of the same id.
 */
export async function findSettlement(
  chain: Chain,
  { collector, batchId, head }: { collector: string; batchId: string; head: Head },
): Promise<TransactionOutcome | null> {
  for (let range = 0, to = head.number; range < MAX_RANGES && to >= 0; range += 1, to -= RANGE_BLOCKS) {
    const events = await chain.events(Math.max(0, to - RANGE_BLOCKS + 1), to)
    const settled = events.find(
      ({ name, args }) => name === 'BatchSettled' && args.batchId === batchId && sameAddress(args.collector, collector),
    )
    if (settled) return chain.outcome(settled.transaction)
  }
  return null
}

function sameAddress(found: unknown, wanted: string): boolean {
  return String(found).toLowerCase() === wanted.toLowerCase()
}
