import { GranaryError } from '../../core/errors.ts'
import type { JobReceipt } from '../../core/jobs.ts'
import type { Extended, Progress, SellingLedger } from '../../core/selling-ledger.ts'
import { type AccountRow, type KeyRow, keepBest, RESERVED_SUMS, type ReservedRow, standingOf } from './accounts.ts'
import { receiptJson } from './committing-together.ts'
import type { Database, Query } from './database.ts'
import { budgetReached } from './limits.ts'
import { type Reserving, withRoom } from './reserving.ts'
import { hasEnded, shortfallOf } from './reserving-alone.ts'

type Extension = Parameters<SellingLedger['extend']>[0]

/** Requests whose answers come in steps: their reservation grows as they go on, and what was delivered is kept on the way. */
export function openExtensions(
  { query, transaction }: Database,
  { running, leases }: Pick<Reserving, 'running' | 'leases'>,
): Pick<SellingLedger, 'extend' | 'recordProgress' | 'leftoverProgress'> {
  return {
    extend(extension, now) {
      const attempt = () => transaction((under) => extend(under, extension, now))
      const accountId = running.find(extension.requestId)?.accountId
      return accountId ? withRoom(leases, { accountId, attempt }) : attempt()
    },

    async recordProgress({ requestId, charged, receipt, providerSignature }) {
      const { rowCount } = await query(
        `INSERT INTO stream_progress (request_id, charged, receipt, provider_signature)
         SELECT request_id, $2, $3::jsonb, $4 FROM requests WHERE request_id = $1 AND state IN ('RESERVED', 'DISPATCHED') AND max >= $2
         ON CONFLICT (request_id) DO UPDATE SET charged = excluded.charged, receipt = excluded.receipt,
           provider_signature = excluded.provider_signature WHERE stream_progress.charged <= excluded.charged`,
        [requestId, charged, receiptJson(receipt), providerSignature],
      )
      if (rowCount !== 1) {
        throw new GranaryError(
          'internal',
          'Only a running request makes progress, within what is reserved and never backwards.',
          {
            requestId,
            charged: charged.toString(),
          },
        )
      }
    },

    leftoverProgress: (owner, limit) => progressLeftBy(query, { owner, reservedBefore: Number.MAX_SAFE_INTEGER, limit }),
  }
}

/** What was delivered of an owner's requests that still run. */
export async function progressLeftBy(
  query: Query,
  { owner, reservedBefore, limit }: { owner: string; reservedBefore: number; limit: number },
): Promise<Progress[]> {
  const { rows } = await query<ProgressRow>(
    `SELECT p.* FROM stream_progress p JOIN reservations r USING (request_id) JOIN requests q USING (request_id)
     WHERE r.owner = $1 AND q.reserved_at < $2 ORDER BY p.request_id LIMIT $3`,
    [owner, reservedBefore, limit],
  )
  return rows.map(progressOf)
}

/** With the commit that takes its place. */
export async function forgetProgress(query: Query, requestId: string): Promise<void> {
  await query('DELETE FROM stream_progress WHERE request_id = $1', [requestId])
}

async function extend(query: Query, { requestId, max, voucher }: Extension, now: number): Promise<Extended> {
  const account = await lockAccountOf(query, requestId)
  if (!account) return { ok: false, reason: 'ended' }
  if (voucher) await keepBest(query, voucher)
  // A statement of its own: it must see what was committed while this one waited for the lock.
  const found = await query<{ key: string; max: string }>(
    `SELECT key, max FROM requests WHERE request_id = $1 AND state IN ('RESERVED', 'DISPATCHED')`,
    [requestId],
  )
  const request = found.rows[0]
  if (!request) return { ok: false, reason: 'ended' }
  const more = max - BigInt(request.max)
  if (more <= 0n) return { ok: true, reserved: BigInt(request.max) }
  const of = { accountId: account.account_id, key: request.key }
  const { rows } = await query<ReservedRow & KeyRow>(
    `SELECT s.*, k.* FROM (${RESERVED_SUMS}) s LEFT JOIN keys k ON k.account_id = $1 AND k.key = $2`,
    [of.accountId, of.key],
  )
  const row = rows[0]
  if (!row) throw new GranaryError('internal', 'A sum without a row.', of)
  const standing = standingOf(account, row, row, of)
  if (!standing || hasEnded(row, now)) return { ok: false, reason: 'key-ended' }
  const refusal = shortfallOf(standing, more)
  if (refusal) return refusal
  const reached = account.limited ? await budgetReached(query, { ...of, max: more }, now) : null
  if (reached) return { ok: false, reason: 'limited', reached }
  await query(
    `WITH grown AS (UPDATE requests SET max = $2 WHERE request_id = $1)
     UPDATE reservations SET max = $2 WHERE account_id = $3 AND request_id = $1`,
    [requestId, max, of.accountId],
  )
  return { ok: true, reserved: max }
}

async function lockAccountOf(query: Query, requestId: string): Promise<AccountRow | null> {
  const { rows } = await query<AccountRow>(
    'SELECT * FROM accounts WHERE account_id = (SELECT account_id FROM requests WHERE request_id = $1) FOR NO KEY UPDATE',
    [requestId],
  )
  return rows[0] ?? null
}

interface ProgressRow {
  request_id: string
  charged: string
  receipt: Omit<JobReceipt, 'units' | 'unitPrice'> & { units: string; unitPrice: string }
  provider_signature: string
}

function progressOf({ request_id, charged, receipt, provider_signature }: ProgressRow): Progress {
  return {
    requestId: request_id,
    charged: BigInt(charged),
    receipt: { ...receipt, units: BigInt(receipt.units), unitPrice: BigInt(receipt.unitPrice) },
    providerSignature: provider_signature,
  }
}
