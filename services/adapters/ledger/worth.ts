import { type Economy, paysFor } from '../../core/economy.ts'
import type { AccountRow } from './accounts.ts'
import { type Candidate, idOf, type KeyFunds, laneOf, type OpenRow } from './candidates.ts'
import type { Query } from './database.ts'

/** The same in SQL, of an account `a`. */
export const AT_RISK = 'a.chain_thawing > 0 AND a.charged > a.chain_deposit - a.chain_thawing'

/** Which receipts earn the gas that settling them takes, and which go in whatever that is. */
export interface Worth {
  economy: Economy
  isUrgent: (candidate: Candidate) => boolean
}

/** `modelId:purpose` of those whose consent has ended: nothing will be added to what they have served. */
export async function endedLanes(query: Query, { servedBefore }: { servedBefore: number }): Promise<Set<string>> {
  const { rows } = await query<{ lane: string }>(
    `SELECT DISTINCT args->>'modelId' || ':' || (args->>'purpose') AS lane FROM chain_events
     WHERE contract = 'ModelRegistry' AND name = 'ModelSynced' AND (args->>'endsAt')::bigint < $1`,
    [servedBefore],
  )
  return new Set(rows.map(({ lane }) => lane))
}

/**
 * Urgent is what an account owes beyond what its thaw will leave, and what was served by a model whose consent has ended:
 * waiting can't make it worth more.
 */
export function urgencyOf({
  funds,
  ended,
}: {
  funds: ReadonlyMap<string, KeyFunds>
  ended: ReadonlySet<string>
}): Worth['isUrgent'] {
  const atRisk = new Set([...funds.values()].flatMap(({ account }) => (isAtRisk(account) ? [account.account_id] : [])))
  return ({ account_id, model_id, purpose }) => atRisk.has(account_id) || (ended.size > 0 && ended.has(`${model_id}:${purpose}`))
}

/** What it owes reaches into what its thaw will let out. */
export function isAtRisk({ chain_thawing, chain_deposit, charged }: AccountRow): boolean {
  const thawing = BigInt(chain_thawing)
  return thawing > 0n && BigInt(charged) > BigInt(chain_deposit) - thawing
}

/** Without those of keys of which all together earn less than a row's gas, and then without those whose lane earns less than its gas. */
export function worthwhileCandidates(
  candidates: readonly Candidate[],
  { funds, worth: { economy, isUrgent } }: { funds: ReadonlyMap<string, KeyFunds>; worth: Worth },
): Candidate[] {
  const paying = new Set([...funds].flatMap(([id, key]) => (earnsRow(economy, key) ? [id] : [])))
  const ofRows = candidates.filter((candidate) => paying.has(idOf(candidate)) || isUrgent(candidate))
  const gross = new Map<string, bigint>()
  for (const candidate of ofRows) gross.set(laneOf(candidate), (gross.get(laneOf(candidate)) ?? 0n) + BigInt(candidate.charged))
  const earns = (candidate: Candidate) => paysFor(economy, { gross: gross.get(laneOf(candidate)) ?? 0n, cost: economy.lane })
  // What cost nothing opens no lane.
  return ofRows.filter((candidate) => candidate.charged === '0' || isUrgent(candidate) || earns(candidate))
}

/** What cost nothing alone is never settled. */
export function earnsRow(economy: Economy, funds: KeyFunds): boolean {
  const gross = BigInt(funds.waiting)
  return gross > 0n && paysFor(economy, { gross, cost: rowCostOf(economy, funds) })
}

function rowCostOf({ ownRow, grantedRow }: Economy, { key, account }: KeyFunds): bigint {
  return key === account.payer ? ownRow : grantedRow
}

/** Without those that earn less than their gas; none if all together don't pay for the batch, unless something can't wait. */
export function worthwhileRows(rows: readonly OpenRow[], { economy, isUrgent }: Worth): OpenRow[] {
  const rowCost = ({ funds }: OpenRow) => rowCostOf(economy, funds)
  const isUrgentRow = (row: OpenRow) => row.taken.some(isUrgent)
  const kept = rows.filter((row) => isUrgentRow(row) || paysFor(economy, { gross: row.total, cost: rowCost(row) }))
  if (kept.some(isUrgentRow)) return kept
  const lanes = new Set(kept.flatMap(({ taken }) => taken.filter(({ charged }) => charged !== '0').map(laneOf)))
  const gross = kept.reduce((sum, { total }) => sum + total, 0n)
  const cost = kept.reduce((sum, row) => sum + rowCost(row), economy.batch + BigInt(lanes.size) * economy.lane)
  return paysFor(economy, { gross, cost }) ? kept : []
}
