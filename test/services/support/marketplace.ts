import { randomBytes } from 'node:crypto'
import { Wallet } from 'ethers'
import { pino } from 'pino'
import { openEthersChain } from '../../../services/adapters/chain/ethers-chain.ts'
import { accountIdOf, NO_USAGE } from '../../../services/core/accounts.ts'
import type { ChainEvent } from '../../../services/core/chain-records.ts'
import { ANYWHERE, type Terms, termsArgument, termsHashOf } from '../../../services/core/consent.ts'
import { typedData } from '../../../services/core/messages.ts'
import type { Chain } from '../../../services/core/ports.ts'
import type { AccountConfig, Voucher } from '../../../services/core/selling-ledger.ts'
import type { SettlementLedger } from '../../../services/core/settlement-ledger.ts'
import type { SettlerOptions } from '../../../services/settler/batches.ts'
import { type DevChain, openDevChain } from '../../adapters/support/dev-chain.ts'

export const silent = pino({ level: 'silent' })
export const randomId = () => `0x${randomBytes(32).toString('hex')}`

/** A real chain with one of each: contributor's dataset, author's model, provider's offer, payer's account. */
export interface Marketplace extends AsyncDisposable {
  node: DevChain
  collector: Chain
  payer: Chain
  provider: Chain
  payerWallet: Wallet
  datasetId: string
  modelId: string
  accountId: string
  config: AccountConfig
  /** By the payer's own key, or a granted one. */
  voucher(ceiling: bigint, signer?: Wallet): Promise<Voucher>
}

export const terms: Terms = {
  validFrom: 0,
  validUntil: 4_000_000_000,
  purposes: 3,
  prohibitions: 0,
  flags: 2,
  noticeSeconds: 0,
  royaltyPpm: 100_000,
  withdrawal: 'stop',
  sunsetSeconds: 0,
  retrainSeconds: 0,
  floorPrice: 0n,
  jurisdictions: ANYWHERE,
}

export const AUTHOR_PPM = 150_000n
export const DATASET_PPM = 100_000n
export const PROTOCOL_PPM = 20_000n

export async function openMarketplace(
  options: { manifestDigest?: string; onnxDigest?: string; router?: boolean } = {},
): Promise<Marketplace> {
  const node = await openDevChain({ router: options.router ?? false })
  const open = (wallet: Wallet | undefined) =>
    openEthersChain({ rpcUrl: node.rpcUrl, deployment: node.deployment, ...(wallet ? { key: wallet } : {}) })
  const [, collectorWallet, payerWallet, providerWallet] = node.wallets
  if (!payerWallet) throw new Error('anvil has too few accounts')
  const [collector, payer, provider] = await Promise.all([collectorWallet, payerWallet, providerWallet].map(open))
  if (!collector || !payer || !provider) throw new Error('unreachable')

  const datasetId = await registerDataset(payer)
  const modelId = await registerModel(payer, { datasetId, manifestDigest: randomId(), onnxDigest: randomId(), ...options })
  await offer(provider, modelId)
  const config = { payer: payer.sender ?? '', collector: collector.sender ?? '', thawSeconds: 7200, salt: randomId() }
  const escrow = { chainId: 31337n, address: payer.addresses.InferenceEscrow ?? '' }
  const accountId = accountIdOf(config, { ...escrow, token: payer.addresses.Token ?? '' })
  return {
    node,
    collector,
    payer,
    provider,
    payerWallet,
    datasetId,
    modelId,
    accountId,
    config,
    async voucher(ceiling, signer = payerWallet) {
      const value = { accountId, key: signer.address.toLowerCase(), ceiling, usageHead: NO_USAGE }
      const data = typedData('InferenceEscrow', 'Voucher', escrow, value)
      return { ...value, signature: await signer.signTypedData(data.domain, data.types, data.value) }
    },
    async [Symbol.asyncDispose]() {
      for (const chain of [collector, payer, provider]) await chain[Symbol.asyncDispose]()
      await node[Symbol.asyncDispose]()
    },
  }
}

export async function registerDataset(owner: Chain): Promise<string> {
  await owner.submit({ contract: 'DatasetRegistry', method: 'storeTerms', args: [termsArgument(terms)] })
  const registration = {
    owner: owner.sender,
    commitment: randomId(),
    termsHash: termsHashOf(terms),
    salt: randomId(),
    isPool: false,
    recovery: `0x${'00'.repeat(20)}`,
  }
  const { events } = await owner.submit({ contract: 'DatasetRegistry', method: 'register', args: [registration] })
  return String(named(events, 'DatasetRegistered').args.datasetId)
}

export async function registerModel(
  author: Chain,
  model: { datasetId: string; manifestDigest: string; onnxDigest: string },
): Promise<string> {
  const { datasetId, manifestDigest, onnxDigest } = model
  const registration = {
    author: author.sender,
    onnxDigest,
    manifestDigest,
    datasets: [{ datasetId, ppm: DATASET_PPM }],
    parents: [],
    purposes: 3,
    authorPpm: AUTHOR_PPM,
    derivativePpm: 0,
  }
  const { events } = await author.submit({ contract: 'ModelRegistry', method: 'register', args: [registration] })
  return String(named(events, 'ModelRegistered').args.modelId)
}

export async function offer(provider: Chain, modelId: string, unitPrice = 10n): Promise<void> {
  await fund(provider, provider.addresses.ProviderRegistry ?? '', 1_000_000n)
  const session = Wallet.createRandom().address
  await provider.submit({ contract: 'ProviderRegistry', method: 'register', args: [session, randomId(), 'one'] })
  await provider.submit({ contract: 'ProviderRegistry', method: 'stake', args: [1_000_000n] })
  await provider.submit({ contract: 'ProviderRegistry', method: 'setOffer', args: [modelId, 0, unitPrice] })
}

export async function deposit({ payer, config }: Marketplace, amount: bigint): Promise<void> {
  await fund(payer, payer.addresses.InferenceEscrow ?? '', amount)
  const { payer: owner, collector, thawSeconds, salt } = config
  await payer.submit({
    contract: 'InferenceEscrow',
    method: 'deposit',
    args: [{ payer: owner, collector, thawSeconds, salt }, amount],
  })
}

async function fund(chain: Chain, spender: string, amount: bigint): Promise<void> {
  await chain.submit({ contract: 'Token', method: 'mint', args: [chain.sender, amount] })
  await chain.submit({ contract: 'Token', method: 'approve', args: [spender, amount] })
}

export function named(events: readonly ChainEvent[], name: string): ChainEvent {
  const found = events.find((event) => event.name === name)
  if (!found) throw new Error(`no ${name} among ${events.map((event) => event.name)}`)
  return found
}

/** A settler that settles everything at once, whatever gas costs. */
export function eagerSettler({ collector, config }: Marketplace, ledger: SettlementLedger): SettlerOptions {
  return {
    chain: collector,
    ledger,
    collector: config.collector,
    log: silent,
    maxAgeSeconds: 0,
    minGross: 1n,
    coinPrice: 0n,
    maxRows: 128,
    maxLanes: 64,
    confirmations: 1,
    randomId,
  }
}
