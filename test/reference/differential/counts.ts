import { tableIn } from '../model/consent.ts'
import { type Cooperative, epochAt } from '../model/cooperative.ts'
import type { Act } from './acts.ts'
import { type Event, OPENED_AT } from './chain.ts'

/** What was reached, by words. */
export type Counts = Map<string, number>

/** In the contract's order. */
export const SKIPS = ['None', 'Stale', 'Unsigned', 'OverCeiling', 'OverCap', 'Unfunded', 'KeyEnded', 'LaneRefused']

interface Done {
  act: Act
  error: string | null
  cooperative: Cooperative
  events: readonly Event[]
}

export function countAct(counts: Counts, { act, error, cooperative, events }: Done): void {
  const count = (what: string) => counts.set(what, (counts.get(what) ?? 0) + 1)
  count(error === null ? `act ${act.kind}` : `refused ${act.kind}`)
  if (error !== null) return void count(`error ${error}`)
  if (isSigned(act)) count(`signed ${act.kind}`)
  for (const { name, args } of events) {
    if (name === 'RowSkipped') count(`skip ${SKIPS[Number(args.reason)]}`)
    if (name === 'LaneRefused') count('lane refused')
    if (name === 'LaneSettled') count('lane settled')
  }
  if (act.kind === 'settle') {
    count(events.length === 0 ? 'batch repeated' : 'batch executed')
    const rows = act.rows.length - events.filter(({ name }) => name === 'RowSkipped').length
    for (let row = 0; row < rows && events.length > 0; row++) count('row applied')
  }
  for (const what of moreOf(act, cooperative)) count(what)
}

function isSigned(act: Act): boolean {
  if (act.kind === 'claim') return act.relay !== null
  return 'signature' in act && act.signature !== null
}

function moreOf(act: Act, { rules, datasets, models, now }: Cooperative): string[] {
  const epoch = epochAt(rules, now)
  if (act.kind === 'register-model') return act.offer.parents.length > 0 ? ['derived model'] : ['first model']
  if (act.kind === 'pull') return act.epochs.some((each) => each < epoch) ? ['late pull'] : []
  if (act.kind === 'prove-exit') {
    const proven = datasets.get(act.poolId)?.exits.some(({ account, at }) => account === act.account && at === now)
    return [proven ? 'exit proven' : 'nothing proven']
  }
  if (act.kind !== 'claim') return []
  const pool = datasets.get(act.payeeId)
  const kind = pool?.isPool ? 'claim from pool' : models.has(act.payeeId) ? 'claim of author' : 'claim of owner'
  const tables = pool?.isPool ? act.epochs.map((each) => tableIn(pool, each)?.fromEpoch) : []
  return [
    kind,
    ...(act.epochs.length > 1 ? ['claim over several epochs'] : []),
    ...(pool?.withdrawn ? ['claim after withdrawal'] : []),
    ...(pool?.isPool && tables.some((from) => from !== pool.tables.at(-1)?.fromEpoch) ? ['claim by an earlier table'] : []),
  ]
}

/** What the end of a history looks like. */
export function countState(counts: Counts, cooperative: Cooperative): void {
  const { datasets, models, accounts, income, now, rules } = cooperative
  const count = (what: string, holds: boolean) => {
    if (holds) counts.set(what, (counts.get(what) ?? 0) + 1)
  }
  const epochs = new Set([...income.keys()].map((name) => name.split(' ')[1]))
  const funded = [...accounts.values()].filter(({ deposit }) => deposit > 0n)
  count('history', true)
  count('history with several payers', new Set(funded.map(({ payer }) => payer)).size > 1)
  count('history with several collectors', new Set(funded.map(({ collector }) => collector)).size > 1)
  count(
    'history with granted keys',
    funded.some(({ keys }) => keys.size > 0),
  )
  count('history with income in several epochs', epochs.size > 1)
  count(
    'history with a pool of several tables',
    [...datasets.values()].some(({ tables }) => tables.length > 1),
  )
  count(
    'history with a pool in a lineage',
    [...models.values()].some((model) => model.payees.some(({ id }) => datasets.get(id)?.isPool)),
  )
  count(
    'history with a withdrawal',
    [...datasets.values()].some(({ withdrawn }) => withdrawn),
  )
  count(
    'history with an end in force',
    [...models.values()].some((model) => [...model.storedEnds.values()].some((end) => end <= now)),
  )
  count(
    'history with several proven exits',
    [...datasets.values()].some(({ exits }) => exits.length > 1),
  )
  count('history over several epochs', epochAt(rules, now) > epochAt(rules, OPENED_AT) + 1)
}
