import { GranaryError } from '../../core/errors.ts'
import type { BatchOutcome } from '../../core/settlement-ledger.ts'
import { textArray } from './arrays.ts'
import { type BatchRecord, lockAccountsOf, lockBatch, requestsOf } from './batches.ts'
import { type Candidate, laneOf } from './candidates.ts'
import { ledgerAccount } from './committing.ts'
import type { Query } from './database.ts'
import { correctSpending } from './limits.ts'

/** Reasons for which the contract skips a row that may well pass later, and those that no later batch can cure. */
const retriable = new Set(['Stale', 'OverCeiling', 'OverCap'])
const terminal = new Set(['Unsigned', 'Unfunded', 'KeyEnded'])

type BatchedRequest = Omit<Candidate, 'head'> & { batch_id: string | null; house: boolean }
type Fate = { state: 'FINAL' | 'COMMITTED' | 'VOIDED'; reason: string | null }
type Judged = BatchedRequest & Fate

export interface Closed {
  final: number
  retried: number
  voided: number
}

/** Books what the chain did with a batch; the second call for the same batch changes nothing. */
export async function closeBatch(query: Query, outcome: BatchOutcome): Promise<Closed> {
  const batch = await lockBatch(query, outcome.batchId)
  if (batch.state === 'FINAL' && batch.outcome) return batch.outcome
  if (batch.state !== 'OPEN')
    throw new GranaryError('internal', 'Only an open batch can be closed.', { batchId: outcome.batchId })
  const tookAll = outcome.skippedRows.length === 0 && outcome.refusedLanes.length === 0
  const closed = tookAll ? await finishAll(query, { batch, outcome }) : await finishEach(query, { batch, outcome })
  await writeSplit(query, { batch, outcome })
  await query(
    `UPDATE batches SET state = 'FINAL', transaction_hash = $2, block = $3, block_hash = $4, outcome = $5::jsonb WHERE batch_id = $1`,
    [outcome.batchId, outcome.transaction, outcome.block, outcome.blockHash, JSON.stringify(closed)],
  )
  return closed
}

interface Closing {
  batch: BatchRecord
  outcome: BatchOutcome
}

/**
 * As a rule the chain credits every row. What is COMMITTED is what has a row in `unsettled`. No account is written, so none is locked:
 * charges go on meanwhile.
 */
async function finishAll(query: Query, { batch, outcome }: Closing): Promise<Closed> {
  const { rows } = await query<Gross & { requests: string; finished: string }>(
    `WITH ended AS (
       DELETE FROM unsettled WHERE request_id = ANY($1) RETURNING model_id, provider, charged
     ), finished AS (
       UPDATE requests SET state = 'FINAL', reason = NULL, batch_id = $2 WHERE request_id = ANY($1) AND state = 'COMMITTED' RETURNING 1
     )
     SELECT model_id, provider, sum(charged) AS charged, count(*) AS requests, (SELECT count(*) FROM finished) AS finished
     FROM ended GROUP BY model_id, provider`,
    [textArray(requestsOf(batch)), batch.batch_id],
  )
  checkGross(rows, outcome)
  const final = rows.reduce((sum, { requests }) => sum + Number(requests), 0)
  if (final !== Number(rows[0]?.finished ?? 0))
    throw new GranaryError('internal', 'What waits for the chain is not what is committed.', { batchId: batch.batch_id, final })
  return { final, retried: 0, voided: 0 }
}

async function finishEach(query: Query, { batch, outcome }: Closing): Promise<Closed> {
  await lockAccountsOf(query, batch)
  const requests = await judge(query, { batch, outcome })
  const inState = (state: Fate['state']) => requests.filter((request) => request.state === state)
  const [applied, retried, voided] = [inState('FINAL'), inState('COMMITTED'), inState('VOIDED')]
  checkGross(applied, outcome)
  await writeFates(query, { batch, requests })
  await giveBack(
    query,
    voided.map(({ request_id }) => request_id),
  )
  return { final: applied.length, retried: retried.length, voided: voided.length }
}

/**
 * What the chain credited is final in this batch, also where it was in another one by now: a row that was skipped goes into a later
 * batch, and after a reorganisation the first may pass after all. Then the later one is stale.
 */
async function judge(query: Query, { batch, outcome }: Closing): Promise<Judged[]> {
  const { rows } = await query<BatchedRequest>(
    `SELECT u.request_id, u.account_id, u.key, u.model_id, u.provider, u.purpose, u.charged, u.served_at, u.batch_id, a.house
     FROM unsettled u JOIN accounts a USING (account_id) WHERE u.request_id = ANY($1) ORDER BY u.account_id, u.sequence`,
    [textArray(requestsOf(batch))],
  )
  const rowOf = new Map(batch.rows.flatMap((row, index) => row.requestIds.map((requestId) => [requestId, index] as const)))
  const laneIndex = new Map(batch.lanes.map((lane, index) => [laneOf({ ...lane, model_id: lane.modelId }), index]))
  const skipped = new Map(outcome.skippedRows.map(({ row, reason }) => [row, reason]))
  const refused = new Set(outcome.refusedLanes)
  const judged = rows.map((request) => {
    const lane = laneIndex.get(laneOf(request))
    const skip = skipped.get(rowOf.get(request.request_id) ?? -1)
    const laneRefused = skip === 'LaneRefused' || (lane !== undefined && refused.has(lane))
    const servedAt = Number(request.served_at)
    const isLast = servedAt >= (batch.lanes[lane ?? -1]?.lastServedAt ?? Number.POSITIVE_INFINITY)
    const isPast = isLast || servedAt < (outcome.expiredBefore ?? 0)
    return { ...request, ...fateOf({ skip, laneRefused, isPast, house: request.house }) }
  })
  return judged.filter(({ batch_id, state }) => batch_id === batch.batch_id || state === 'FINAL')
}

interface Verdict {
  skip: string | undefined
  laneRefused: boolean
  isPast: boolean
  house: boolean
}

/**
 * A lane is judged by its latest job: that one can't be credited again, nor what has become too old; the earlier ones may
 * pass in a lane that ends sooner. A house account without money waits for its next sweep.
 */
function fateOf({ skip, laneRefused, isPast, house }: Verdict): Fate {
  if (skip !== undefined && skip !== 'LaneRefused') {
    if (retriable.has(skip) || (house && skip === 'Unfunded')) return { state: 'COMMITTED', reason: skip }
    if (terminal.has(skip)) return { state: 'VOIDED', reason: skip }
    throw new GranaryError('internal', `The contract skipped a row for an unknown reason: ${skip}.`)
  }
  if (!laneRefused) return { state: 'FINAL', reason: null }
  return { state: isPast ? 'VOIDED' : 'COMMITTED', reason: 'LaneRefused' }
}

type Gross = Pick<Candidate, 'model_id' | 'provider' | 'charged'>

/** Ledger and chain agree on each model's and provider's gross to the unit, or nothing is booked. */
function checkGross(applied: readonly Gross[], { lanes, batchId }: BatchOutcome): void {
  const difference = new Map<string, bigint>()
  const add = (account: string, amount: bigint) => difference.set(account, (difference.get(account) ?? 0n) + amount)
  for (const { model_id, provider, charged } of applied) add(ledgerAccount.lane(model_id, provider), BigInt(charged))
  for (const { modelId, provider, gross } of lanes) add(ledgerAccount.lane(modelId, provider), -gross)
  const wrong = [...difference].find(([, amount]) => amount !== 0n)
  if (wrong) {
    throw new GranaryError('internal', 'The chain settled another amount than the ledger has in the batch.', {
      batchId,
      lane: wrong[0],
      difference: wrong[1].toString(),
    })
  }
}

async function writeFates(query: Query, { batch, requests }: { batch: BatchRecord; requests: readonly Judged[] }): Promise<void> {
  await query(
    `WITH fate AS MATERIALIZED (
       SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) AS f(request_id, state, reason)
     ), waiting AS (
       UPDATE unsettled u SET batch_id = NULL FROM fate f WHERE u.request_id = f.request_id AND f.state = 'COMMITTED'
     ), ended AS (
       DELETE FROM unsettled u USING fate f WHERE u.request_id = f.request_id AND f.state <> 'COMMITTED'
     )
     UPDATE requests q SET state = f.state::request_state, reason = f.reason, batch_id = CASE WHEN f.state = 'FINAL' THEN $4 END
     FROM fate f WHERE q.request_id = f.request_id`,
    [
      textArray(requests.map(({ request_id }) => request_id)),
      textArray(requests.map(({ state }) => state)),
      textArray(requests.map(({ reason }) => reason)),
      batch.batch_id,
    ],
  )
}

/** What can never be credited is not the payer's debt: postings against its entries, sums lowered. */
export async function giveBack(query: Query, requestIds: readonly string[]): Promise<void> {
  await book(query, { requestIds, sign: -1 })
}

/** Voided requests are a debt again: their batch has to be judged anew. */
export async function chargeAgain(query: Query, requestIds: readonly string[]): Promise<void> {
  await book(query, { requestIds, sign: 1 })
}

async function book(query: Query, { requestIds, sign }: { requestIds: readonly string[]; sign: 1 | -1 }): Promise<void> {
  if (requestIds.length === 0) return
  await query(
    `INSERT INTO postings (request_id, ledger_account, amount)
     SELECT q.request_id, e.ledger_account, e.amount FROM requests q CROSS JOIN LATERAL (VALUES
       ('account:' || q.account_id, -q.charged * $2::int), ('lane:' || q.model_id || ':' || q.provider, q.charged * $2::int)
     ) AS e(ledger_account, amount) WHERE q.request_id = ANY($1) AND q.charged > 0`,
    [requestIds, sign],
  )
  await query(
    `UPDATE keys k SET spent = k.spent + v.amount * $2::int
     FROM (SELECT account_id, key, sum(charged) AS amount FROM requests WHERE request_id = ANY($1) GROUP BY account_id, key) v
     WHERE k.account_id = v.account_id AND k.key = v.key`,
    [requestIds, sign],
  )
  await query(
    `UPDATE accounts a SET charged = a.charged + v.amount * $2::int
     FROM (SELECT account_id, sum(charged) AS amount FROM requests WHERE request_id = ANY($1) GROUP BY account_id) v
     WHERE a.account_id = v.account_id`,
    [requestIds, sign],
  )
  await correctSpending(query, { requestIds, sign })
}

/** Each lane's gross goes where the contract sent it; the provider has what the others leave. */
async function writeSplit(query: Query, { batch, outcome }: Closing): Promise<void> {
  const entries = outcome.lanes.flatMap(({ modelId, provider, gross, protocolFee, collectorFee, royalties }) => {
    const providerPart = gross - protocolFee - collectorFee - royalties
    if (providerPart < 0n) throw new GranaryError('internal', 'A lane was split into more than its gross.', { modelId, provider })
    return [
      { account: ledgerAccount.lane(modelId, provider), amount: -gross },
      { account: ledgerAccount.protocol, amount: protocolFee },
      { account: ledgerAccount.collector(batch.collector), amount: collectorFee },
      { account: ledgerAccount.royalties(modelId), amount: royalties },
      { account: ledgerAccount.provider(provider), amount: providerPart },
    ]
  })
  const moved = entries.filter(({ amount }) => amount !== 0n)
  await query(
    'INSERT INTO postings (batch_id, ledger_account, amount) SELECT $1, e.account, e.amount FROM unnest($2::text[], $3::numeric[]) AS e(account, amount)',
    [batch.batch_id, moved.map(({ account }) => account), moved.map(({ amount }) => amount.toString())],
  )
}
