import type { Account, CollectorFee } from './accounts.ts'
import type { Dataset, Terms } from './consent.ts'
import type { Entitlements } from './dust.ts'
import type { Model } from './lineage.ts'

/**
 * What the design says that the cooperative knows, in plain numbers. Ids and addresses are opaque lower-case strings, times are
 * seconds, amounts base units. Every act is a function that names all reasons why it must be refused, and changes the
 * cooperative only if there is none.
 */
export interface Cooperative {
  rules: Rules
  now: number
  protocolFeePpm: number
  treasury: string
  terms: Map<string, Terms>
  datasets: Map<string, Dataset>
  models: Map<string, Model>
  /** Who holds how many tokens. */
  tokens: Map<string, bigint>
  accounts: Map<string, Account>
  collectorFees: Map<string, CollectorFee>
  /** The receipts root of each executed batch, by collector and batch id. */
  batches: Map<string, string>
  credits: Map<string, bigint>
  /** What models earned for their payees, by model and epoch, and all of it that was not paid out. */
  income: Map<string, bigint>
  unpaidIncome: bigint
  /** What went from a model's income to a payee's pot, by model, payee and epoch. */
  pulled: Map<string, bigint>
  /** By payee and epoch: what came in, what went out, and to which account. */
  pots: Map<string, bigint>
  paid: Map<string, bigint>
  drawn: Map<string, bigint>
  usedSignatures: Set<string>
  /** The same entitlements without any rounding. */
  exact: Entitlements
}

/** Deployment parameters, and bounds that the interfaces and the decisions name. */
export interface Rules {
  epochSeconds: number
  maxSettlementSeconds: number
  escrow: string
  timelock: string
  governor: string
}

export type Refusal = string

/** 2^40 - 1: the latest time that a contract can hold. */
export const NEVER = 2 ** 40 - 1
export const MILLION = 1_000_000n
export const DAY = 86_400

/** Who stands behind an act of a person: the sender of the transaction, or whoever signed exactly these values. */
export interface Authority {
  by: string
  /** With a signature; null where the act has none, undefined where the person sends. */
  deadline?: number | null
}

export function openCooperative(rules: Rules, start: Pick<Cooperative, 'now' | 'protocolFeePpm' | 'tokens'>): Cooperative {
  return {
    rules,
    ...start,
    ...{ treasury: rules.timelock, terms: new Map(), datasets: new Map(), models: new Map(), accounts: new Map() },
    ...{ collectorFees: new Map(), batches: new Map(), credits: new Map(), income: new Map(), unpaidIncome: 0n },
    ...{ pulled: new Map(), pots: new Map(), paid: new Map(), drawn: new Map(), usedSignatures: new Set() },
    exact: { credits: new Map(), pots: new Map(), gross: 0n },
  }
}

export function epochAt({ epochSeconds }: Rules, at: number): number {
  return Math.floor(at / epochSeconds)
}

/** Why this is not the act of `person`: another sender, another signer, or a signature that came too late. */
export function notTheActOf(
  person: string | null,
  { by, deadline }: Authority,
  names: { sender: Refusal; signature: Refusal; expired: Refusal; now: number },
): Refusal[] {
  if (deadline === undefined) return by === person ? [] : [names.sender]
  const refusals = by === person ? [] : [names.signature]
  if (deadline !== null && names.now > deadline) refusals.push(names.expired)
  return refusals
}

export function increase(books: Map<string, bigint>, key: string, amount: bigint): void {
  const sum = (books.get(key) ?? 0n) + amount
  if (sum < 0n) throw new RangeError(`${key} would be ${sum}.`)
  books.set(key, sum)
}

/** Pays out of the escrow. */
export function payOut({ tokens, rules }: Cooperative, to: string, amount: bigint): void {
  increase(tokens, rules.escrow, -amount)
  increase(tokens, to, amount)
}
