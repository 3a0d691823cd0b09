import { tableIn } from './consent.ts'
import { type Cooperative, MILLION } from './cooperative.ts'
import type { Model } from './lineage.ts'
import { add, compare, type Rational, rational, subtract, times, toText, ZERO } from './rational.ts'
import { allocationOf, dueIn } from './royalties.ts'

/**
 * The same money without rounding. Each place that rounds loses less than one base unit, so whatever somebody has is less than
 * one unit per rounding away from what is exactly theirs. Fees and royalties of a lane leave their fractions to its
 * provider; a pot's fractions stay in the escrow as dust.
 */
export interface Entitlements {
  /** Of a lane's gross, to collectors, providers and treasuries. */
  credits: Map<string, Entitlement & { units: bigint }>
  /** Of royalties, by payee and epoch. */
  pots: Map<string, Entitlement>
  gross: bigint
}

interface Entitlement {
  exact: Rational
  roundings: bigint
}

export interface SplitLane {
  gross: bigint
  model: Model
  epoch: number
  treasury: string
  collector: string
  provider: string
  protocolFeePpm: number
  collectorFeePpm: number
  protocolFee: bigint
  collectorFee: bigint
  rest: bigint
}

export function entitleLane(entitlements: Entitlements, lane: SplitLane): void {
  const { gross, model, epoch } = lane
  const share = (ppm: number) => rational(gross * BigInt(ppm), MILLION)
  const earn = (account: string, exact: Rational, units: bigint, roundings: bigint) => {
    const known = entitlements.credits.get(account) ?? { exact: ZERO, units: 0n, roundings: 0n }
    const sums = { units: known.units + units, roundings: known.roundings + roundings }
    entitlements.credits.set(account, { exact: add(known.exact, exact), ...sums })
  }
  const taken = lane.protocolFeePpm + lane.collectorFeePpm + model.payeesPpm
  earn(lane.treasury, share(lane.protocolFeePpm), lane.protocolFee, 1n)
  earn(lane.collector, share(lane.collectorFeePpm), lane.collectorFee, 1n)
  earn(lane.provider, subtract(rational(gross), share(taken)), lane.rest, 3n)
  for (const { id, ppm } of model.payees) {
    const name = `${id} ${epoch}`
    const known = entitlements.pots.get(name) ?? { exact: ZERO, roundings: 0n }
    // Once where the lane's royalties are rounded, once where the payee's part of them is.
    entitlements.pots.set(name, { exact: add(known.exact, share(ppm)), roundings: known.roundings + 2n })
  }
  entitlements.gross += gross
}

/** What is not explained by rounding: nothing, or the model (and the contracts that agree with it) is wrong. */
export function unexplained(cooperative: Cooperative): string[] {
  const { exact } = cooperative
  const wrong: string[] = []
  let sum = ZERO
  for (const [account, { exact: due, units, roundings }] of exact.credits) {
    sum = add(sum, due)
    const difference = subtract(due, rational(units))
    const limit = rational(roundings)
    if (compare(difference, limit) >= 0n || compare(subtract(ZERO, difference), limit) >= 0n)
      wrong.push(`${account} earned ${units}, exactly ${toText(due)}`)
  }
  for (const [name, { exact: due, roundings }] of exact.pots) {
    sum = add(sum, due)
    const units = fullPot(cooperative, name)
    const dust = subtract(due, rational(units))
    if (compare(dust, ZERO) < 0n || compare(dust, rational(roundings)) >= 0n)
      wrong.push(`pot ${name} comes to ${units}, exactly ${toText(due)}`)
  }
  if (compare(sum, rational(exact.gross)) !== 0n) wrong.push(`${exact.gross} was settled, ${toText(sum)} is owned`)
  return [...wrong, ...misdrawn(cooperative)]
}

/** What the pot holds once everything is pulled. */
function fullPot(cooperative: Cooperative, name: string): bigint {
  const [payeeId = '', epoch = ''] = name.split(' ')
  let units = 0n
  for (const model of cooperative.models.values()) {
    const index = model.payees.findIndex(({ id }) => id === payeeId)
    if (index >= 0) units += allocationOf(cooperative, { model, index, epoch: Number(epoch) })
  }
  return units
}

/** Nobody drew more than exactly is due by the table of the epoch; who drew all there is lacks no more than was rounded off. */
function misdrawn(cooperative: Cooperative): string[] {
  const { drawn, datasets, exact, pots } = cooperative
  const wrong: string[] = []
  for (const [name, units] of drawn) {
    const [payeeId = '', epoch = '', account = ''] = name.split(' ')
    const dataset = datasets.get(payeeId)
    const table = dataset?.isPool ? tableIn(dataset, Number(epoch)) : undefined
    const shares = table?.lines.find((line) => line.account === account)?.shares ?? 0n
    const part = table === undefined ? rational(1n) : rational(shares, table.totalShares)
    const pot = exact.pots.get(`${payeeId} ${epoch}`) ?? { exact: ZERO, roundings: 0n }
    const due = times(pot.exact, part)
    const lacking = subtract(due, rational(units))
    const given = table?.lines.reduce((sum, line) => sum + line.shares, 0n) ?? 0n
    const inFull = pots.get(`${payeeId} ${epoch}`) === fullPot(cooperative, `${payeeId} ${epoch}`)
    const share = table === undefined ? null : { line: { account, shares }, provenIn: table.root }
    const settled = inFull && dueIn(cooperative, { payeeId, account, epochs: [], share }, Number(epoch)) === 0n
    // A table that gives out more shares than there are leaves the last ones short.
    const short = settled && given <= (table?.totalShares ?? 0n) && compare(lacking, rational(pot.roundings + 1n)) >= 0n
    if (compare(lacking, ZERO) < 0n || short) wrong.push(`${account} drew ${units} of ${name}, exactly ${toText(due)} was due`)
  }
  return wrong
}

/** How many sums of money were held against what is exactly due. */
export function entitlementsIn({ exact, drawn }: Cooperative): number {
  return exact.credits.size + exact.pots.size + drawn.size
}
