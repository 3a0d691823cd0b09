import { accountIdOf } from '../core/accounts.ts'
import type { Call, ChainEvent } from '../core/chain-records.ts'
import type { Mirror, MirrorLedger } from '../core/mirror-ledger.ts'
import type { Chain } from '../core/ports.ts'
import { decodeRows, type Row } from '../core/rows.ts'
import type { AccountConfig, SellingLedger } from '../core/selling-ledger.ts'

/** What the indexer needs of the ledger. */
export type IndexedLedger = MirrorLedger & Pick<SellingLedger, 'account'>

/** A mirror that must be read again, with what only its event tells. */
export interface Touched {
  kind: Mirror['kind']
  id: string
  /** Accounts: the view function knows amounts only. */
  config?: AccountConfig
  /** Models: direct parent models. */
  parents?: unknown
}

/** How many accounts or keys are looked through when a batch's rows cannot be seen. */
const FALLBACK_LIMIT = 10_000

type Named = Exclude<Mirror['kind'], 'account' | 'key'>

/** Events whose arguments name what they changed. */
const subjects: Record<string, { kind: Named; argument: string }> = {
  DatasetRegistered: { kind: 'dataset', argument: 'datasetId' },
  DatasetNarrowed: { kind: 'dataset', argument: 'datasetId' },
  DatasetWithdrawn: { kind: 'dataset', argument: 'datasetId' },
  ShareTableAnnounced: { kind: 'dataset', argument: 'poolId' },
  WithdrawnFromPool: { kind: 'dataset', argument: 'poolId' },
  PoolExitProven: { kind: 'dataset', argument: 'poolId' },
  ModelRegistered: { kind: 'model', argument: 'modelId' },
  ModelSynced: { kind: 'model', argument: 'modelId' },
  ModelSuspended: { kind: 'model', argument: 'modelId' },
  ProviderRegistered: { kind: 'provider', argument: 'operator' },
  Staked: { kind: 'provider', argument: 'operator' },
  UnstakingStarted: { kind: 'provider', argument: 'operator' },
  Unstaked: { kind: 'provider', argument: 'operator' },
}

const accountEvents = new Set(['Deposited', 'ThawStarted', 'ThawCancelled', 'Withdrawn'])
const keyEvents = new Set(['KeyGranted', 'KeyRevoked'])
const offerEvents = new Set(['OfferSet', 'OfferEnded'])

/** Each thing once, however many events touched it. */
export async function touchedBy(
  events: readonly ChainEvent[],
  world: { chain: Chain; ledger: IndexedLedger },
): Promise<Touched[]> {
  const found = new Map<string, Touched>()
  for (const event of events) {
    for (const touched of event.name === 'BatchSettled' ? await touchedByBatch(event, world) : named(event)) {
      const key = `${touched.kind} ${touched.id}`
      found.set(key, { ...found.get(key), ...touched })
    }
  }
  return [...found.values()]
}

function named({ contract, name, args }: ChainEvent): Touched[] {
  if (contract === 'InferenceEscrow' && accountEvents.has(name)) {
    const id = String(args.accountId)
    return [name === 'Deposited' ? { kind: 'account', id, config: configOf(args) } : { kind: 'account', id }]
  }
  if (contract === 'InferenceEscrow' && keyEvents.has(name)) return [{ kind: 'key', id: `${args.accountId}:${args.key}` }]
  if (contract === 'ProviderRegistry' && offerEvents.has(name)) return [{ kind: 'offer', id: `${args.operator}:${args.modelId}` }]
  const subject = subjects[name]
  if (!subject) return []
  const touched: Touched = { kind: subject.kind, id: String(args[subject.argument]) }
  return [name === 'ModelRegistered' ? { ...touched, parents: args.parents } : touched]
}

/** A batch's events name no accounts: its rows do, in the transaction's input. */
async function touchedByBatch(event: ChainEvent, { chain, ledger }: { chain: Chain; ledger: IndexedLedger }): Promise<Touched[]> {
  const rows = rowsOf(await chain.callOf(event.transaction), String(event.args.batchId))
  if (rows === null) return allOfCollector(String(event.args.collector), ledger)
  const { chainId, addresses } = chain
  const escrow = { chainId, address: addresses.InferenceEscrow ?? '', token: addresses.Token ?? '' }
  return rows.flatMap((row): Touched[] => {
    const config = configOf({ ...row, collector: event.args.collector })
    const id = accountIdOf(config, escrow)
    const account: Touched = { kind: 'account', id, config }
    return row.key === row.payer ? [account] : [account, { kind: 'key', id: `${id}:${row.key}` }]
  })
}

/** Null when the transaction was not a plain settleBatch of this batch, such as one through another contract. */
function rowsOf(call: Call | null, batchId: string): Row[] | null {
  if (call?.contract !== 'InferenceEscrow' || call.method !== 'settleBatch') return null
  const batch = call.args[0] as { batchId: string; rows: string }
  return batch.batchId === batchId ? decodeRows(batch.rows) : null
}

async function allOfCollector(collector: string, ledger: IndexedLedger): Promise<Touched[]> {
  const accounts = (await ledger.mirrors('account', FALLBACK_LIMIT)).filter(({ state }) => state?.collector === collector)
  const ids = new Set(accounts.map(({ id }) => id))
  const keys = (await ledger.mirrors('key', FALLBACK_LIMIT)).filter(({ id }) => ids.has(id.split(':')[0] ?? ''))
  return [...accounts, ...keys].map(({ kind, id }) => ({ kind, id }))
}

/** From an event's arguments, a row, or a mirror's state. */
export function configOf(source: Record<string, unknown>): AccountConfig {
  const { payer, collector, thawSeconds, salt } = source
  return { payer: String(payer), collector: String(collector), thawSeconds: Number(thawSeconds), salt: String(salt) }
}
