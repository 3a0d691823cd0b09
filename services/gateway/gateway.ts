import type { FastifyInstance } from 'fastify'
import type { ConsentWatch } from '../adapters/consent-watch.ts'
import type { Log } from '../adapters/log.ts'
import { openSigner } from '../adapters/signatures.ts'
import type { Chain, ContentStore, Dispatcher, Ledger } from '../core/ports.ts'
import type { AccountConfig } from '../core/selling-ledger.ts'
import { openApiKeyBook } from './api-key-book.ts'
import { openApp } from './app.ts'
import { openArchive } from './archive/archive.ts'
import { openCallers } from './callers.ts'
import { openCatalog } from './catalog.ts'
import type { Rails } from './challenge.ts'
import type { GatewayConfig } from './config.ts'
import { openForgetting } from './forgetting.ts'
import { openKeyOffers } from './key-offers.ts'
import type { Shop } from './order.ts'
import { openOrphans } from './orphans.ts'
import { openPayerBook } from './payer.ts'
import { openPublisher } from './publisher.ts'
import { openPurposes } from './purposes.ts'
import { openReceiptSigner } from './receipt-signer.ts'
import { openRelay } from './relay.ts'
import { Releases } from './releases.ts'
import { openRepeats } from './repeats.ts'
import { accountRoutes } from './routes/accounts.ts'
import { catalogRoutes } from './routes/catalog.ts'
import { contentRoutes } from './routes/content.ts'
import { embeddingRoutes } from './routes/embeddings.ts'
import { inferRoutes } from './routes/infer.ts'
import { keyRoutes } from './routes/keys.ts'
import { receiptRoutes } from './routes/receipts.ts'
import { relayRoutes } from './routes/relay.ts'
import { usageRoutes } from './routes/usage.ts'
import { voucherRoutes } from './routes/vouchers.ts'
import { configOf, openSessionBook } from './session-book.ts'
import { openStreamDesk } from './streams/desk.ts'
import { commitDelivered } from './streams/leftovers.ts'
import { openVault } from './vault.ts'
import { openX402 } from './x402/x402.ts'

const PURPOSES_AGE_MS = 10_000
/** For whoever reads a stream to take a step. */
const PATIENCE_MS = 30_000

export interface GatewayParts {
  chain: Chain
  ledger: Ledger
  store: ContentStore
  dispatcher: Dispatcher
  consent: ConsentWatch
  /** Adds the route that workers dial. */
  acceptWorkers: (app: FastifyInstance) => void
  log: Log
}

/** Puts the gateway together over its ports; listening is the caller's. */
export async function openGateway(
  config: GatewayConfig,
  parts: GatewayParts,
): Promise<{ app: FastifyInstance } & AsyncDisposable> {
  const { chain, ledger, store, dispatcher, consent, log } = parts
  const { InferenceEscrow, Membership } = chain.addresses
  const escrow = { chainId: chain.chainId, address: InferenceEscrow ?? '' }
  const membership = { chainId: chain.chainId, address: Membership ?? '' }
  const token = config.deployment.token
  const collector = config.collector.address.toLowerCase()
  const vault = openVault(config.masterKeys)
  const owner = `gateway:${collector}:${config.name}`
  await using stack = new AsyncDisposableStack()
  stack.use(await ledger.claimOwner(owner))
  await commitDelivered(ledger, { read: (limit) => ledger.leftoverProgress(owner, limit), log })
  const leftovers = await ledger.releaseLeftovers(owner)
  if (leftovers > 0) log.warn({ event: 'reservations.released', count: leftovers, why: 'left by an earlier run of this gateway' })

  const clock = () => consent.head?.timestamp ?? 0
  const releases = stack.use(new Releases({ ledger, log }))
  const { answerSeconds, masterKeys, repeatWaitMs: waitMs } = config
  const offers = openKeyOffers(masterKeys)
  stack.use(openForgetting({ ledger, answerSeconds, clock, log }))
  const repeats = openRepeats({ ledger, masterKeys, keep: answerSeconds > 0, waitMs })
  const { jobTimeoutMs, streamSeconds, topUpSeconds } = config
  const limits = { wholeMs: 1000 * streamSeconds, stepMs: jobTimeoutMs, patienceMs: PATIENCE_MS, topUpMs: 1000 * topUpSeconds }
  stack.use(openOrphans({ ledger, jobTimeoutMs, clock, log }))
  const streams = stack.use(openStreamDesk({ ledger, limits, log }))
  const sessions = openSessionBook({ ledger, vault, escrow, token, collector, clock })
  const apiKeys = openApiKeyBook({ ledger })
  const payers = openPayerBook({ apiKeys, sessions, vault, escrow, clock })
  const callers = openCallers({ ledger, payers })
  const catalog = openCatalog({ ledger, maxAgeMs: Math.min(500, config.blockMs / 2) })
  const relay = openRelay({ chain, settings: config.relay, clockMs: () => performance.now(), log })
  const settlementSeconds = await chain.read({ contract: 'InferenceEscrow', method: 'MAX_SETTLEMENT_SECONDS', args: [] })
  const tokenDomain = await tokenDomainOf(chain)
  const purposes = openPurposes({ chain, maxAgeMs: PURPOSES_AGE_MS })
  const shop: Shop = {
    ledger,
    dispatcher,
    consent,
    catalog,
    payers,
    purposes,
    releases,
    repeats,
    signatureOf: openReceiptSigner({ escrow, sign: openSigner(config.collector.privateKey) }),
    escrow,
    owner,
    jobTimeoutMs,
    streams,
    log,
  }

  const x402 = stack.use(await openX402({ config, chain, shop, token, tokenDomain }))
  const rails: Rails = {
    chainId: chain.chainId,
    token,
    tokenDomain,
    escrow: escrow.address,
    collector,
    minThawSeconds: 2 * Number(settlementSeconds),
    sessionKey: vault.sessionPublicKey,
    exact: x402?.offer ?? null,
  }
  const app = await openApp({ log, bodyLimitBytes: config.bodyLimitBytes, requestsPerMinute: config.requestsPerMinute })
  catalogRoutes(app, { catalog, consent, chain, ledger, dispatcher, rails, purposes })
  inferRoutes(app, { shop, rails, exact: x402?.desk ?? null })
  voucherRoutes(app, { shop })
  embeddingRoutes(app, { shop })
  const ours = (account: AccountConfig) => configOf(account, collector)
  accountRoutes(app, { chain, ledger, sessions, callers, vault, relay, escrow, token, clock, ours })
  keyRoutes(app, { chain, ledger, apiKeys, callers, catalog, vault, offers, relay, purposes, escrow, token, clock, ours })
  usageRoutes(app, { ledger, callers, catalog, collector, clock })
  const archive = stack.use(openArchive({ databaseUrl: config.databaseUrl, escrow: { ...escrow, token }, log }))
  receiptRoutes(app, { ledger, archive, callers, collector })
  relayRoutes(app, { relay, registrar: config.registrar, membership })
  contentRoutes(app, { store, limitBytes: config.contentLimitBytes })
  parts.acceptWorkers(app)
  stack.use(openPublisher({ ledger, archive, store, collector, log }))
  stack.defer(() => app.close())
  stack.defer(() => streams.close())
  const owned = stack.move()
  return { app, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}

/** Every EIP-3009 token signs under its own name and version. */
async function tokenDomainOf(chain: Chain): Promise<{ name: string; version: string }> {
  const read = (method: string) => chain.read({ contract: 'Token', method, args: [] })
  const [name, version] = await Promise.all([read('name'), read('version')])
  return { name: String(name), version: String(version) }
}
