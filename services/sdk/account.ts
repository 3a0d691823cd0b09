import { randomBytes } from '@noble/hashes/utils.js'
import { hexlify, ZeroHash } from 'ethers'
import { accountIdOf, depositNonceOf } from '../core/accounts.ts'
import type { AccountConfig } from '../core/ports.ts'
import { auditBatch, type ReceiptsFile } from './audit.ts'
import { type Context, DEADLINE_SECONDS } from './context.ts'
import { Meter } from './meter.ts'

export interface ApiKeyRequest {
  cap: bigint
  lifeSeconds: number
  label: string
  models?: string[]
  purposes?: string[]
}

/** Chapter 5, the payer's side: one escrow account at one gateway. */
export class Account {
  readonly #context: Context

  constructor(context: Context) {
    this.#context = context
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

  /** Pays by vouchers, signed with the wallet itself. */
  async meter({ maxPerRequest, config }: { maxPerRequest: bigint; config?: AccountConfig }): Promise<Meter> {
    const { http, facts, signer, verifier } = this.#context
    const account = config ?? (await this.config())
    return new Meter({
      http,
      config: account,
      signer: signer(),
      escrow: verifier('InferenceEscrow'),
      token: facts.token,
      maxPerRequest,
    })
  }

  /** The cap is money entrusted to the gateway: it holds the key and can sign vouchers up to it. */
  async createApiKey({
    cap,
    lifeSeconds,
    label,
    models = [],
    purposes = [],
  }: ApiKeyRequest): Promise<{ apiKey: string; keyId: string; key: string }> {
    const { http, sign, now } = this.#context
    const account = await this.config()
    const { key } = await http.json<{ key: string }>({ method: 'POST', path: '/v1/keys/offer', body: {} })
    const notAfter = (await now()) + lifeSeconds
    const grant = { accountId: this.idOf(account), key, cap, notAfter, nonce: 1 }
    const signature = await sign('InferenceEscrow', 'GrantKey', grant)
    const body = { account, key, cap, notAfter, nonce: 1, signature, label, models, purposes }
    return http.json({ method: 'POST', path: '/v1/keys', body })
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

  /** Ends a key on chain: no gateway accepts it from the next block it sees. */
  async revokeKey(key: string): Promise<void> {
    const account = await this.config()
    const signature = await this.#context.sign('InferenceEscrow', 'RevokeKey', { accountId: this.idOf(account), key })
    await this.#context.relay('InferenceEscrow', 'revokeKeyBySig', [account, key, signature])
  }
}
