import type { ApiKey as Row } from '../../../prisma/generated/client.ts'
import type { ApiKey, SellingLedger } from '../../core/ports.ts'
import type { Database } from './database.ts'

const MAX_KEYS = 1000

/** API keys: only a hash of the secret is here, and the escrow key behind it is sealed under the gateway's master key. */
export function openCredentials({ prisma }: Database): Pick<SellingLedger, 'addApiKey' | 'apiKey' | 'apiKeys' | 'revokeApiKey'> {
  return {
    async addApiKey(key) {
      await prisma((client) => client.apiKey.create({ data: key }))
    },
    async apiKey(keyId) {
      const row = await prisma((client) => client.apiKey.findUnique({ where: { keyId } }))
      return row ? apiKeyOf(row) : null
    },
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

function apiKeyOf({ keyId, secretHash, accountId, key, sealedPrivateKey, label, models, purposes, revoked }: Row): ApiKey {
  return { keyId, secretHash, accountId, key, sealedPrivateKey, label, models, purposes, revoked }
}
