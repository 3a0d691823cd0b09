import { AbiCoder, id, keccak256 } from 'ethers'
import {
  type ContractName,
  digestOf,
  type MessageName,
  type MessageValue,
  type Verifier,
} from '../../../services/core/messages.ts'
import type { AccountConfig, Named } from '../model/accounts.ts'
import type { Terms } from '../model/consent.ts'
import { type Authority, type Cooperative, openCooperative } from '../model/cooperative.ts'
import { CHAIN_ID, type Chain, openChain, TOKENS } from './chain.ts'
import { type Contract, EPOCH_SECONDS, MAX_SETTLEMENT_SECONDS, PROTOCOL_FEE_PPM } from './deployment.ts'
import { type Person, personOf, signDigest } from './people.ts'

/** The chain, and how its ids and digests come about. Nothing in it changes with a history. */
export interface World {
  chain: Chain
  people: readonly Person[]
  digest<C extends ContractName & Contract>(contract: C, message: MessageName<C>, value: MessageValue): string
  /** By whoever has this address; over another digest if `spoiled`. */
  sign(by: string, digest: string, spoiled: boolean): string
  named(config: AccountConfig): Named
  /** The model's side of an empty history. */
  open(): Cooperative
}

/** The signature of an act, or of something else if it is spoiled. Acts without a deadline have null. */
export interface Signature {
  by: string
  spoiled: boolean
  deadline: number | null
}

const NAMES = ['ann', 'ben', 'cleo', 'dan', 'eve', 'fred', 'gus', 'hal', 'relayer'] as const
const POLICIES = ['stop', 'sunset', 'keep-trained']
const coder = AbiCoder.defaultAbiCoder()
const TERMS_TYPE =
  'tuple(uint40,uint40,uint32,uint32,uint32,uint32,uint32,uint8 withdrawal,uint32,uint32,uint128,uint256 jurisdictions)'

export async function openWorld(): Promise<World> {
  const people = NAMES.map(personOf)
  const chain = await openChain(people)
  const { addresses } = chain
  const byAddress = new Map(people.map((person) => [person.address, person]))
  const verifiers = new Map<string, Verifier>()
  for (const [name, address] of Object.entries(addresses)) {
    const token = name === 'Token' ? { name: 'Granary Test Dollar', version: '1' } : {}
    verifiers.set(name, { chainId: CHAIN_ID, address, ...token })
  }
  const digest: World['digest'] = (contract, message, value) =>
    digestOf(contract, message, verifiers.get(contract) ?? { chainId: CHAIN_ID, address: '' }, value)
  const accounts = new Map<string, Named>()
  return {
    chain,
    people,
    digest,
    sign(by, signed, spoiled) {
      const person = byAddress.get(by)
      if (person === undefined) throw new Error(`Nobody has the key of ${by}.`)
      return signDigest(person, spoiled ? id(signed) : signed)
    },
    named(config) {
      const name = Object.values(config).join()
      const known = accounts.get(name)
      if (known !== undefined) return known
      const named = { ...config, id: digest('InferenceEscrow', 'Account', { ...config, token: addresses.Token }) }
      accounts.set(name, named)
      return named
    },
    open: () =>
      openCooperative(
        {
          ...{ epochSeconds: EPOCH_SECONDS, maxSettlementSeconds: MAX_SETTLEMENT_SECONDS },
          ...{ escrow: addresses.InferenceEscrow, timelock: addresses.timelock, governor: addresses.governor },
        },
        {
          now: chain.start,
          protocolFeePpm: PROTOCOL_FEE_PPM,
          tokens: new Map(people.map(({ address }) => [address, TOKENS])),
        },
      ),
  }
}

/** Whose act it is: the sender's, or the signer's where there is a signature. */
export function authorityOf(from: string, signature: Signature | null): Authority {
  if (signature === null) return { by: from }
  return { by: signature.spoiled ? 'somebody else' : signature.by, deadline: signature.deadline }
}

export function termsTuple(terms: Terms): unknown[] {
  return [
    ...[terms.validFrom, terms.validUntil, terms.purposes, terms.prohibitions, terms.flags, terms.noticeSeconds],
    ...[terms.royaltyPpm, POLICIES.indexOf(terms.withdrawal), terms.sunsetSeconds, terms.retrainSeconds],
    ...[terms.floorPrice, terms.jurisdictions],
  ]
}

export function termsHashOf(terms: Terms): string {
  return hashOf([TERMS_TYPE], [termsTuple(terms)])
}

export function hashOf(types: readonly string[], values: readonly unknown[]): string {
  return keccak256(coder.encode(types, values))
}
