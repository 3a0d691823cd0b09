import type { Call } from '../core/chain-records.ts'
import type { Mirror } from '../core/mirror-ledger.ts'
import type { Chain } from '../core/ports.ts'
import { configOf, type IndexedLedger, type Touched } from './touched.ts'

/** Views that run at the same time: enough to hide latency, few enough for any node. */
const PARALLEL_READS = 16
/** A batch touches hundreds of accounts and keys, each of which is one view. */
const TOGETHER = 64
const NOBODY = `0x${'00'.repeat(20)}`

type State = Record<string, unknown>

interface Reading {
  chain: Chain
  ledger: IndexedLedger
  block: number
}

/** Reads things as they are at `block`, with what only events tell taken from there or from the mirror before. */
export async function readMirrors(touched: readonly Touched[], reading: Reading): Promise<Mirror[]> {
  const mirrors: Mirror[] = []
  for (const some of groupsOf(touched.filter(isMoney), TOGETHER)) mirrors.push(...(await readMoney(some, reading)))
  for (const some of groupsOf(touched.filter(isNamed), PARALLEL_READS))
    mirrors.push(...(await Promise.all(some.map((thing) => readNamed(thing, reading)))))
  return mirrors
}

type Money = Touched & { kind: 'account' | 'key' }
type Named = Touched & { kind: Exclude<Mirror['kind'], Money['kind']> }

function isMoney(thing: Touched): thing is Money {
  return thing.kind === 'account' || thing.kind === 'key'
}

function isNamed(thing: Touched): thing is Named {
  return !isMoney(thing)
}

function* groupsOf<Thing>(things: readonly Thing[], size: number): Generator<Thing[]> {
  for (let start = 0; start < things.length; start += size) yield things.slice(start, start + size)
}

function mirrorOf({ kind, id }: Touched, { state, block }: { state: State | null; block: number }): Mirror {
  return { kind, id, block, state: state === null ? null : (jsonOf(state) as State) }
}

async function readMoney(things: readonly Money[], { chain, ledger, block }: Reading): Promise<Mirror[]> {
  const calls = things.map(({ kind, id }) =>
    kind === 'account'
      ? { contract: 'InferenceEscrow', method: 'balance', args: [id] }
      : { contract: 'InferenceEscrow', method: 'key', args: id.split(':') },
  )
  const states = (await chain.readAll(calls, block)) as State[]
  return Promise.all(
    things.map(async (thing, index) => {
      const state = states[index] ?? {}
      return mirrorOf(thing, { block, state: thing.kind === 'key' ? grantedOnly(state) : await withConfig(thing, state, ledger) })
    }),
  )
}

function grantedOnly(key: State): State | null {
  return key.notAfter === 0n && key.revokedAt === 0n ? null : key
}

async function withConfig({ id, config }: Money, balance: State, ledger: IndexedLedger): Promise<State | null> {
  const known = config ?? (await knownConfig(id, ledger))
  return known === null ? null : { ...balance, ...known }
}

async function readNamed(thing: Named, reading: Reading): Promise<Mirror> {
  return mirrorOf(thing, { state: await readers[thing.kind](thing, reading), block: reading.block })
}

const readers: Record<Named['kind'], (thing: Touched, reading: Reading) => Promise<State | null>> = {
  async dataset(thing, reading) {
    const dataset = await view({ contract: 'DatasetRegistry', method: 'dataset', args: [thing.id] }, reading)
    if (dataset.owner === NOBODY) return null
    const terms = await view({ contract: 'DatasetRegistry', method: 'termsOf', args: [thing.id] }, reading)
    return { ...dataset, terms }
  },
  async model(thing, reading) {
    const model = await view({ contract: 'ModelRegistry', method: 'model', args: [thing.id] }, reading)
    if (model.author === NOBODY) return null
    const payees = await reading.chain.read({ contract: 'ModelRegistry', method: 'payees', args: [thing.id] }, reading.block)
    const parents = thing.parents ?? (await reading.ledger.mirror('model', thing.id))?.state?.parents ?? []
    return { ...model, payees, parents }
  },
  async provider(thing, reading) {
    const provider = await view({ contract: 'ProviderRegistry', method: 'provider', args: [thing.id] }, reading)
    return provider.sessionKey === NOBODY ? null : provider
  },
  async offer(thing, reading) {
    const offer = await view({ contract: 'ProviderRegistry', method: 'offer', args: thing.id.split(':') }, reading)
    return offer.unitPrice === 0n ? null : offer
  },
}

async function view(call: Call, { chain, block }: Reading): Promise<State> {
  return (await chain.read(call, block)) as State
}

/** An account's configuration never changes: it is its id. */
async function knownConfig(accountId: string, ledger: IndexedLedger) {
  const mirror = await ledger.mirror('account', accountId)
  return mirror?.state ? configOf(mirror.state) : ledger.account(accountId)
}

/** Integers become decimal strings, so that a mirror can be stored as JSON. */
function jsonOf(value: unknown): unknown {
  if (typeof value === 'bigint') return value.toString()
  if (Array.isArray(value)) return value.map(jsonOf)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, jsonOf(item)]))
}
