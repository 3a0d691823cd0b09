import type { Head } from '../core/chain-records.ts'
import { type Economy, economyOf } from '../core/economy.ts'
import type { BatchDraft } from '../core/settlement-ledger.ts'
import type { SettlerOptions } from './batches.ts'

/** A look through all that waits, after which nothing was worth its gas, is repeated after so many times what it took. */
const REST_FACTOR = 20
const LONGEST_REST_MS = 60_000

export interface Drafting extends SettlerOptions {
  now: () => number
  restUntil: number
  windowSeconds: number | null
}

/** A batch of what is old enough, or at risk, and worth its gas; null where nothing is. Ends what has become too old. */
export async function nextBatch(drafting: Drafting, head: Head): Promise<BatchDraft | null> {
  const { ledger, collector, maxAgeSeconds, minGross, maxRows, maxLanes } = drafting
  const { oldestServedAt, atRisk } = await ledger.due(collector)
  if (oldestServedAt === null) return null
  const age = head.timestamp - oldestServedAt
  const window = await settlementWindow(drafting)
  if (age > window) await expire(drafting, head.timestamp - window)
  if (atRisk === 0n && (age < maxAgeSeconds || drafting.now() < drafting.restUntil)) return null
  const startedAt = drafting.now()
  const drafted = await ledger.draftBatch({
    batchId: drafting.randomId(),
    collector,
    minGross: age * 2 >= window || atRisk > 0n ? 1n : minGross,
    // A lane that was served after the chain's clock would be refused.
    servedBefore: head.timestamp + 1,
    maxRows,
    maxLanes,
    economy: await economyNow(drafting),
  })
  const endedAt = drafting.now()
  if (!drafted) drafting.restUntil = endedAt + Math.min(REST_FACTOR * (endedAt - startedAt), LONGEST_REST_MS)
  return drafted
}

/** What never earned its gas is too old by now: the payer keeps the money, and the operator is told. */
async function expire({ ledger, collector, log }: Drafting, servedBefore: number): Promise<void> {
  const requests = await ledger.expire({ collector, servedBefore })
  if (requests > 0) log.error({ event: 'requests.expired', requests, servedBefore })
}

async function economyNow({ chain, collector, coinPrice }: Drafting): Promise<Economy> {
  const call = { contract: 'InferenceEscrow', method: 'collectorFeePpm', args: [collector] }
  const [feePpm, gasPrice] = await Promise.all([chain.read(call), chain.gasPrice()])
  return economyOf({ feePpm: BigInt(String(feePpm)), gasPrice, coinPrice })
}

export async function settlementWindow(drafting: Drafting): Promise<number> {
  const call = { contract: 'InferenceEscrow', method: 'MAX_SETTLEMENT_SECONDS', args: [] }
  drafting.windowSeconds ??= Number(await drafting.chain.read(call))
  return drafting.windowSeconds
}
