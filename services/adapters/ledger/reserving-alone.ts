import { GranaryError } from '../../core/errors.ts'
import { MAX_AMOUNT } from '../../core/money.ts'
import type { KeyStanding, RequestState, Reservation, Reserved, StoredRequest } from '../../core/selling-ledger.ts'
import { type KeyRow, keepBest, lockAccount, RESERVED_SUMS, type ReservedRow, standingOf } from './accounts.ts'
import type { Query } from './database.ts'
import { countWithinLimits } from './limits.ts'

/** A request that can't be repeated has its own id for a key, and is found by that. */
export const ofIdempotencyKey = (key: '$2' | '$3') => `SELECT q.*, a.answer FROM (
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

/** With its reasons, under the account's lock. */
export async function reserve(query: Query, reservation: Reservation, now: number): Promise<Reserved> {
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

export type Shortfall = Extract<Reserved, { reason: 'insufficient' }>

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

async function insert(query: Query, reservation: Reservation, now: number): Promise<void> {
  const { requestId, accountId, key, max, owner, dispatched } = reservation
  if (!(await insertRequest(query, { reservation, now, state: dispatched ? 'DISPATCHED' : 'RESERVED', reason: null })))
    throw new GranaryError('internal', 'The request id is taken.', { requestId })
  await query('INSERT INTO reservations (request_id, account_id, key, max, owner) VALUES ($1, $2, $3, $4, $5)', [
    requestId,
    accountId,
    key,
    max,
    owner,
  ])
}

/** A released request may be reserved again under its own id as well as under a new one. False: the id is taken. */
export async function insertRequest(
  query: Query,
  row: { reservation: Reservation; now: number; state: RequestState; reason: string | null },
): Promise<boolean> {
  const { reservation, now, state, reason } = row
  const { requestId, accountId, key, idempotencyKey, bodyHash, modelId, provider, purpose, units, unitPrice, max, owner } =
    reservation
  const { rowCount } = await query(
    `INSERT INTO requests (request_id, account_id, key, idempotency_key, body_hash, model_id, provider, purpose, units, unit_price, max,
       owner, reserved_at, state, reason, released)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14::request_state, $15,
       CASE WHEN $14::request_state = 'RELEASED' THEN $1 ELSE '' END)
     ON CONFLICT (request_id) DO UPDATE SET key = excluded.key, model_id = excluded.model_id, provider = excluded.provider,
       purpose = excluded.purpose, units = excluded.units, unit_price = excluded.unit_price, max = excluded.max,
       owner = excluded.owner, reserved_at = excluded.reserved_at, state = excluded.state, released = excluded.released,
       reason = excluded.reason
     WHERE requests.state = 'RELEASED' AND requests.account_id = excluded.account_id
       AND requests.idempotency_key = excluded.idempotency_key AND requests.body_hash = excluded.body_hash`,
    [
      requestId,
      accountId,
      key,
      idempotencyKey,
      bodyHash,
      modelId,
      provider,
      purpose,
      units,
      unitPrice,
      max,
      owner,
      now,
      state,
      reason,
    ],
  )
  return rowCount === 1
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
