import type { Signer } from 'ethers'
import { GranaryError } from '../core/errors.ts'
import { type ContractName, type MessageName, type MessageValue, typedData, type Verifier } from '../core/messages.ts'
import { type Contracts, openContracts } from './contracts.ts'
import type { Http } from './http.ts'

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

/** How long a signature that has a deadline may take to reach the chain. */
export const DEADLINE_SECONDS = 3600

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
  /** Whether `contracts` has a node to ask. */
  hasNode: boolean
}

export function contextOf(http: Http, facts: GatewayFacts, { wallet, rpcUrl }: GranaryOptions): Context {
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
    hasNode: rpcUrl !== undefined,
    contracts() {
      if (rpcUrl === undefined) throw new GranaryError('config.invalid', 'This needs rpcUrl: give it to Granary.open.')
      contracts ??= openContracts({ rpcUrl, chainId, addresses, wallet: wallet ?? null })
      return contracts
    },
  }
}
