import type { Log } from '../adapters/log.ts'
import type { Head } from '../core/chain-records.ts'
import type { Mirror, MirrorLedger } from '../core/mirror-ledger.ts'
import type { Chain } from '../core/ports.ts'

/** Blocks read again each round, so that an event which a small reorg moved is not missed. */
const OVERLAP_BLOCKS = 16
const RANGE_BLOCKS = 2000
/** A dataset is looked at again for this long: the indexer may not know a model yet that uses it. */
const DIRTY_MS = 30_000
const LOOK_MS = 2000
const MAX_MIRRORS = 10_000
const PURPOSES = 32

const consentEvents = ['DatasetWithdrawn', 'DatasetNarrowed', 'PoolExitProven']

export interface ModelSyncOptions {
  chain: Chain
  ledger: Pick<MirrorLedger, 'cursor' | 'mirrors'>
  log: Log
  now?: () => number
}

/**
 * Settlement reads stored ends, which only `ModelRegistry.sync` lowers; anyone may call it, and a settler has gas. One
 * round follows consent events and syncs the models whose stored ends are later than what consent says now. Returns how
 * many it synced.
 */
export function openModelSync({
  chain,
  ledger,
  log,
  now = () => performance.now(),
}: ModelSyncOptions): (head?: Head) => Promise<number> {
  const dirtyUntil = new Map<string, number>()
  let cursor: number | null = null
  let lookedAt = Number.NEGATIVE_INFINITY

  async function round(head?: Head): Promise<number> {
    const fresh = cursor === null ? await start() : await follow(cursor, head ?? (await chain.head()))
    if (dirtyUntil.size === 0 || (!fresh && now() - lookedAt < LOOK_MS)) return 0
    lookedAt = now()
    const models = await ledger.mirrors('model', MAX_MIRRORS)
    let synced = 0
    for (const model of models.filter((candidate) => datasetsOf(candidate).some((id) => dirtyUntil.has(id)))) {
      if (await isBehind(chain, model)) synced += await sync(model.id)
    }
    for (const [id, until] of dirtyUntil) if (until < now()) dirtyUntil.delete(id)
    return synced
  }

  /** What happened while no settler ran shows in the mirrors; events are followed from where these end. */
  async function start(): Promise<boolean> {
    const from = (await ledger.cursor())?.number ?? (await chain.head()).number
    const datasets = await ledger.mirrors('dataset', MAX_MIRRORS)
    for (const { id } of datasets.filter(hasChanged)) dirtyUntil.set(id, now() + DIRTY_MS)
    cursor = from
    return true
  }

  async function follow(from: number, head: Head): Promise<boolean> {
    const to = Math.min(head.number, from + RANGE_BLOCKS)
    const since = Math.max(0, Math.min(from, to) - OVERLAP_BLOCKS)
    // Only these are asked for: a busy escrow's would be read again in each round.
    const events = to === from ? [] : await chain.events(since, to, consentEvents)
    cursor = to
    const changed = events
      .filter(({ name }) => consentEvents.includes(name))
      .map(({ args }) => String(args.datasetId ?? args.poolId))
    const fresh = changed.some((id) => !dirtyUntil.has(id))
    for (const id of changed) dirtyUntil.set(id, now() + DIRTY_MS)
    return fresh
  }

  async function sync(modelId: string): Promise<number> {
    try {
      const { gasUsed } = await chain.submit(
        { contract: 'ModelRegistry', method: 'sync', args: [modelId] },
        { timeoutMs: 15_000 },
      )
      log.info({ event: 'model.synced', modelId, gasUsed: gasUsed.toString() })
      return 1
    } catch (error) {
      log.warn({ event: 'model.sync-failed', modelId, error })
      return 0
    }
  }

  return round
}

function datasetsOf({ state }: Mirror): string[] {
  const payees = Array.isArray(state?.payees) ? (state.payees as { id: string; isDataset: boolean }[]) : []
  return payees.filter(({ isDataset }) => isDataset).map(({ id }) => id)
}

/** Less than its terms offered, or a pool, whose members may have left. */
function hasChanged({ state }: Mirror): boolean {
  const terms = state?.terms as Record<string, unknown> | undefined
  if (!state || !terms) return false
  const offered = BigInt(String(terms.purposes)) & ~BigInt(String(terms.prohibitions))
  return (
    state.withdrawn === true ||
    state.isPool === true ||
    BigInt(String(state.endsAt)) < BigInt(String(terms.validUntil)) ||
    BigInt(String(state.purposes)) !== offered
  )
}

/** Whether a stored end is later than the earliest end that a dataset of the lineage allows. */
async function isBehind(chain: Chain, model: Mirror): Promise<boolean> {
  const purposes = BigInt(String(model.state?.purposes ?? 0))
  const registeredAt = String(model.state?.registeredAt ?? 0)
  for (let purpose = 0; purpose < PURPOSES; purpose += 1) {
    if ((purposes & (1n << BigInt(purpose))) === 0n) continue
    const stored = await end(chain, 'ModelRegistry', [model.id, purpose])
    for (const dataset of datasetsOf(model)) {
      if ((await end(chain, 'DatasetRegistry', [dataset, purpose, registeredAt])) < stored) return true
    }
  }
  return false
}

async function end(chain: Chain, contract: string, args: unknown[]): Promise<bigint> {
  return BigInt(String(await chain.read({ contract, method: 'serveEnd', args })))
}
