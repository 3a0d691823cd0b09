import type { ApiKey as Row } from '../../../prisma/generated/client.ts'
import type { ApiKey, SellingLedger } from '../../core/ports.ts'
import type { Database, Query } from './database.ts'
import { openGroup } from './group.ts'

const MAX_KEYS = 1000
const GROUP = { most: 256, waiting: 10_000 }

/** API keys: only a hash of the secret is here, and the escrow key behind it is sealed under the gateway's master key. */
export function openCredentials({
  prisma,
  query,
}: Database): Pick<SellingLedger, 'addApiKey' | 'apiKey' | 'apiKeys' | 'revokeApiKey'> {
  return {
    async addApiKey(key) {
      await prisma((client) => client.apiKey.create({ data: key }))
    },
    // Read for every request, never kept: a key that was revoked through any gateway ends with the next request.
    apiKey: openGroup<string, ApiKey | null>({
      ...GROUP,
      together: (keyIds) => lookUp(query, keyIds),
      alone: async (keyId) => (await lookUp(query, [keyId]))[0] ?? null,
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

function apiKeyOf({ keyId, secretHash, accountId, key, sealedPrivateKey, label, models, purposes, revoked }: Row): ApiKey {
  return { keyId, secretHash, accountId, key, sealedPrivateKey, label, models, purposes, revoked }
}
