import type { AccountRow } from './accounts.ts'

/** A committed request that a batch may take. */
export interface Candidate {
  request_id: string
  account_id: string
  key: string
  model_id: string
  provider: string
  purpose: number
  charged: string
  served_at: string
  head: string
}

/** What a key's row can raise: from the chain's spending up to the voucher and the cap. */
export interface KeyFunds {
  account_id: string
  key: string
  from: string
  chain_cap: string | null
  ceiling: string
  usage_head: string
  signature: string
  /** What waits of it, of which a batch may take a part. */
  waiting: string
  /** When the first of it was served that a batch may take; null: none may. */
  oldest: string | null
  /** Of a model whose consent has ended. */
  has_ended: boolean
  account: AccountRow
}

/** A row that is being filled. */
export interface OpenRow {
  funds: KeyFunds
  taken: Candidate[]
  total: bigint
  /** Receipts that the deposit no longer covers, after a withdrawal. */
  unfunded: Candidate[]
}

export function laneOf({ model_id, provider, purpose }: Pick<Candidate, 'model_id' | 'provider' | 'purpose'>): string {
  return `${model_id}:${provider}:${purpose}`
}

export function idOf({ account_id, key }: { account_id: string; key: string }): string {
  return `${account_id}:${key}`
}
