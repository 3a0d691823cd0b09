import { MAX_AMOUNT } from '../../core/money.ts'
import type { Delivery, KeyStanding, Reserved } from '../../core/selling-ledger.ts'
import { type KeyRow, keepBest, lockAccount, RESERVED_SUMS, type ReservedRow, standingOf } from './accounts.ts'
import type { Query } from './database.ts'
import { type LeasedRequest, repeatOf } from './leased-requests.ts'
import { insertRequest, ofIdempotencyKey, type StoredRow, shortfallOf, storedOf } from './reserving-alone.ts'

/**
 * Gives a request that ran on a lease its row, under its account's lock, so that it can be charged like any other. Refused
 * when its key was used elsewhere meanwhile, and when the lease is gone and nothing is left to take its place.
 */
export async function becomeReserved(
  query: Query,
  { request, delivery, run }: { request: LeasedRequest; delivery: Delivery; run: string },
): Promise<Reserved> {
  const { reservation, reservedAt } = request
  const { requestId, accountId, key, idempotencyKey, bodyHash } = reservation
  const account = await lockAccount(query, accountId)
  if (request.lease.voucher) await keepBest(query, request.lease.voucher)
  // A statement of its own: it must see what was committed while this one waited for the lock.
  const { rows: before } = await query<StoredRow>(ofIdempotencyKey('$2'), [accountId, idempotencyKey])
  const earlier = before[0] && storedOf(before[0])
  // Its own call was lost, and did happen.
  if (earlier?.requestId === requestId) return { ok: true }
  if (earlier && earlier.state !== 'RELEASED') return repeatOf(earlier, bodyHash)
  const { rows } = await query<ReservedRow & KeyRow & { lease: string | null }>(
    `SELECT s.*, k.*, l.max AS lease FROM (${RESERVED_SUMS}) s LEFT JOIN keys k ON k.account_id = $1 AND k.key = $2
     LEFT JOIN leases l ON l.account_id = $1 AND l.key = $2 AND l.run = $3`,
    [accountId, key, run],
  )
  const row = rows[0]
  const standing = account && row ? standingOf(account, row, row, { accountId, key }) : null
  if (!standing) return { ok: false, reason: 'key-ended' }
  const refused = row?.lease == null ? shortfallOf(standing, delivery.charged) : beyondCeiling(standing, delivery.charged)
  if (refused) return refused
  await insertRequest(query, { reservation, now: reservedAt, state: 'DISPATCHED', reason: null })
  return { ok: true }
}

/** A lease holds room for it, whatever has begun to thaw or was taken from its key since; only the ceiling is minded by its holder. */
function beyondCeiling(standing: KeyStanding, charged: bigint): ReturnType<typeof shortfallOf> {
  return shortfallOf({ ...standing, reserved: 0n, cap: null, deposit: MAX_AMOUNT, thawing: 0n, accountReserved: 0n }, charged)
}
