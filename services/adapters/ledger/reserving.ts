import { GranaryError } from '../../core/errors.ts'
import { MAX_AMOUNT } from '../../core/money.ts'
import type { KeyStanding, RequestState, Reservation, Reserved, SellingLedger, StoredRequest } from '../../core/selling-ledger.ts'
import { type KeyRow, keepBest, lockAccount, RESERVED_SUMS, type ReservedRow, standingOf } from './accounts.ts'
import { STATE, UNSETTLED } from './batched.ts'
import type { Database, Query } from './database.ts'
import { openGroup } from './group.ts'
import { countWithinLimits } from './limits.ts'
import { type Asked, reserveTogether } from './reserving-together.ts'
import type { RunningRequests } from './running-requests.ts'

const GROUP = { most: 256, waiting: 10_000 }

/** A request that can't be repeated has its own id for a key, and is found by that. */
const ofIdempotencyKey = (key: '$2' | '$3') => `SELECT q.*, a.answer FROM (
    SELECT * FROM requests WHERE account_id = $1 AND idempotency_key = ${key} AND idempotency_key <> request_id
    UNION ALL SELECT * FROM requests WHERE account_id = $1 AND idempotency_key = ${key} AND request_id = ${key}
  ) q LEFT JOIN answers a USING (request_id) ORDER BY q.released <> '', q.reserved_at DESC LIMIT 1`

export interface StoredRow {
  request_id: string
  state: RequestState
  body_hash: string
  charged: string
  answer: Uint8Array | null
  reason: string | null
}

/** Chapter 4, the ledger's side: what is promised before a job leaves, and what becomes of the promise. */
export function openReservations(
  { query, call, transaction }: Database,
  running: RunningRequests,
): Pick<SellingLedger, 'reserve' | 'dispatched' | 'release' | 'releaseLeftovers' | 'request' | 'requestBefore'> {
  const reserveInGroup = openGroup<Asked, Reserved>({
    ...GROUP,
    together: (asked) => reserveTogether(call, asked),
    alone: ({ reservation, now }) => transaction((under) => reserve(under, reservation, now)),
    laneOf: ({ reservation }) => reservation.accountId,
  })
  return {
    async reserve(reservation, now) {
      const reserved = await reserveInGroup({ reservation, now })
      if (reserved.ok) running.add(reservation.requestId, reservation)
      return reserved
    },

    async dispatched(requestId, provider) {
      const { rowCount } = await query(
        `UPDATE requests SET state = 'DISPATCHED', provider = $2 WHERE request_id = $1 AND state IN ('RESERVED', 'DISPATCHED')`,
        [requestId, provider],
      )
      if (rowCount !== 1) throw new GranaryError('internal', 'Only a reserved request can be dispatched.', { requestId })
    },

    // What was committed in the meantime stays charged.
    async release(requestId, reason) {
      running.end(requestId)
      await call('SELECT release_requests($1, $2)', [[requestId], reason])
    },

    async releaseLeftovers(owner) {
      const { rows } = await query<{ released: number }>(
        `SELECT release_requests(array_agg(request_id), 'gateway.restarted') AS released FROM reservations WHERE owner = $1`,
        [owner],
      )
      return rows[0]?.released ?? 0
    },

    async request(requestId) {
      const { rows } = await query<StoredRow>(
        `SELECT q.request_id, ${STATE}, q.body_hash, q.charged, answer, q.reason FROM requests q LEFT JOIN answers USING (request_id)
         ${UNSETTLED} WHERE q.request_id = $1`,
        [requestId],
      )
      return rows[0] ? storedOf(rows[0]) : null
    },

    async requestBefore({ accountId, idempotencyKey }) {
      const { rows } = await query<StoredRow>(ofIdempotencyKey('$2'), [accountId, idempotencyKey])
      return rows[0] ? storedOf(rows[0]) : null
    },
  }
}

async function reserve(query: Query, reservation: Reservation, now: number): Promise<Reserved> {
  const { accountId, key, idempotencyKey, bodyHash, max } = reservation
  const account = await lockAccount(query, accountId)
  if (!account) return { ok: false, reason: 'account-unknown' }
  if (reservation.voucher) await keepBest(query, reservation.voucher)
  // A statement of its own: it must see what was committed while this one waited for the lock.
  const { rows } = await query<ReservedRow & KeyRow & { [K in keyof StoredRow as `earlier_${K}`]: StoredRow[K] | null }>(
    `SELECT s.*, k.*, e.request_id AS earlier_request_id, e.state AS earlier_state, e.body_hash AS earlier_body_hash,
       e.charged AS earlier_charged, e.answer AS earlier_answer, e.reason AS earlier_reason
     FROM (${RESERVED_SUMS}) s
     LEFT JOIN keys k ON k.account_id = $1 AND k.key = $2
     LEFT JOIN LATERAL (${ofIdempotencyKey('$3')}) e ON true`,
    [accountId, key, idempotencyKey],
  )
  const row = rows[0]
  if (!row) throw new GranaryError('internal', 'A sum without a row.', { accountId })
  if (row.earlier_request_id !== null && row.earlier_state !== null) {
    if (row.earlier_body_hash !== bodyHash) return { ok: false, reason: 'conflict', requestId: row.earlier_request_id }
    if (row.earlier_state !== 'RELEASED') {
      const { earlier_state: state, earlier_charged: charged, earlier_answer: answer, earlier_reason: reason } = row
      const earlier = { request_id: row.earlier_request_id, state, body_hash: bodyHash, charged: charged ?? '0', answer, reason }
      return { ok: false, reason: 'repeated', request: storedOf(earlier) }
    }
  }
  if (BigInt(account.chain_deposit) === 0n && BigInt(account.chain_charged) === 0n && !account.house)
    return { ok: false, reason: 'account-unknown' }
  const standing = standingOf(account, row, row, { accountId, key })
  if (!standing || hasEnded(row, now)) return { ok: false, reason: 'key-ended' }
  // A house account's money comes with each request and is not there yet.
  const refusal = shortfallOf(account.house ? { ...standing, deposit: MAX_AMOUNT } : standing, max)
  if (refusal) return refusal
  const reached = account.limited ? await countWithinLimits(query, reservation, now) : null
  if (reached) return { ok: false, reason: 'limited', reached }
  await insert(query, reservation, now)
  return { ok: true }
}

export function hasEnded({ chain_not_after, chain_revoked_at }: KeyRow, now: number): boolean {
  if (chain_revoked_at !== null && BigInt(chain_revoked_at) !== 0n) return true
  return chain_not_after !== null && BigInt(chain_not_after) <= BigInt(now)
}

type Shortfall = Extract<Reserved, { reason: 'insufficient' }>

/** Names the ceiling last: it alone can be raised by a signature. */
export function shortfallOf(standing: KeyStanding, max: bigint): Shortfall | null {
  const { spent, reserved, ceiling, cap, deposit, thawing, accountCharged, accountReserved } = standing
  const limits = [
    { limit: 'deposit', available: deposit - thawing - accountCharged - accountReserved },
    { limit: 'cap', available: (cap ?? spent + reserved + max) - spent - reserved },
    { limit: 'ceiling', available: ceiling - spent - reserved },
  ] as const
  const short = limits.find(({ available }) => available < max)
  if (!short) return null
  return {
    ok: false,
    reason: 'insufficient',
    limit: short.limit,
    available: short.available > 0n ? short.available : 0n,
    required: max,
  }
}

/** A released request may be reserved again under its own id as well as under a new one. */
async function insert(query: Query, reservation: Reservation, now: number): Promise<void> {
  const { requestId, accountId, key, idempotencyKey, bodyHash, modelId, provider, purpose, units, unitPrice, max, owner } =
    reservation
  const state = reservation.dispatched ? 'DISPATCHED' : 'RESERVED'
  const { rowCount } = await query(
    `WITH requested AS (
     INSERT INTO requests (request_id, account_id, key, idempotency_key, body_hash, model_id, provider, purpose, units, unit_price, max,
       owner, reserved_at, state)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
     ON CONFLICT (request_id) DO UPDATE SET key = excluded.key, model_id = excluded.model_id, provider = excluded.provider,
       purpose = excluded.purpose, units = excluded.units, unit_price = excluded.unit_price, max = excluded.max,
       owner = excluded.owner, reserved_at = excluded.reserved_at, state = excluded.state, released = '', reason = NULL
     WHERE requests.state = 'RELEASED' AND requests.account_id = excluded.account_id
       AND requests.idempotency_key = excluded.idempotency_key AND requests.body_hash = excluded.body_hash
     RETURNING request_id, account_id, key, max, owner
     )
     INSERT INTO reservations (request_id, account_id, key, max, owner) SELECT * FROM requested`,
    [requestId, accountId, key, idempotencyKey, bodyHash, modelId, provider, purpose, units, unitPrice, max, owner, now, state],
  )
  if (rowCount !== 1) throw new GranaryError('internal', 'The request id is taken.', { requestId })
}

export function storedOf({ request_id, state, body_hash, charged, answer, reason }: StoredRow): StoredRequest {
  return {
    requestId: request_id,
    state,
    bodyHash: body_hash,
    charged: BigInt(charged),
    answer: answer ? new Uint8Array(answer) : null,
    reason,
  }
}
