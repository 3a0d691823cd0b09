import type { Signer } from 'ethers'
import type { InferAnswer, InferBody } from '../core/api.ts'
import { GranaryError } from '../core/errors.ts'
import type { ContractName, MessageName, MessageValue, Verifier } from '../core/messages.ts'
import { typedData } from '../core/messages.ts'
import { Account } from './account.ts'
import { Consent } from './consent.ts'
import { type Contracts, openContracts } from './contracts.ts'
import { Contribute } from './contribute.ts'
import { Derive } from './derive.ts'
import { Earnings } from './earnings.ts'
import { Govern } from './govern.ts'
import { type Http, openHttp } from './http.ts'
import { Provide } from './provide.ts'

export interface GranaryOptions {
  gatewayUrl: string
  /** Whose acts are signed; without it only public reads and API-key inference work. */
  wallet?: Signer
  /** Reads and sends directly, without trusting the gateway. */
  rpcUrl?: string
  fetch?: typeof fetch
  /** How long a gateway that can't be reached is tried; the default lets one start again. */
  unreachableMs?: number
}

export interface GatewayFacts {
  chainId: string
  contracts: Record<string, string>
  token: string
  tokenDomain: { name: string; version: string }
  escrow: string
  collector: string
  minThawSeconds: number
  gatewayKey: string
}

export interface Relayed {
  transaction: string
  block: number
  gasUsed: string
  events: { contract: string; name: string; args: Record<string, unknown> }[]
}

/** What every chapter needs: the gateway, its facts, and the signer. */
export interface Context {
  http: Http
  facts: GatewayFacts
  verifier(contract: string): Verifier
  signer(): Signer
  address(): Promise<string>
  sign<C extends ContractName>(contract: C, name: MessageName<C>, value: MessageValue): Promise<string>
  /** The gateway pays the gas; the signature is the person's. */
  relay(contract: string, method: string, args: readonly unknown[]): Promise<Relayed>
  /** Puts bytes to the gateway's IPFS node, from where others fetch them by CID. */
  put(bytes: Uint8Array): Promise<string>
  /** Chain time in seconds. */
  now(): Promise<number>
  contracts(): Contracts
}

/** One cooperative through one gateway: the seven chapters as properties. */
export class Granary {
  readonly contribute: Contribute
  readonly consent: Consent
  readonly derive: Derive
  readonly provide: Provide
  readonly account: Account
  readonly earnings: Earnings
  readonly govern: Govern
  readonly context: Context

  private constructor(context: Context) {
    this.context = context
    this.contribute = new Contribute(context)
    this.consent = new Consent(context)
    this.derive = new Derive(context)
    this.provide = new Provide(context)
    this.account = new Account(context)
    this.earnings = new Earnings(context)
    this.govern = new Govern(context)
  }

  static async open(options: GranaryOptions): Promise<Granary> {
    const http = openHttp(options)
    const facts = await http.json<GatewayFacts>({ method: 'GET', path: '/v1', repeatable: true })
    return new Granary(contextOf(http, facts, options))
  }

  /** Inference by API key: nothing else is needed, the gateway signs vouchers within the key's cap. */
  async infer(body: InferBody, { apiKey, idempotencyKey }: { apiKey: string; idempotencyKey?: string }): Promise<InferAnswer> {
    const headers = { authorization: `Bearer ${apiKey}`, 'idempotency-key': idempotencyKey ?? crypto.randomUUID() }
    return this.context.http.json<InferAnswer>({ method: 'POST', path: '/v1/infer', body, headers, repeatable: true })
  }

  async models(): Promise<Record<string, unknown>[]> {
    const { models } = await this.context.http.json<{ models: Record<string, unknown>[] }>({
      method: 'GET',
      path: '/v1/models',
      repeatable: true,
    })
    return models
  }
}

function contextOf(http: Http, facts: GatewayFacts, { wallet, rpcUrl }: GranaryOptions): Context {
  const chainId = BigInt(facts.chainId)
  const addresses: Record<string, string> = { ...facts.contracts, Token: facts.token }
  let contracts: Contracts | null = null
  const verifier = (contract: string) => ({
    chainId,
    address: addresses[contract] ?? '',
    ...(contract === 'Token' ? facts.tokenDomain : {}),
  })
  const signer = () => {
    if (!wallet) throw new GranaryError('config.invalid', 'This act needs a wallet: give one to Granary.open.')
    return wallet
  }
  return {
    http,
    facts,
    verifier,
    signer,
    address: async () => (await signer().getAddress()).toLowerCase(),
    async sign(contract, name, value) {
      const { domain, types } = typedData(contract, name, verifier(contract), value)
      return signer().signTypedData(domain, types, value)
    },
    relay: (contract, method, args) =>
      http.json<Relayed>({ method: 'POST', path: '/v1/relay', body: { contract, method, args } }),
    async put(bytes) {
      const { cid } = await http.json<{ cid: string }>({ method: 'POST', path: '/v1/content', body: bytes, repeatable: true })
      return cid
    },
    async now() {
      const { timestamp } = await http.json<{ timestamp: number }>({ method: 'GET', path: '/v1/head', repeatable: true })
      return timestamp
    },
    contracts() {
      if (rpcUrl === undefined) throw new GranaryError('config.invalid', 'This needs rpcUrl: give it to Granary.open.')
      contracts ??= openContracts({ rpcUrl, chainId, addresses, wallet: wallet ?? null })
      return contracts
    },
  }
}
