import { AbiCoder, id, keccak256, type Wallet, ZeroAddress } from 'ethers'
import { accountIdOf, depositNonceOf } from '../../../services/core/accounts.ts'
import { ANYWHERE, datasetIdOf, type Terms, termsArgument, termsHashOf } from '../../../services/core/consent.ts'
import type { AccountConfig } from '../../../services/core/selling-ledger.ts'
import { toBatchArgument } from '../../../services/core/settlement.ts'
import type { BatchDraft } from '../../../services/core/settlement-ledger.ts'
import { CHAIN_ID, type GasWorld } from './world.ts'

/** What people do on the market, each as one transaction. */

export const PURPOSE = 1
const THAW_SECONDS = 2 * 86_400
const NEVER = 2 ** 40 - 1
const FAR = 4_000_000_000
/** So much that even a share of one per mille is a unit. */
export const PRICE = 4000n
/** What a voucher promises at most: far above what is spent here. */
const CEILING = 1_000_000_000n

export const terms: Terms = {
  ...{ validFrom: 0, validUntil: FAR, purposes: 0b11, prohibitions: 0, flags: 2, noticeSeconds: 86_400, royaltyPpm: 1000 },
  ...{ withdrawal: 'stop', sunsetSeconds: 0, retrainSeconds: 90 * 86_400, floorPrice: 0n, jurisdictions: ANYWHERE },
}
export const termsHash = termsHashOf(terms)
export const storeTerms = (from: Wallet) =>
  ({ from, contract: 'DatasetRegistry', method: 'storeTerms', args: [termsArgument(terms)] }) as const

export interface Spending {
  payer: Wallet
  /** Null for the payer's own. */
  key: Wallet | null
  from: bigint
  /** The lanes that each take the price. */
  lanes: number[]
  price: bigint
}

export function registrationOf(owner: Wallet, name: string, isPool = false) {
  return {
    owner: owner.address,
    commitment: id(`commitment ${name}`),
    termsHash,
    salt: id(`salt ${name}`),
    isPool,
    recovery: ZeroAddress,
  }
}

export async function registerDataset(world: GasWorld, owner: Wallet, name: string, isPool = false) {
  const registration = registrationOf(owner, name, isPool)
  const gas = await world.gasOf({ from: owner, contract: 'DatasetRegistry', method: 'register', args: [registration] })
  return { gas, datasetId: datasetIdOf(owner.address, registration.commitment, registration.salt) }
}

export async function registerDatasetBySig(world: GasWorld, owner: Wallet, name: string) {
  const registration = registrationOf(owner, name)
  const signature = await world.sign(owner, 'DatasetRegistry', 'RegisterDataset', { ...registration, deadline: FAR })
  const from = await world.person('relayer')
  const gas = await world.gasOf({
    from,
    contract: 'DatasetRegistry',
    method: 'registerBySig',
    args: [registration, FAR, signature],
  })
  return { gas, datasetId: datasetIdOf(owner.address, registration.commitment, registration.salt) }
}

/** A model that owes each of its datasets the same share. */
export async function registerModel(world: GasWorld, name: string, { datasetIds, ppm }: { datasetIds: string[]; ppm: number }) {
  const author = await world.person('author')
  const registration = {
    ...{ author: author.address, onnxDigest: id(`onnx ${name}`), manifestDigest: id(`manifest ${name}`) },
    ...{ datasets: datasetIds.map((datasetId) => ({ datasetId, ppm })), parents: [], purposes: 1 << PURPOSE },
    ...{ authorPpm: 0, derivativePpm: 0 },
  }
  const modelId = String(await world.read('ModelRegistry', 'modelIdOf', [registration]))
  await world.gasOf({ from: author, contract: 'ModelRegistry', method: 'register', args: [registration] })
  return modelId
}

/** A full random salt: the account's bytes at their dearest. */
export async function accountOf(world: GasWorld, payer: Wallet): Promise<AccountConfig> {
  const collector = (await world.person('collector')).address
  return { payer: payer.address, collector, thawSeconds: THAW_SECONDS, salt: id(`account of ${payer.address}`) }
}

export function accountIdIn(world: GasWorld, config: AccountConfig): string {
  const { InferenceEscrow: address = '', Token: token = '' } = world.addresses
  return accountIdOf(config, { chainId: CHAIN_ID, address, token })
}

export async function depositByAuthorization(world: GasWorld, payer: Wallet, { amount, name }: { amount: bigint; name: string }) {
  const account = await accountOf(world, payer)
  const salt = id(`deposit ${name}`)
  const validBefore = FAR
  const signature = await world.sign(payer, 'Token', 'ReceiveWithAuthorization', {
    ...{ from: payer.address, to: world.addresses.InferenceEscrow, value: amount, validAfter: 0, validBefore },
    nonce: depositNonceOf(accountIdIn(world, account), salt),
  })
  const args = [account, amount, 0, validBefore, salt, signature]
  return world.gasOf({
    from: await world.person('relayer'),
    contract: 'InferenceEscrow',
    method: 'depositWithAuthorization',
    args,
  })
}

export async function grantKey(world: GasWorld, payer: Wallet, key: Wallet, cap: bigint): Promise<number> {
  const account = await accountOf(world, payer)
  return world.gasOf({
    from: payer,
    contract: 'InferenceEscrow',
    method: 'grantKey',
    args: [account, key.address, cap, NEVER, 1],
  })
}

/** Settles as the collector; every row must be charged, so that what is measured is not a skip. */
export async function settle(world: GasWorld, name: string, { models, spendings }: { models: string[]; spendings: Spending[] }) {
  const collector = await world.person('collector')
  const provider = await world.person('provider')
  const rows = await Promise.all(spendings.map((spending) => rowOf(world, spending)))
  const lane = (modelId: string) => ({ modelId, provider: provider.address, purpose: PURPOSE, lastServedAt: world.now() })
  const draft: BatchDraft = {
    ...{ batchId: id(`batch ${name}`), collector: collector.address, lanes: models.map(lane), rows },
    leaves: rows.map((row) => row.voucher.usageHead),
  }
  const gas = await world.gasOf({
    from: collector,
    contract: 'InferenceEscrow',
    method: 'settleBatch',
    args: [toBatchArgument(draft), '0x'],
  })
  for (const row of rows) await requireCharged(world, row)
  return gas
}

async function rowOf(world: GasWorld, { payer, key, from, lanes, price }: Spending): Promise<BatchDraft['rows'][number]> {
  const config = await accountOf(world, payer)
  const signer = key ?? payer
  const accountId = accountIdIn(world, config)
  const sum = price * BigInt(lanes.length)
  const value = {
    accountId,
    key: signer.address,
    ceiling: CEILING,
    usageHead: keccak256(AbiCoder.defaultAbiCoder().encode(['bytes32', 'uint256'], [accountId, from + sum])),
  }
  const signature = await world.sign(signer, 'InferenceEscrow', 'Voucher', value)
  return {
    ...{ accountId, config, key: signer.address, from, voucher: { ...value, signature }, requestIds: [] },
    parts: lanes.map((lane) => ({ lane, amount: price })),
  }
}

async function requireCharged(
  world: GasWorld,
  { accountId, config, key, from, parts }: BatchDraft['rows'][number],
): Promise<void> {
  const own = key === config.payer
  const state = await world.read('InferenceEscrow', own ? 'balance' : 'key', own ? [accountId] : [accountId, key])
  const spent = (state as Record<string, bigint>)[own ? 'ownSpent' : 'spent']
  const expected = parts.reduce((sum, { amount }) => sum + amount, from)
  if (spent !== expected) throw new Error(`a row was skipped: ${spent} of ${expected} charged`)
}

/** A leaf of a tree of 2^depth: the contract reads the path only, so the rest of the tree is 20 digests. */
export function pathOf(account: string, shares: bigint, depth: number): { root: string; proof: string[] } {
  const coder = AbiCoder.defaultAbiCoder()
  const proof = Array.from({ length: depth }, (_, level) => id(`sibling ${level}`))
  const leaf = keccak256(keccak256(coder.encode(['address', 'uint128'], [account, shares])))
  const join = (a: string, b: string) => keccak256(coder.encode(['bytes32', 'bytes32'], a < b ? [a, b] : [b, a]))
  return { root: proof.reduce(join, leaf), proof }
}
