import type { SellingLedger, StoredSession } from '../../core/selling-ledger.ts'
import type { Database } from './database.ts'

/** Of one key of one account: with more, those that expire first are forgotten. */
const MOST_PER_KEY = 256

interface SessionRow {
  session_id: string
  account_id: string
  key: string
  ephemeral_key: string
  gateway_key: string
  expires_at: string
}

export function openSessions({ query }: Database): Pick<SellingLedger, 'keepSession' | 'session' | 'forgetSessions'> {
  return {
    // Anyone can open sessions for wallets without number: only those of accounts that have money take room.
    async keepSession({ sessionId, accountId, key, ephemeralKey, gatewayKey, expiresAt }) {
      const { rowCount } = await query(
        `INSERT INTO sessions (session_id, account_id, key, ephemeral_key, gateway_key, expires_at)
         SELECT $1::text, account_id, $3::text, $4::text, $5::text, $6::bigint FROM accounts WHERE account_id = $2 AND chain_deposit > 0
         ON CONFLICT DO NOTHING`,
        [sessionId, accountId, key, ephemeralKey, gatewayKey, expiresAt],
      )
      if (rowCount !== 1) return
      await query(
        `DELETE FROM sessions WHERE session_id IN (
           SELECT session_id FROM sessions WHERE account_id = $1 AND key = $2 ORDER BY expires_at DESC, session_id OFFSET ${MOST_PER_KEY})`,
        [accountId, key],
      )
    },

    async session(sessionId) {
      const { rows } = await query<SessionRow>('SELECT * FROM sessions WHERE session_id = $1', [sessionId])
      return rows[0] ? sessionOf(rows[0]) : null
    },

    async forgetSessions({ expiredBefore, limit }) {
      const { rowCount } = await query(
        `DELETE FROM sessions WHERE session_id IN (
           SELECT session_id FROM sessions WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)`,
        [expiredBefore, limit],
      )
      return rowCount ?? 0
    },
  }
}

function sessionOf(row: SessionRow): StoredSession {
  const { session_id, account_id, key, ephemeral_key, gateway_key, expires_at } = row
  return {
    sessionId: session_id,
    accountId: account_id,
    key,
    ephemeralKey: ephemeral_key,
    gatewayKey: gateway_key,
    expiresAt: Number(expires_at),
  }
}
