export interface Head {
  number: number
  hash: string
  parentHash: string
  /** Chain time in seconds. */
  timestamp: number
}

export interface ChainEvent {
  block: number
  blockHash: string
  transaction: string
  logIndex: number
  contract: string
  name: string
  /** Named arguments; bigints as decimal strings, bytes as hex. */
  args: Record<string, unknown>
}

export interface Call {
  contract: string
  method: string
  args: readonly unknown[]
}

/** A signed transaction, stored before it is broadcast. */
export interface SignedTransaction {
  raw: string
  hash: string
  nonce: number
}

export interface TransactionOutcome {
  hash: string
  block: number
  blockHash: string
  succeeded: boolean
  gasUsed: bigint
  events: ChainEvent[]
}
