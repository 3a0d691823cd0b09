import { NO_USAGE } from '../../core/accounts.ts'
import type { AccountConfig, KeyStanding, SellingLedger, Voucher } from '../../core/selling-ledger.ts'
import type { Database, Query } from './database.ts'
import type { Leases } from './leases.ts'
import { claimMirror } from './mirror.ts'
import { feedKnown } from './mirrored-accounts.ts'

/** numeric and bigint columns arrive as decimal strings. */
export interface AccountRow {
  account_id: string
  payer: string
  collector: string
  thaw_seconds: string
  salt: string
  chain_deposit: string
  chain_charged: string
  chain_own_spent: string
  chain_thawing: string
  charged: string
  sequence: string
  head: string
  limited: boolean
  house: boolean
}

/** All null where the key is not known. */
export interface KeyRow {
  chain_cap: string | null
  chain_spent: string | null
  chain_not_after: string | null
  chain_revoked_at: string | null
  spent: string | null
  ceiling: string | null
  usage_head: string | null
}

export interface ReservedRow {
  key_reserved: string
  account_reserved: string
}

export const RESERVED_SUMS = `SELECT coalesce(sum(max), 0) AS account_reserved, coalesce(sum(max) FILTER (WHERE key = $2), 0) AS key_reserved
  FROM reserved WHERE account_id = $1`

/** The one writer of an account; whoever needs several takes them in id order. */
export async function lockAccount(query: Query, accountId: string): Promise<AccountRow | null> {
  const { rows } = await query<AccountRow>('SELECT * FROM accounts WHERE account_id = $1 FOR NO KEY UPDATE', [accountId])
  return rows[0] ?? null
}

export function openAccounts(
  { query, transaction }: Database,
  leases: Pick<Leases, 'giveBack'>,
): Pick<SellingLedger, 'knowAccount' | 'account' | 'standing' | 'acceptVoucher'> {
  return {
    async knowAccount(accountId, config) {
      if (await isKnown(query, accountId)) return
      await transaction((under) => learnAccount(under, accountId, config))
    },

    async account(accountId) {
      const { rows } = await query<AccountRow>('SELECT * FROM accounts WHERE account_id = $1', [accountId])
      return rows[0] ? configOf(rows[0]) : null
    },

    async standing(accountId, key) {
      await leases.giveBack(accountId)
      const { rows } = await query<AccountRow & ReservedRow & KeyRow & { account_charged: string }>(
        `SELECT a.*, a.charged AS account_charged, k.*, r.* FROM accounts a
         CROSS JOIN LATERAL (${RESERVED_SUMS}) r
         LEFT JOIN keys k ON k.account_id = a.account_id AND k.key = $2
         WHERE a.account_id = $1`,
        [accountId, key],
      )
      const row = rows[0]
      return row ? standingOf({ ...row, charged: row.account_charged }, row, row, { accountId, key }) : null
    },

    async acceptVoucher(voucher) {
      return transaction(async (under) => {
        const account = await lockAccount(under, voucher.accountId)
        if (!account) return { ok: false, reason: 'account-unknown' }
        return keepBest(under, voucher)
      })
    },
  }
}

async function isKnown(query: Query, accountId: string): Promise<boolean> {
  const { rowCount } = await query('SELECT FROM accounts WHERE account_id = $1', [accountId])
  return rowCount === 1
}

export async function learnAccount(query: Query, accountId: string, config: AccountConfig): Promise<void> {
  const { payer, collector, thawSeconds, salt } = config
  // Else the indexer might write its amounts or keys while neither sees the other's rows.
  await claimMirror(query)
  await query(
    `INSERT INTO accounts (account_id, payer, collector, thaw_seconds, salt, head) VALUES ($1, $2, $3, $4, $5, $6)
     ON CONFLICT (account_id) DO NOTHING`,
    [accountId, payer, collector, thawSeconds, salt, NO_USAGE],
  )
  await feedKnown(query, [accountId])
}

/** A lower or equal voucher changes nothing. */
export async function keepBest(
  query: Query,
  { accountId, key, ceiling, usageHead, signature }: Voucher,
): Promise<{ ok: true } | { ok: false; reason: 'backwards'; ceiling: bigint }> {
  const { rowCount } = await query(
    `INSERT INTO keys (account_id, key, ceiling, usage_head, signature) VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT (account_id, key) DO UPDATE SET ceiling = excluded.ceiling, usage_head = excluded.usage_head, signature = excluded.signature
     WHERE keys.ceiling < excluded.ceiling`,
    [accountId, key, ceiling, usageHead, signature],
  )
  if (rowCount === 1) return { ok: true }
  const { rows } = await query<{ ceiling: string }>('SELECT ceiling FROM keys WHERE account_id = $1 AND key = $2', [
    accountId,
    key,
  ])
  return { ok: false, reason: 'backwards', ceiling: BigInt(rows[0]?.ceiling ?? 0) }
}

export function configOf({ payer, collector, thaw_seconds, salt }: AccountRow): AccountConfig {
  return { payer, collector, thawSeconds: Number(thaw_seconds), salt }
}

/** null when the key is neither the payer's own nor granted on chain. What the chain charged counts when it is ahead of the ledger. */
export function standingOf(
  account: AccountRow,
  keyRow: KeyRow | null,
  sums: ReservedRow,
  { accountId, key }: { accountId: string; key: string },
): KeyStanding | null {
  const own = account.payer === key
  const cap = own ? null : (keyRow?.chain_cap ?? null)
  if (!own && cap === null) return null
  const chainSpent = BigInt(own ? account.chain_own_spent : (keyRow?.chain_spent ?? 0))
  return {
    accountId,
    key,
    spent: most(BigInt(keyRow?.spent ?? 0), chainSpent),
    reserved: BigInt(sums.key_reserved),
    ceiling: BigInt(keyRow?.ceiling ?? 0),
    cap: cap === null ? null : BigInt(cap),
    usageHead: keyRow?.usage_head ?? NO_USAGE,
    deposit: BigInt(account.chain_deposit),
    thawing: BigInt(account.chain_thawing),
    accountCharged: most(BigInt(account.charged), BigInt(account.chain_charged)),
    accountReserved: BigInt(sums.account_reserved),
  }
}

function most(a: bigint, b: bigint): bigint {
  return a > b ? a : b
}
