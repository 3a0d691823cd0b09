import type { Log } from '../adapters/log.ts'
import type { Call, TransactionOutcome } from '../core/chain-records.ts'
import { GranaryError } from '../core/errors.ts'
import type { Chain } from '../core/ports.ts'
import { type Budget, type Cost, draw, openBudget, openBudgets } from './relay-budget.ts'
import { isDone, isGranted, personOf, type RelayedAct, readAct } from './relayed-act.ts'

const MINUTE_MS = 60_000
const DAY_MS = 24 * 60 * MINUTE_MS
/** Of one dataset, in a day, that no budget can refuse: more than there are purposes to take away one by one. */
const FREE_NARROWINGS = 48
const MAX_PEOPLE = 10_000
const MAX_UNDER_WAY = 2000
/** Errands that nobody needs twice. */
const onceForAll = new Set(['DatasetRegistry.storeTerms', 'Membership.activate'])
const MAX_REMEMBERED = 10_000

export interface RelaySettings {
  /** Of all acts together but those that no budget can refuse. */
  perMinute: number
  /** A day's, of each person. */
  person: Cost
  /** A day's, three times: of people who are no members, of errands, of exits from pools by people who are no members. */
  shared: Cost
}

export interface Relay {
  /** Simulated before it is paid for; the same act that is under way, or was done before, is not paid twice. */
  submit(call: Call): Promise<TransactionOutcome>
}

type Payers = 'nobody' | 'person' | 'newcomers' | 'errands' | 'exits'

/**
 * The gateway pays the gas for acts of others, within a budget of each person whose act it is. What takes a consent, a key or a
 * membership away is never refused for a budget: there is never more of it than was given before.
 */
export function openRelay(options: { chain: Chain; settings: RelaySettings; clockMs: () => number; log: Log }): Relay {
  const { chain, log } = options
  const budgets = openRelayBudgets(options)
  const underWay = new Map<string, Promise<TransactionOutcome>>()
  const remembered = new Map<string, TransactionOutcome>()

  async function pay(act: RelayedAct, gas: number): Promise<TransactionOutcome> {
    const done = await isDone(act, chain)
    const earlier = remembered.get(act.key)
    if (done && earlier) return earlier
    const { payers, from } = await payersOf(act, { chain, done, budgets })
    const waitMs = draw(from, { acts: 1, gas })
    if (waitMs > 0) throw spent(act, payers, waitMs)
    const outcome = await settle(from, gas, () => chain.submit(act.call))
    if (act.kind === 'ending' || onceForAll.has(act.name)) remember(act.key, outcome)
    log.info({ event: 'act.relayed', act: act.name, payers, transaction: outcome.hash, gasUsed: outcome.gasUsed.toString() })
    return outcome
  }

  function remember(key: string, outcome: TransactionOutcome): void {
    remembered.set(key, outcome)
    const oldest = remembered.keys().next()
    if (remembered.size > MAX_REMEMBERED && !oldest.done) remembered.delete(oldest.value)
  }

  return {
    async submit(call) {
      const act = readAct(call)
      const gas = Number(await chain.estimate(call).catch(asRefusal))
      const same = underWay.get(act.key)
      if (same) return same
      if (underWay.size >= MAX_UNDER_WAY) throw new GranaryError('rate.limited', 'The gateway waits for as many acts as it can.')
      const result = pay(act, gas)
        .catch(asRefusal)
        .finally(() => underWay.delete(act.key))
      underWay.set(act.key, result)
      return result
    },
  }
}

interface RelayBudgets {
  minute: Budget
  people: { of(key: string): Budget }
  strangers: { of(key: string): Budget }
  newcomers: Budget
  errands: Budget
  exits: Budget
  narrowings: { of(key: string): Budget }
}

function openRelayBudgets({ settings, clockMs }: { settings: RelaySettings; clockMs: () => number }): RelayBudgets {
  const { perMinute, person, shared } = settings
  const daily = { periodMs: DAY_MS, clockMs }
  const unlimited = Number.MAX_SAFE_INTEGER
  return {
    minute: openBudget({ limit: { acts: perMinute, gas: unlimited }, periodMs: MINUTE_MS, clockMs }),
    people: openBudgets({ limit: person, ...daily, most: MAX_PEOPLE }),
    // Apart from members', whom a crowd of fresh keys must not make us forget.
    strangers: openBudgets({ limit: person, ...daily, most: MAX_PEOPLE }),
    newcomers: openBudget({ limit: shared, ...daily }),
    errands: openBudget({ limit: shared, ...daily }),
    exits: openBudget({ limit: shared, ...daily }),
    narrowings: openBudgets({ limit: { acts: FREE_NARROWINGS, gas: unlimited }, ...daily, most: MAX_PEOPLE }),
  }
}

/** Whose budgets an act draws from. */
async function payersOf(
  act: RelayedAct,
  { chain, done, budgets }: { chain: Chain; done: boolean; budgets: RelayBudgets },
): Promise<{ payers: Payers; from: Budget[] }> {
  const { minute, errands, exits, people, strangers, newcomers } = budgets
  if (act.kind === 'admission') return { payers: 'nobody', from: [] }
  if (act.kind === 'errand') return { payers: 'errands', from: [minute, errands] }
  const person = await personOf(act, chain)
  const isMember = await isMemberNow(person, chain)
  if (act.kind === 'ending' && !done) {
    if (act.name === 'DatasetRegistry.withdrawFromPoolBySig' && !isMember) return { payers: 'exits', from: [exits] }
    if (await isUnrefusable(act, { chain, budgets })) return { payers: 'nobody', from: [] }
  }
  if (isMember) return { payers: 'person', from: [minute, people.of(person)] }
  return { payers: 'newcomers', from: [minute, strangers.of(person), newcomers] }
}

/** What can be ended only once, and had to be given before, can't be made into an endless bill. */
async function isUnrefusable(act: RelayedAct, { chain, budgets }: { chain: Chain; budgets: RelayBudgets }): Promise<boolean> {
  if (act.name === 'InferenceEscrow.revokeKeyBySig') return isGranted(act, chain)
  if (act.name !== 'DatasetRegistry.narrowBySig') return true
  return draw([budgets.narrowings.of(String(act.args[0]))], { acts: 1, gas: 0 }) === 0
}

async function isMemberNow(account: string, chain: Chain): Promise<boolean> {
  if (chain.addresses.Membership === undefined) return false
  const memberId = await chain.read({ contract: 'Membership', method: 'memberIdOf', args: [account] })
  if (memberId === 0n) return false
  const member = (await chain.read({ contract: 'Membership', method: 'member', args: [memberId] })) as { left: boolean }
  return !member.left
}

/** Counts what was really used; what never reached the chain costs nothing, and what is not known stays counted as estimated. */
async function settle(
  budgets: readonly Budget[],
  gas: number,
  send: () => Promise<TransactionOutcome>,
): Promise<TransactionOutcome> {
  const correct = (cost: Cost) => {
    for (const budget of budgets) budget.add(cost)
  }
  try {
    const outcome = await send()
    correct({ acts: 0, gas: Number(outcome.gasUsed) - gas })
    return outcome
  } catch (error) {
    const { gasUsed, hash } = error instanceof GranaryError ? error.evidence : {}
    if (typeof gasUsed === 'string') correct({ acts: 0, gas: Number(gasUsed) - gas })
    else if (hash === undefined) correct({ acts: -1, gas: -gas })
    throw error
  }
}

/** The person can't wait for what was refused to them by the contract: it is their mistake, not the gateway's. */
function asRefusal(error: unknown): never {
  if (error instanceof GranaryError && error.code === 'chain.reverted') {
    throw new GranaryError('relay.refused', error.message, { ...error.evidence, cause: error })
  }
  throw error
}

const spentBy: Record<Exclude<Payers, 'nobody'>, string> = {
  person: 'The gateway has relayed as much for this member as it pays for in a day.',
  newcomers: 'The gateway has relayed as much for this account, or for all who are no members, as it pays for in a day.',
  errands: 'The gateway has relayed as many acts that anyone may do as it pays for in a day.',
  exits: 'The gateway has relayed as many exits from pools by people who are no members as it pays for in a day.',
}

function spent({ name }: RelayedAct, payers: Payers, waitMs: number): GranaryError {
  const retryAfterSeconds = Number.isFinite(waitMs) ? Math.ceil(waitMs / 1000) : null
  const isBrief = waitMs <= MINUTE_MS
  const detail = payers === 'nobody' || isBrief ? 'The gateway has relayed as much as it pays for at once.' : spentBy[payers]
  return new GranaryError('relay.budget', detail, { act: name, budget: payers, retryAfterSeconds })
}
