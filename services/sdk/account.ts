import { randomBytes } from '@noble/hashes/utils.js'
import { hexlify, ZeroHash } from 'ethers'
import { accountIdOf, depositNonceOf } from '../core/accounts.ts'
import type { AccountConfig } from '../core/selling-ledger.ts'
import { auditBatch, type ReceiptsFile } from './audit.ts'
import { type Context, DEADLINE_SECONDS } from './context.ts'
import { Funds } from './funds.ts'
import { findAccount, wayOf } from './funds-way.ts'
import { Meter } from './meter.ts'
import { type Usage, usageOver } from './usage.ts'

export interface ApiKeyRequest {
  cap: bigint
  lifeSeconds: number
  label: string
  /** What it may buy, for what and where; left out: anything. */
  models?: string[]
  purposes?: string[]
  jurisdictions?: string[]
  limits?: LimitsRequest
}

/** What is left out, or null, is not limited. Budgets in base units, by UTC day and month. */
export interface LimitsRequest {
  requestsPerMinute?: number | null
  parallel?: number | null
  budgetPerDay?: bigint | null
  budgetPerMonth?: bigint | null
}

export interface ApiKeyFacts {
  keyId: string
  /** The escrow key behind it. */
  key: string
  label: string
  models: string[]
  purposes: string[]
  jurisdictions: string[]
  createdAt: number
  endsAt: number | null
  revoked: boolean
  cap: string | null
  spent: string
  notAfter: number | null
  limits: Record<string, string | number | null> | null
}

/** Chapter 5, the payer's side: one escrow account at one gateway. */
export class Account {
  readonly #context: Context
  #own: Promise<Meter> | null = null
  /** Usage, bills and statement of the account. */
  readonly books: Usage

  constructor(context: Context) {
    this.#context = context
    this.books = usageOver((path) => this.#request({ method: 'GET', path }))
  }

  /** The wallet's account at this gateway's collector; another salt is another account. */
  async config({ salt = ZeroHash, thawSeconds = this.#context.facts.minThawSeconds } = {}): Promise<AccountConfig> {
    return { payer: await this.#context.address(), collector: this.#context.facts.collector, thawSeconds, salt }
  }

  idOf(config: AccountConfig): string {
    return accountIdOf(config, { ...this.#context.verifier('InferenceEscrow'), token: this.#context.facts.token })
  }

  /** Deposits by EIP-3009: a signature, no gas, and the money can go nowhere but into this account. */
  async deposit(amount: bigint, config?: AccountConfig): Promise<{ accountId: string; transaction: string }> {
    const account = config ?? (await this.config())
    const salt = hexlify(randomBytes(32))
    const validBefore = (await this.#context.now()) + DEADLINE_SECONDS
    const value = {
      from: account.payer,
      to: this.#context.facts.escrow,
      value: amount,
      validAfter: 0n,
      validBefore,
      nonce: depositNonceOf(this.idOf(account), salt),
    }
    const signature = await this.#context.sign('Token', 'ReceiveWithAuthorization', value)
    const args = [account, amount, 0n, validBefore, salt, signature]
    const { transaction } = await this.#context.relay('InferenceEscrow', 'depositWithAuthorization', args)
    return { accountId: this.idOf(account), transaction }
  }

  /** The way out: balance, thaw, withdrawal, credit. By signature, or `direct`; another account than the default by its id. */
  funds({ accountId, direct = false }: { accountId?: string; direct?: boolean } = {}): Funds {
    const { address, contracts } = this.#context
    const account = async () =>
      accountId === undefined ? this.config() : findAccount(contracts(), { payer: await address(), accountId })
    return new Funds(wayOf(this.#context, { account, direct }))
  }

  /** Pays by vouchers, signed with the wallet itself. */
  async meter({
    maxPerRequest,
    maxSpent,
    config,
  }: {
    maxPerRequest: bigint
    maxSpent?: bigint
    config?: AccountConfig
  }): Promise<Meter> {
    const { http, facts, signer, verifier } = this.#context
    const account = config ?? (await this.config())
    return new Meter({
      http,
      config: account,
      signer: signer(),
      escrow: verifier('InferenceEscrow'),
      token: facts.token,
      maxPerRequest,
      ...(maxSpent === undefined ? {} : { maxSpent }),
    })
  }

  /** The cap is money entrusted to the gateway: it holds the key and can sign vouchers up to it. */
  async createApiKey({
    cap,
    lifeSeconds,
    label,
    models = [],
    purposes = [],
    jurisdictions = [],
    limits,
  }: ApiKeyRequest): Promise<{ apiKey: string; keyId: string; key: string }> {
    const { http, sign, now } = this.#context
    const account = await this.config()
    const { key, offer } = await http.json<{ key: string; offer: string }>({
      method: 'POST',
      path: '/v1/keys/offer',
      body: {},
      repeatable: true,
    })
    const notAfter = (await now()) + lifeSeconds
    const grant = { accountId: this.idOf(account), key, cap, notAfter, nonce: 1 }
    const signature = await sign('InferenceEscrow', 'GrantKey', grant)
    const body = { account, key, offer, cap, notAfter, nonce: 1, signature, label, models, purposes, jurisdictions, limits }
    // A repeat after a lost answer gives the same API key.
    return http.json({ method: 'POST', path: '/v1/keys', body, repeatable: true })
  }

  /** All receipts of the account, to be kept, and held against the chain without the gateway: auditReceipts. */
  async receiptsFile(config?: AccountConfig): Promise<ReceiptsFile> {
    const { facts } = this.#context
    const account = config ?? (await this.config())
    const meter = await this.meter({ maxPerRequest: 0n, config: account })
    const { InferenceEscrow = '', ProviderRegistry = '' } = facts.contracts
    return {
      format: 'granary-receipts/1',
      chainId: facts.chainId,
      contracts: { InferenceEscrow, ProviderRegistry },
      token: facts.token,
      collector: facts.collector,
      accountId: this.idOf(account),
      receipts: await meter.receipts(),
    }
  }

  /** A settled batch as its collector publishes it, held against the transaction that settled it. */
  async auditBatch(batchId: string): Promise<{ receipts: number; transaction: string; cid: string | null }> {
    const { http, contracts } = this.#context
    const { bytes, headers } = await http.send({ method: 'GET', path: `/v1/batches/${batchId}`, repeatable: true })
    const transaction = headers.get('granary-transaction') ?? ''
    const { heads } = auditBatch(bytes, await contracts().calldata('InferenceEscrow', transaction))
    return { receipts: heads.length, transaction, cid: headers.get('granary-cid') }
  }

  async apiKeys(): Promise<ApiKeyFacts[]> {
    return (await this.#json<{ keys: ApiKeyFacts[] }>({ method: 'GET', path: '/v1/keys' })).keys
  }

  /** A new secret for the same escrow key, scope, cap and limits; the old one is taken for `graceSeconds` more. */
  async rotateApiKey(
    keyId: string,
    { graceSeconds = 0 }: { graceSeconds?: number } = {},
  ): Promise<{ apiKey: string; keyId: string; key: string; replacedEndsAt: number }> {
    return this.#json({ method: 'POST', path: `/v1/keys/${keyId}/rotate`, body: { graceSeconds } })
  }

  /** Of an API key, or with null of the whole account; replaces the limits that there were. */
  async setLimits(keyId: string | null, limits: LimitsRequest): Promise<Record<string, string | number | null>> {
    const path = keyId === null ? '/v1/account/limits' : `/v1/keys/${keyId}/limits`
    const answer = await this.#json<{ limits: Record<string, string | number | null> }>({ method: 'POST', path, body: limits })
    return answer.limits
  }

  /** Ends an API key at the gateway, and the escrow key behind it on chain when no other API key uses that one. */
  async revokeApiKey(keyId: string): Promise<{ key: string; onChain: boolean }> {
    const ended = await this.#json<{ key: string; lastOfKey: boolean }>({ method: 'DELETE', path: `/v1/keys/${keyId}` })
    if (ended.lastOfKey) await this.revokeKey(ended.key)
    return { key: ended.key, onChain: ended.lastOfKey }
  }

  /** Ends a key on chain: no gateway accepts it from the next block it sees. */
  async revokeKey(key: string): Promise<void> {
    const account = await this.config()
    const signature = await this.#context.sign('InferenceEscrow', 'RevokeKey', { accountId: this.idOf(account), key })
    await this.#context.relay('InferenceEscrow', 'revokeKeyBySig', [account, key, signature])
  }

  async #json<T>(asked: Parameters<Meter['request']>[0]): Promise<T> {
    return JSON.parse(new TextDecoder().decode(await this.#request(asked))) as T
  }

  /** One session for all that is asked about the account. */
  async #request(asked: Parameters<Meter['request']>[0]): Promise<Uint8Array> {
    this.#own ??= this.meter({ maxPerRequest: 0n }).catch((error) => {
      this.#own = null
      throw error
    })
    return (await this.#own).request(asked)
  }
}
