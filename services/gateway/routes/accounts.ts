import { Wallet } from 'ethers'
import type { FastifyInstance } from 'fastify'
import type { ConsentWatch } from '../../adapters/consent-watch.ts'
import { accountIdOf } from '../../core/accounts.ts'
import { DepositBody, KeyBody, parseBody, SessionBody } from '../../core/api.ts'
import { purposeIndex } from '../../core/consent.ts'
import { GranaryError } from '../../core/errors.ts'
import type { Verifier } from '../../core/messages.ts'
import type { AccountConfig, ApiKey, Chain, KeyStanding, Ledger } from '../../core/ports.ts'
import type { Callers } from '../callers.ts'
import { pageLimit } from '../page-limit.ts'
import type { Purposes } from '../purposes.ts'
import type { Relay } from '../relay.ts'
import { lowerConfig, type Session, type SessionBook } from '../session-book.ts'
import { makeApiSecret, type Vault } from '../vault.ts'

export interface AccountsContext {
  chain: Chain
  ledger: Ledger
  sessions: SessionBook
  callers: Callers
  vault: Vault
  relay: Relay
  consent: ConsentWatch
  purposes: Purposes
  escrow: Verifier
  token: string
  collector: string
}

/** Accounts of payers at this gateway: sessions, deposits by signature, API keys, statements. */
export function accountRoutes(app: FastifyInstance, context: AccountsContext): void {
  const { chain, ledger, sessions, callers, relay, consent, escrow, token, collector, vault } = context

  app.post('/v1/sessions', async (request) => {
    const session = sessions.verify(parseBody(SessionBody, request.body), consent.head?.timestamp ?? 0)
    await requireGranted(session)
    sessions.keep(session)
    const standing = await ledger.standing(session.accountId, session.key)
    return {
      sessionId: session.sessionId,
      accountId: session.accountId,
      gatewayKey: vault.sessionPublicKey,
      standing: describe(standing),
    }
  })

  app.post('/v1/deposits', async (request) => {
    const body = parseBody(DepositBody, request.body)
    const config = ours(body.account)
    const accountId = accountIdOf(config, { ...escrow, token })
    const args = [config, body.amount, body.validAfter, body.validBefore, body.salt, body.signature]
    const outcome = await relay.submit({ contract: 'InferenceEscrow', method: 'depositWithAuthorization', args })
    return { accountId, transaction: outcome.hash, block: outcome.block }
  })

  // Two steps, because the payer signs the grant for a key that only the gateway holds.
  app.post('/v1/keys/offer', async () => {
    const { keyId, secretHash, token: apiToken } = makeApiSecret()
    const wallet = Wallet.createRandom()
    offers.set(wallet.address.toLowerCase(), { keyId, secretHash, apiToken, privateKey: wallet.privateKey })
    const oldest = offers.keys().next()
    if (offers.size > MAX_OFFERS && !oldest.done) offers.delete(oldest.value)
    return { key: wallet.address.toLowerCase() }
  })
  const offers = new Map<string, { keyId: string; secretHash: string; apiToken: string; privateKey: string }>()

  app.post('/v1/keys', async (request) => {
    const body = parseBody(KeyBody, request.body)
    const config = ours(body.account)
    const key = body.key.toLowerCase()
    const offer = offers.get(key)
    if (!offer)
      throw new GranaryError(
        'credential.unknown',
        'This key was not offered by this gateway (any more): POST /v1/keys/offer again.',
      )
    const accountId = accountIdOf(config, { ...escrow, token })
    // All that can be wrong is refused before the grant is on the chain.
    const purposes = await purposeIndexes(body.purposes)
    if ([body.label, ...body.models].some((name) => /\p{Cc}/u.test(name)))
      throw new GranaryError('request.malformed', 'Labels and model names hold no control characters.')
    const { cap, notAfter, nonce, signature } = body
    await relay.submit({
      contract: 'InferenceEscrow',
      method: 'grantKeyBySig',
      args: [config, key, cap, notAfter, nonce, signature],
    })
    // The grant is on chain; the indexer may not have come to the account's deposit yet.
    await ledger.knowAccount(accountId, config)
    await ledger.addApiKey({
      keyId: offer.keyId,
      secretHash: offer.secretHash,
      accountId,
      key,
      sealedPrivateKey: vault.seal(offer.privateKey, offer.keyId),
      label: body.label,
      models: body.models,
      purposes,
      revoked: false,
    })
    offers.delete(key)
    return { keyId: offer.keyId, key, accountId, apiKey: offer.apiToken }
  })

  app.get('/v1/keys', async (request) => {
    const { accountId } = await callers.payer(request)
    return { keys: (await ledger.apiKeys(accountId)).map(describeKey) }
  })

  app.delete<{ Params: { keyId: string } }>('/v1/keys/:keyId', async (request) => {
    const { accountId } = await callers.payer(request)
    const { keyId } = request.params
    const stored = /^[0-9a-f]{1,64}$/.test(keyId) ? await ledger.apiKey(keyId) : null
    if (!stored || stored.accountId !== accountId)
      throw new GranaryError('credential.unknown', 'This account has no such API key.')
    await ledger.revokeApiKey(stored.keyId)
    return { keyId: stored.keyId, revoked: true }
  })

  app.get('/v1/account', async (request) => {
    const { accountId, key } = await callers.known(request)
    return { accountId, key, standing: describe(await ledger.standing(accountId, key)) }
  })

  app.get<{ Querystring: { before?: string; limit?: string } }>('/v1/statement', async (request) => {
    const { accountId } = await callers.known(request)
    const limit = pageLimit(request.query.limit, { fallback: 100, most: 500 })
    const before = /^[0-9]{1,18}$/.test(request.query.before ?? '') ? BigInt(request.query.before ?? 0) : undefined
    const lines = await ledger.statement(accountId, { limit, ...(before === undefined ? {} : { before }) })
    return { accountId, lines: lines.map(jsonSafe) }
  })

  /** A stranger's key gets no session, so it can neither look into an account nor leave vouchers there. */
  async function requireGranted({ accountId, key, config }: Session & { config: AccountConfig }): Promise<void> {
    if (key === config.payer) return
    const granted = (await chain.read({ contract: 'InferenceEscrow', method: 'key', args: [accountId, key] })) as {
      cap: bigint
      revokedAt: bigint
    }
    if (granted.cap > 0n && granted.revokedAt === 0n) return
    throw new GranaryError('credential.forbidden', 'The account has not granted this key, or has revoked it.', { accountId, key })
  }

  async function purposeIndexes(asked: readonly string[]): Promise<number[]> {
    const names = await context.purposes()
    return asked.map((name) => purposeIndex(name, names))
  }

  function ours(account: AccountConfig): AccountConfig {
    const config = lowerConfig(account)
    if (config.collector !== collector)
      throw new GranaryError('request.malformed', `This gateway collects for ${collector} only.`, { collector })
    return config
  }
}

const MAX_OFFERS = 10_000

function describeKey({ keyId, key, label, models, purposes, revoked }: ApiKey) {
  return { keyId, key, label, models, purposes, revoked }
}

function describe(standing: KeyStanding | null) {
  return standing === null ? null : jsonSafe(standing)
}

function jsonSafe(value: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(value).map(([name, field]) => [name, typeof field === 'bigint' ? field.toString() : field]),
  )
}
