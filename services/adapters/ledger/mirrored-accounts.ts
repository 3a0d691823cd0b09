import { NO_USAGE } from '../../core/accounts.ts'
import type { Mirror } from '../../core/mirror-ledger.ts'
import type { Query } from './database.ts'

/**
 * What the chain says about accounts and keys goes into columns of their own, where the reserve rule reads it. The ledger's
 * own sums stand beside them untouched, so the columns can be dropped and replayed. Rows are taken in id order, as all
 * writers of accounts do.
 */
export async function feedAccounts(query: Query, mirrors: readonly Mirror[]): Promise<void> {
  const ids = idsOf(mirrors, 'account')
  if (ids.length === 0) return
  await query('SELECT FROM accounts WHERE account_id = ANY($1) ORDER BY account_id FOR NO KEY UPDATE', [ids])
  // An account that was touched before its configuration is known, as by a grant before the first deposit, waits for that.
  await query(
    `INSERT INTO accounts (account_id, payer, collector, thaw_seconds, salt, head)
     SELECT id, state->>'payer', state->>'collector', (state->>'thawSeconds')::bigint, state->>'salt', $2 FROM mirrors
     WHERE kind = 'account' AND id = ANY($1) AND state->>'payer' IS NOT NULL AND state->>'collector' IS NOT NULL
       AND state->>'thawSeconds' IS NOT NULL AND state->>'salt' IS NOT NULL ORDER BY id
     ON CONFLICT (account_id) DO NOTHING`,
    [ids, NO_USAGE],
  )
  await feedKnown(query, ids)
}

export async function feedKeys(query: Query, mirrors: readonly Mirror[]): Promise<void> {
  await writeKeys(query, idsOf(mirrors, 'key'))
}

/** For accounts that have just become known: amounts and keys may be mirrored already. */
export async function feedKnown(query: Query, ids: readonly string[]): Promise<void> {
  await query(
    `UPDATE accounts a SET chain_deposit = coalesce((m.state->>'deposit')::numeric, 0), chain_charged = coalesce((m.state->>'charged')::numeric, 0),
       chain_own_spent = coalesce((m.state->>'ownSpent')::numeric, 0), chain_thawing = coalesce((m.state->>'thawing')::numeric, 0),
       chain_thaw_ends_at = coalesce((m.state->>'thawEndsAt')::bigint, 0)
     FROM mirrors m WHERE m.kind = 'account' AND m.id = ANY($1) AND a.account_id = m.id`,
    [ids],
  )
  await writeKeys(query, await keysOf(query, ids))
}

export async function forgetAccounts(query: Query): Promise<void> {
  await query('SELECT FROM accounts ORDER BY account_id FOR NO KEY UPDATE')
  await query(
    'UPDATE accounts SET chain_deposit = 0, chain_charged = 0, chain_own_spent = 0, chain_thawing = 0, chain_thaw_ends_at = 0',
  )
  await query('UPDATE keys SET chain_cap = NULL, chain_spent = 0, chain_not_after = NULL, chain_revoked_at = 0')
}

/** A key that was never granted has nonce 0. */
async function writeKeys(query: Query, ids: readonly string[]): Promise<void> {
  if (ids.length === 0) return
  await query(
    `INSERT INTO keys (account_id, key, chain_cap, chain_spent, chain_not_after, chain_revoked_at)
     SELECT a.account_id, split_part(m.id, ':', 2),
       CASE WHEN coalesce((m.state->>'nonce')::bigint, 1) > 0 THEN (m.state->>'cap')::numeric END,
       coalesce((m.state->>'spent')::numeric, 0), (m.state->>'notAfter')::bigint, coalesce((m.state->>'revokedAt')::bigint, 0)
     FROM mirrors m JOIN accounts a ON a.account_id = split_part(m.id, ':', 1)
     WHERE m.kind = 'key' AND m.id = ANY($1) ORDER BY m.id
     ON CONFLICT (account_id, key) DO UPDATE SET chain_cap = excluded.chain_cap, chain_spent = excluded.chain_spent,
       chain_not_after = excluded.chain_not_after, chain_revoked_at = excluded.chain_revoked_at`,
    [ids],
  )
}

async function keysOf(query: Query, accountIds: readonly string[]): Promise<string[]> {
  const { rows } = await query<{ id: string }>(`SELECT id FROM mirrors WHERE kind = 'key' AND split_part(id, ':', 1) = ANY($1)`, [
    accountIds,
  ])
  return rows.map(({ id }) => id)
}

function idsOf(mirrors: readonly Mirror[], kind: Mirror['kind']): string[] {
  return mirrors.filter((mirror) => mirror.kind === kind).map(({ id }) => id)
}
