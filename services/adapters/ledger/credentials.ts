import type { ApiKey as Row } from '../../../prisma/generated/client.ts'
import { GranaryError } from '../../core/errors.ts'
import type { ApiKey, KeySpending, SellingLedger } from '../../core/selling-ledger.ts'
import type { Database, Query } from './database.ts'
import { openGroup } from './group.ts'

const MAX_KEYS = 1000
const GROUP = { most: 256, waiting: 10_000 }

type Credentials = Pick<SellingLedger, 'addApiKey' | 'apiKey' | 'apiKeys' | 'revokeApiKey' | 'replaceApiKey' | 'keySpending'>

/** API keys: only a hash of the secret is here, and the escrow key behind it is sealed under the gateway's master key. */
export function openCredentials({ prisma, query }: Database): Credentials {
  return {
    async addApiKey(key) {
      const { count } = await prisma((client) => client.apiKey.createMany({ data: [rowOf(key)], skipDuplicates: true }))
      if (count === 1) return
      throw new GranaryError('credential.ended', 'This API key was made already.', { keyId: key.keyId })
    },
    // Of many that are asked for at the same time, one look.
    apiKey: openGroup<string, ApiKey | null>({
      ...GROUP,
      together: (keyIds) => lookUp(query, keyIds),
      alone: async (keyId) => (await lookUp(query, [keyId]))[0] ?? null,
      laneOf: (keyId) => keyId,
    }),
    async apiKeys(accountId) {
      const rows = await prisma((client) =>
        client.apiKey.findMany({ where: { accountId }, orderBy: { keyId: 'asc' }, take: MAX_KEYS }),
      )
      return rows.map(apiKeyOf)
    },
    async revokeApiKey(keyId) {
      await prisma((client) => client.apiKey.updateMany({ where: { keyId }, data: { revoked: true } }))
    },
    // The condition is in the update, so that of two rotations at once one does it.
    async replaceApiKey(keyId, next, endsAt) {
      return prisma((client) =>
        client.$transaction(async (under) => {
          const ended = { where: { keyId, revoked: false, endsAt: null }, data: { endsAt: BigInt(endsAt) } }
          if ((await under.apiKey.updateMany(ended)).count !== 1) return false
          await under.apiKey.create({ data: rowOf(next) })
          return true
        }),
      )
    },
    async keySpending(accountId) {
      const { rows } = await query<SpendingRow>(
        `SELECT key, greatest(spent, chain_spent) AS spent, chain_cap, chain_not_after, chain_revoked_at FROM keys
         WHERE account_id = $1 ORDER BY key LIMIT ${MAX_KEYS}`,
        [accountId],
      )
      return rows.map(spendingOf)
    },
  }
}

async function lookUp(query: Query, keyIds: readonly string[]): Promise<(ApiKey | null)[]> {
  const { rows } = await query<{ key_id: string }>('SELECT * FROM api_keys WHERE key_id = ANY($1)', [[...new Set(keyIds)]])
  const found = new Map(rows.map((row) => [row.key_id, apiKeyOf(camelCased(row))]))
  return keyIds.map((keyId) => found.get(keyId) ?? null)
}

/** Columns by the names that Prisma's schema gives them. */
function camelCased(row: object): Row {
  const named = Object.entries(row).map(([column, value]) => [
    column.replace(/_(.)/g, (_, letter) => letter.toUpperCase()),
    value,
  ])
  return Object.fromEntries(named) as Row
}

interface SpendingRow {
  key: string
  spent: string
  chain_cap: string | null
  chain_not_after: string | null
  chain_revoked_at: string
}

function spendingOf({ key, spent, chain_cap, chain_not_after, chain_revoked_at }: SpendingRow): KeySpending {
  return {
    key,
    spent: BigInt(spent),
    cap: chain_cap === null ? null : BigInt(chain_cap),
    notAfter: chain_not_after === null ? null : Number(chain_not_after),
    revokedAt: Number(chain_revoked_at),
  }
}

function rowOf(key: ApiKey): Row {
  return { ...key, createdAt: BigInt(key.createdAt), endsAt: key.endsAt === null ? null : BigInt(key.endsAt) }
}

function apiKeyOf({ createdAt, endsAt, ...row }: Row): ApiKey {
  return { ...row, createdAt: Number(createdAt), endsAt: endsAt === null ? null : Number(endsAt) }
}
