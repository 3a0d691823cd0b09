import type { FastifyInstance } from 'fastify'
import { recoverSigner } from '../../adapters/signatures.ts'
import { accountIdOf } from '../../core/accounts.ts'
import { KeyBody, LimitsBody, parseBody, RotateBody } from '../../core/api.ts'
import { jurisdictionCodes, jurisdictionIndex, purposeIndex } from '../../core/consent.ts'
import { GranaryError } from '../../core/errors.ts'
import { NO_LIMITS } from '../../core/limits.ts'
import { digestOf, type Verifier } from '../../core/messages.ts'
import type { Chain, Ledger } from '../../core/ports.ts'
import type { AccountConfig, ApiKey, KeySpending } from '../../core/selling-ledger.ts'
import type { ApiKeyBook } from '../api-key-book.ts'
import type { Caller, Callers } from '../callers.ts'
import type { Catalog } from '../catalog.ts'
import type { KeyOffers } from '../key-offers.ts'
import { describeLimits, limitsOf } from '../limits.ts'
import type { Purposes } from '../purposes.ts'
import type { Relay } from '../relay.ts'
import { makeApiSecret, type Vault } from '../vault.ts'

export interface KeysContext {
  chain: Chain
  ledger: Ledger
  apiKeys: ApiKeyBook
  callers: Callers
  catalog: Catalog
  vault: Vault
  offers: KeyOffers
  relay: Relay
  purposes: Purposes
  escrow: Verifier
  token: string
  /** Chain time. */
  clock: () => number
  /** In lower case, and of this gateway's collector. */
  ours: (account: AccountConfig) => AccountConfig
}

/** API keys of an account: made, listed, limited, replaced and ended by its payer. */
export function keyRoutes(app: FastifyInstance, context: KeysContext): void {
  const { ledger, apiKeys, callers, vault, offers, escrow, token, clock, ours } = context

  // Two steps, because the payer signs the grant for a key that only the gateway holds.
  app.post('/v1/keys/offer', async () => offers.make(clock()))

  app.post('/v1/keys', async (request) => {
    const body = parseBody(KeyBody, request.body)
    const config = ours(body.account)
    const key = body.key.toLowerCase()
    const { keyId, secretHash, token: apiKey, privateKey } = offers.open(body.offer, key, clock())
    const accountId = accountIdOf(config, { ...escrow, token })
    const made = { keyId, key, accountId, apiKey }
    const known = await ledger.apiKey(keyId)
    // A repeat by the only one who has the offer: their first answer was lost.
    if (known?.accountId === accountId && !hasEnded(known, clock())) return made
    // All that can be wrong is refused before the grant is on the chain.
    const scope = await scopeOf(context, body)
    const { label, limits } = body
    if (/\p{Cc}/u.test(label)) throw new GranaryError('request.malformed', 'Labels hold no control characters.')
    await grant(context, { config, accountId, body: { ...body, key } })
    // The grant is on chain; the indexer may not have come to the account's deposit yet.
    await ledger.knowAccount(accountId, config)
    // Before the key works, so that it never works without them.
    if (limits) await ledger.setLimits({ accountId, key }, limitsOf(limits), clock())
    const sealedPrivateKey = vault.seal(privateKey, keyId)
    const stored = { keyId, secretHash, accountId, key, sealedPrivateKey, label, ...scope }
    await ledger.addApiKey({ ...stored, createdAt: clock(), endsAt: null, revoked: false })
    return made
  })

  app.get('/v1/keys', async (request) => {
    const { accountId } = await callers.payer(request)
    const [keys, spending, limits, purposes] = await Promise.all([
      ledger.apiKeys(accountId),
      ledger.keySpending(accountId),
      ledger.limits(accountId),
      context.purposes(),
    ])
    const described = keys.map((apiKey) => ({
      ...describeKey(apiKey, { purposes, spending: spending.find(({ key }) => key === apiKey.key) }),
      limits: describeLimits(
        limits.find(({ key }) => key === apiKey.key),
        clock(),
      ),
    }))
    return { keys: described }
  })

  app.delete<{ Params: { keyId: string } }>('/v1/keys/:keyId', async (request) => {
    const stored = await keyOf(await callers.payer(request), request.params.keyId)
    await ledger.revokeApiKey(stored.keyId).finally(() => apiKeys.forget(stored.keyId))
    const others = (await ledger.apiKeys(stored.accountId)).filter(({ key }) => key === stored.key)
    return { keyId: stored.keyId, revoked: true, key: stored.key, lastOfKey: others.every((other) => hasEnded(other, clock())) }
  })

  app.post<{ Params: { keyId: string } }>('/v1/keys/:keyId/rotate', async (request) => {
    const { graceSeconds = 0 } = parseBody(RotateBody, request.body ?? {})
    const caller = await callers.payer(request)
    const { idempotencyKey } = caller
    const stored = await keyOf(caller, request.params.keyId)
    const {
      keyId,
      secretHash,
      token: apiKey,
    } = idempotencyKey === null ? makeApiSecret() : vault.successorOf(stored.keyId, idempotencyKey)
    const made = { keyId, key: stored.key, accountId: stored.accountId, apiKey, replaces: stored.keyId }
    // A repeat by the only one who knows its Idempotency-Key: their first answer was lost, and with it the only copy of the secret.
    const isMade = async () => (await ledger.apiKey(keyId))?.accountId === stored.accountId
    if (stored.endsAt !== null && (await isMade())) return { ...made, replacedEndsAt: stored.endsAt }
    const sealedPrivateKey = vault.seal(vault.open(stored.sealedPrivateKey, stored.keyId).privateKey, keyId)
    const [now, endsAt] = [clock(), clock() + graceSeconds]
    const next = { ...stored, keyId, secretHash, sealedPrivateKey, createdAt: now, endsAt: null, revoked: false }
    const replaced = await ledger.replaceApiKey(stored.keyId, next, endsAt).finally(() => apiKeys.forget(stored.keyId))
    if (!replaced && !(await isMade()))
      throw new GranaryError('credential.ended', 'This API key was revoked or replaced already.', { keyId: stored.keyId })
    return { ...made, replacedEndsAt: endsAt }
  })

  app.post<{ Params: { keyId: string } }>('/v1/keys/:keyId/limits', async (request) => {
    const { accountId, key } = await keyOf(await callers.payer(request), request.params.keyId)
    return limit(accountId, key, parseBody(LimitsBody, request.body))
  })

  app.post('/v1/account/limits', async (request) => {
    const { accountId } = await callers.payer(request)
    return limit(accountId, null, parseBody(LimitsBody, request.body))
  })

  async function limit(accountId: string, key: string | null, body: LimitsBody) {
    if (!(await ledger.setLimits({ accountId, key }, limitsOf(body), clock())))
      throw new GranaryError('account.unknown', 'This account is not known here: deposit into it first.', { accountId })
    const inForce = (await ledger.limits(accountId)).find((one) => one.key === key)
    return { accountId, key, limits: describeLimits(inForce ?? { key, limits: NO_LIMITS, tally: NOTHING_YET }, clock()) }
  }

  async function keyOf({ accountId }: Caller, keyId: string): Promise<ApiKey> {
    const stored = /^[0-9a-f]{1,64}$/.test(keyId) ? await ledger.apiKey(keyId) : null
    if (stored?.accountId === accountId) return stored
    throw new GranaryError('credential.unknown', 'This account has no such API key.')
  }
}

/** Once: a gateway that died between the grant and the API key left a grant that is good for the repeat. */
async function grant(
  { chain, relay, escrow }: KeysContext,
  { config, accountId, body }: { config: AccountConfig; accountId: string; body: KeyBody },
): Promise<void> {
  const { key, cap, notAfter, nonce, signature } = body
  const digest = digestOf('InferenceEscrow', 'GrantKey', escrow, { accountId, key, cap, notAfter, nonce })
  if (recoverSigner(digest, signature) === config.payer) {
    const granted = (await chain.read({ contract: 'InferenceEscrow', method: 'key', args: [accountId, key] })) as Granted
    const isSame = granted.cap === BigInt(cap) && granted.notAfter === BigInt(notAfter) && granted.nonce === BigInt(nonce)
    if (isSame && granted.revokedAt === 0n) return
  }
  const args = [config, key, cap, notAfter, nonce, signature]
  await relay.submit({ contract: 'InferenceEscrow', method: 'grantKeyBySig', args })
}

interface Granted {
  cap: bigint
  notAfter: bigint
  nonce: bigint
  revokedAt: bigint
}

const NOTHING_YET = { minute: 0, minuteRequests: 0, day: 0, daySpent: 0n, month: 0, monthSpent: 0n }

/** Models by id, so that no other model of the same name passes for one. */
async function scopeOf(
  { catalog, purposes }: KeysContext,
  asked: { models: string[]; purposes: string[]; jurisdictions?: string[] },
): Promise<Pick<ApiKey, 'models' | 'purposes' | 'jurisdictions'>> {
  const names = await purposes()
  const models = await Promise.all(asked.models.map(async (model) => (await catalog.find(model)).modelId))
  return {
    models: [...new Set(models)],
    purposes: asked.purposes.map((name) => purposeIndex(name, names)),
    jurisdictions: (asked.jurisdictions ?? []).map(jurisdictionIndex),
  }
}

function hasEnded({ revoked, endsAt }: ApiKey, now: number): boolean {
  return revoked || (endsAt !== null && endsAt <= now)
}

function describeKey(apiKey: ApiKey, { purposes, spending }: { purposes: readonly string[]; spending: KeySpending | undefined }) {
  const { keyId, key, label, models, createdAt, endsAt, revoked } = apiKey
  return {
    keyId,
    key,
    label,
    models,
    purposes: apiKey.purposes.map((index) => purposes[index] ?? String(index)),
    jurisdictions: apiKey.jurisdictions.map((index) => jurisdictionCodes[index] ?? String(index)),
    createdAt,
    endsAt,
    revoked,
    cap: spending?.cap?.toString() ?? null,
    spent: spending?.spent.toString() ?? '0',
    notAfter: spending?.notAfter ?? null,
  }
}
