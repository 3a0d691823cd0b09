import type { Chain, Head, TransactionOutcome } from '../core/ports.ts'

const RANGE_BLOCKS = 2000
const MAX_RANGES = 50

/** The transaction that executed a batch, looked for from the head backwards; null if the last 100,000 blocks have none. */
export async function findSettlement(
  chain: Chain,
  { batchId, head }: { batchId: string; head: Head },
): Promise<TransactionOutcome | null> {
  for (let range = 0, to = head.number; range < MAX_RANGES && to >= 0; range += 1, to -= RANGE_BLOCKS) {
    const events = await chain.events(Math.max(0, to - RANGE_BLOCKS + 1), to)
    const settled = events.find(({ name, args }) => name === 'BatchSettled' && args.batchId === batchId)
    if (settled) return chain.outcome(settled.transaction)
  }
  return null
}
