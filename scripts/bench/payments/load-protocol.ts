import type { EscrowFacts } from './wallets.ts'

/** How requests are paid for; `unpaid` asks for the same without paying. */
export type Mode = 'voucher' | 'mac' | 'key' | 'unpaid'

export interface Run {
  act: 'run'
  mode: Mode
  /** Payers with numbers from `first` on, in turn. */
  first: number
  accounts: number
  connections: number
  seconds: number
  /** Sends at this rate whatever the answers take; null: each connection sends again at once. */
  perSecond: number | null
}

export type Command =
  | { act: 'meet'; facts: Omit<EscrowFacts, 'chainId'> & { chainId: string }; port: number; rpcUrl: string; model: string }
  | { act: 'sessions'; first: number; accounts: number }
  | { act: 'keys'; tokens: { payer: number; token: string }[] }
  | { act: 'sdk'; payer: number; parallel: number; rounds: number }
  | Run

export interface Load {
  answered: number
  failed: number
  /** What the first failure said. */
  failure: string | null
  /** Milliseconds of each answered request, at most `MAX_LATENCIES` of them. */
  latencies: number[]
}

export const MAX_LATENCIES = 200_000
