import { type Economy, FREE_OF_COST } from '../../core/economy.ts'
import type { BatchDraft, BatchLane, BatchRow, SettlementLedger } from '../../core/settlement-ledger.ts'
import { type AccountRow, configOf } from './accounts.ts'
import { type Candidate, idOf, type KeyFunds, laneOf, type OpenRow } from './candidates.ts'
import type { Query } from './database.ts'
import { AT_RISK, earnsRow, endedLanes, isAtRisk, urgencyOf, type Worth, worthwhileCandidates, worthwhileRows } from './worth.ts'

/** Receipts in one batch, and keys looked at for it: what one transaction may hold. */
const MAX_RECEIPTS = 10_000

type Options = Parameters<SettlementLedger['draftBatch']>[0]

/** What goes in first; money that a thaw may take away goes before either. */
type First = 'oldest' | 'dearest'

/**
 * Gathers the oldest receipts, or, where those don't earn their gas, the ones of the keys that owe the most: what can't be settled
 * yet may be more than a batch holds, and must not keep what can be from it. A row's `from` must be what the chain says when the
 * batch arrives, so a key waits while an earlier batch of it is open, and until the mirror shows what that batch has spent.
 * Where keys wait for several batches, the first ones mostly fill one, and nothing is read of the others. All statements must see
 * the same moment.
 */
export async function draftBatch(query: Query, options: Options): Promise<BatchDraft | null> {
  const ended = await endedLanes(query, options)
  const funds = await settleableKeys(query, { ended, ...options })
  if (funds.size === 0) return null
  const worth = { economy: options.economy ?? FREE_OF_COST, isUrgent: urgencyOf({ funds, ended }) }
  const few = firstOf(funds, { economy: worth.economy, most: options.maxRows })
  if (few.size < funds.size && few.size === options.maxRows) {
    const drafted = draftOf(options, {
      funds: few,
      worth,
      candidates: await candidatesOf(query, options, { funds: few, first: 'oldest' }),
    })
    if (drafted?.rows.length === options.maxRows) return drafted
  }
  for (const first of ['oldest', 'dearest'] as const) {
    const drafted = draftOf(options, { funds, worth, candidates: await candidatesOf(query, options, { funds, first }) })
    if (drafted) return drafted
  }
  return null
}

interface Look {
  candidates: readonly Candidate[]
  funds: ReadonlyMap<string, KeyFunds>
  worth: Worth
}

function draftOf(options: Options, { candidates, funds, worth }: Look): BatchDraft | null {
  const draft = { open: new Map<string, OpenRow>(), lanes: new Set<string>(), options }
  fill(draft, { candidates: worthwhileCandidates(candidates, { funds, worth }), funds })
  // What the deposit does not cover goes in only where nothing else is left: then the chain's refusal ends it.
  for (const row of draft.open.values()) {
    // A house account's money is on its way.
    if (row.total === 0n && !row.funds.account.house) for (const candidate of row.unfunded) take(draft, row, candidate)
  }
  const filled = [...draft.open.values()].filter(({ total }) => total > 0n)
  const rows = worthwhileRows(filled, worth)
  const gross = rows.reduce((sum, { total }) => sum + total, 0n)
  if (rows.length === 0 || gross < options.minGross) return null
  return written(options, rows)
}

/**
 * Keys without an open batch for which the chain's spending and our unsettled receipts add up to our own: those at risk, those with
 * the oldest receipts, and those that owe the most.
 */
async function settleableKeys(
  query: Query,
  { collector, servedBefore, ended }: Pick<Options, 'collector' | 'servedBefore'> & { ended: ReadonlySet<string> },
): Promise<Map<string, KeyFunds>> {
  const { rows } = await query<FundsRow>(
    `WITH waiting AS (
       SELECT account_id, key, sum(charged) AS waiting, count(batch_id) AS batched, min(served_at) FILTER (WHERE served_at < $2) AS oldest,
         bool_or(cardinality($3::text[]) > 0 AND model_id || ':' || purpose = ANY($3)) AS has_ended
       FROM unsettled GROUP BY account_id, key
     ), settleable AS MATERIALIZED (
       SELECT a.*, w.key, w.waiting, w.oldest, w.has_ended, k.chain_cap, k.ceiling, k.usage_head, k.signature, f.from, ${AT_RISK} AS at_risk
       FROM waiting w JOIN keys k USING (account_id, key) JOIN accounts a USING (account_id)
       CROSS JOIN LATERAL (SELECT CASE WHEN k.key = a.payer THEN a.chain_own_spent ELSE k.chain_spent END AS from) f
       WHERE a.collector = $1 AND w.batched = 0 AND w.oldest IS NOT NULL AND k.signature IS NOT NULL
         AND (k.key = a.payer OR k.chain_cap IS NOT NULL) AND f.from + w.waiting = k.spent
     )
     (SELECT * FROM settleable ORDER BY at_risk DESC, oldest, account_id, key LIMIT $4)
     UNION (SELECT * FROM settleable ORDER BY waiting DESC, account_id, key LIMIT $4)`,
    [collector, servedBefore, [...ended], MAX_RECEIPTS],
  )
  const funds = rows.flatMap((row) => (isEmptyHouse(row) ? [] : [fundsOf(row)]))
  return new Map(funds.map((key) => [idOf(key), key]))
}

type FundsRow = AccountRow & Omit<KeyFunds, 'account'>

function fundsOf({
  key,
  waiting,
  oldest,
  has_ended,
  chain_cap,
  ceiling,
  usage_head,
  signature,
  from,
  ...account
}: FundsRow): KeyFunds {
  const { account_id } = account
  return { account_id, key, waiting, oldest, has_ended, chain_cap, ceiling, usage_head, signature, from, account }
}

/** The keys that a batch would begin with, as far as that shows before their receipts are read: money at risk first, then what is oldest. */
function firstOf(
  funds: ReadonlyMap<string, KeyFunds>,
  { economy, most }: { economy: Economy; most: number },
): ReadonlyMap<string, KeyFunds> {
  const known = [...funds].flatMap(([id, key]) => {
    const isRisky = isAtRisk(key.account)
    const isWanted = key.oldest !== null && (isRisky || key.has_ended || earnsRow(economy, key))
    return isWanted ? [{ id, key, rank: isRisky ? -1 : Number(key.oldest) }] : []
  })
  known.sort((a, b) => a.rank - b.rank)
  return new Map(known.slice(0, most).map(({ id, key }) => [id, key]))
}

/** Its money is on its way: what it owes until then would only take the places of what can be settled. */
function isEmptyHouse({ house, chain_deposit, chain_charged }: AccountRow): boolean {
  return house && BigInt(chain_deposit) <= BigInt(chain_charged)
}

async function candidatesOf(
  query: Query,
  { servedBefore }: Options,
  { funds, first }: { funds: ReadonlyMap<string, KeyFunds>; first: First },
): Promise<Candidate[]> {
  if (funds.size === 0) return []
  const keys = [...funds.values()]
  const order = { oldest: 'served_at, account_id, sequence', dearest: 'k.waiting DESC, account_id, key, sequence' }[first]
  const { rows } = await query<Candidate>(
    `SELECT request_id, account_id, key, model_id, provider, purpose, charged, served_at, head
     FROM unnest($1::text[], $2::text[], $5::numeric[], $6::boolean[]) AS k(account_id, key, waiting, at_risk)
       JOIN unsettled USING (account_id, key)
     WHERE batch_id IS NULL AND served_at < $3 ORDER BY k.at_risk DESC, ${order} LIMIT $4`,
    [
      keys.map(({ account_id }) => account_id),
      keys.map(({ key }) => key),
      servedBefore,
      MAX_RECEIPTS,
      keys.map(({ waiting }) => waiting),
      keys.map(({ account }) => isAtRisk(account)),
    ],
  )
  return rows
}

interface Draft {
  open: Map<string, OpenRow>
  lanes: Set<string>
  options: Options
}

/** In the order of the candidates; a receipt that fits into no row or lane of this batch, or above its voucher, waits for the next. */
function fill(
  draft: Draft,
  { candidates, funds }: { candidates: readonly Candidate[]; funds: ReadonlyMap<string, KeyFunds> },
): void {
  const left = new Map<string, bigint>()
  for (const candidate of candidates) {
    const keyFunds = funds.get(idOf(candidate))
    if (!keyFunds) continue
    const known = draft.open.get(idOf(candidate))
    if (!known && draft.open.size >= draft.options.maxRows) continue
    const row = known ?? { funds: keyFunds, taken: [], total: 0n, unfunded: [] }
    const { account_id, chain_deposit, chain_charged } = keyFunds.account
    const funded = left.get(account_id) ?? BigInt(chain_deposit) - BigInt(chain_charged)
    const charged = BigInt(candidate.charged)
    if (charged > funded) row.unfunded.push(candidate)
    else if (take(draft, row, candidate)) left.set(account_id, funded - charged)
    else continue
    draft.open.set(idOf(candidate), row)
  }
}

/** A receipt that cost nothing needs no lane. */
function take({ lanes, options }: Draft, row: OpenRow, candidate: Candidate): boolean {
  const charged = BigInt(candidate.charged)
  if (BigInt(row.funds.from) + row.total + charged > limitOf(row.funds)) return false
  if (charged > 0n && !lanes.has(laneOf(candidate))) {
    if (lanes.size >= options.maxLanes) return false
    lanes.add(laneOf(candidate))
  }
  row.taken.push(candidate)
  row.total += charged
  return true
}

function limitOf({ ceiling, chain_cap }: KeyFunds): bigint {
  const [signed, cap] = [BigInt(ceiling), BigInt(chain_cap ?? ceiling)]
  return signed < cap ? signed : cap
}

/** Lanes are numbered anew, since a row that ended up empty may have opened some. */
function written({ batchId, collector }: Options, open: readonly OpenRow[]): BatchDraft {
  const lanes = new Map<string, BatchLane & { index: number }>()
  const rows = open.map((row) => rowOf(row, lanes))
  return {
    batchId,
    collector,
    lanes: [...lanes.values()].map(({ index: _, ...lane }) => lane),
    rows,
    leaves: open.flatMap(({ taken }) => taken.map(({ head }) => head)),
  }
}

function rowOf({ funds, taken }: OpenRow, lanes: Map<string, BatchLane & { index: number }>): BatchRow {
  const amounts = new Map<number, bigint>()
  for (const candidate of taken) {
    const { model_id: modelId, provider, purpose, served_at, charged } = candidate
    if (BigInt(charged) === 0n) continue
    const lane = lanes.get(laneOf(candidate)) ?? { modelId, provider, purpose, lastServedAt: 0, index: lanes.size }
    lanes.set(laneOf(candidate), { ...lane, lastServedAt: Math.max(lane.lastServedAt, Number(served_at)) })
    amounts.set(lane.index, (amounts.get(lane.index) ?? 0n) + BigInt(charged))
  }
  const { account_id: accountId, key, ceiling, usage_head: usageHead, signature } = funds
  return {
    accountId,
    config: configOf(funds.account),
    key,
    from: BigInt(funds.from),
    voucher: { accountId, key, ceiling: BigInt(ceiling), usageHead, signature },
    parts: [...amounts].map(([lane, amount]) => ({ lane, amount })),
    requestIds: taken.map(({ request_id }) => request_id),
  }
}
