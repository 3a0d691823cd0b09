import type { SignedTransaction } from './chain-records.ts'
import type { Economy } from './economy.ts'
import type { JobReceipt } from './jobs.ts'
import type { AccountConfig, RequestState, Voucher } from './selling-ledger.ts'

/** One key's part of a batch, ready to be a row of settleBatch. */
export interface BatchRow {
  accountId: string
  config: AccountConfig
  key: string
  /** What the chain says the key has spent. */
  from: bigint
  voucher: Voucher
  parts: { lane: number; amount: bigint }[]
  requestIds: string[]
}

export interface BatchLane {
  modelId: string
  provider: string
  purpose: number
  lastServedAt: number
}

export interface BatchDraft {
  batchId: string
  collector: string
  lanes: BatchLane[]
  rows: BatchRow[]
  /** Receipt heads in order, one per request: the leaves of the receipts' Merkle tree. */
  leaves: string[]
}

export interface StoredBatch extends BatchDraft {
  transaction: SignedTransaction | null
}

export interface BatchOutcome {
  batchId: string
  transaction: string
  block: number
  blockHash: string
  /** Indices that the contract skipped, with its reason. */
  skippedRows: { row: number; reason: string }[]
  refusedLanes: number[]
  /** Block time less the maximum settlement age: what was served before can never be credited any more. */
  expiredBefore?: number
  /** What each lane's gross was split into. */
  lanes: { modelId: string; provider: string; gross: bigint; protocolFee: bigint; collectorFee: bigint; royalties: bigint }[]
}

/** What a settler asks at each look, whatever waits: quick. */
export interface Due {
  /** Of what isn't settled and costs something; null: there is nothing. */
  oldestServedAt: number | null
  /** As in Exposure. */
  atRisk: bigint
}

export interface Exposure {
  requests: number
  amount: bigint
  oldestServedAt: number | null
  atRisk: bigint
}

export interface SettlementLedger {
  /** Moves COMMITTED requests of one collector into a new batch (BATCHED), atomically; null if there is too little. */
  draftBatch(options: {
    batchId: string
    collector: string
    minGross: bigint
    servedBefore: number
    maxRows: number
    maxLanes: number
    /**
     * Rows, lanes and the batch must earn their gas. Money that a thaw may take away, and lanes whose model has ended, go in
     * whatever they cost. Left out, gas costs nothing.
     */
    economy?: Economy
  }): Promise<BatchDraft | null>
  /** Before the broadcast. */
  recordTransaction(batchId: string, transaction: SignedTransaction): Promise<void>
  openBatches(collector: string): Promise<StoredBatch[]>
  /** Requests become FINAL; skipped ones go back to COMMITTED when they can be retried, else VOIDED. */
  closeBatch(outcome: BatchOutcome): Promise<{ final: number; retried: number; voided: number }>
  /** A batch that never reached the chain and never will: its requests go back to COMMITTED. */
  dropBatch(batchId: string): Promise<void>
  /** COMMITTED requests served before the time can never be credited any more: VOIDED, not charged. Returns how many. */
  expire(options: { collector: string; servedBefore: number }): Promise<number>
  /** FINAL batches from this block on, the newest first: where a deep reorganisation may still reach. */
  finalBatches(collector: string, fromBlock: number): Promise<{ batchId: string; block: number; blockHash: string }[]>
  /** The chain has dropped the block of a FINAL batch: it is OPEN again, nothing of it is booked, its transaction waits. */
  reopenBatch(batchId: string): Promise<void>
  due(collector: string): Promise<Due>
  /** COMMITTED and BATCHED money not final yet; `atRisk`: what waits in accounts whose thaw reaches into it. Looks at all of it. */
  exposure(collector: string): Promise<Exposure>
}

/** What a request was charged for, as it is kept. */
export interface StoredReceipt {
  requestId: string
  accountId: string
  key: string
  sequence: bigint
  previousHead: string
  head: string
  charged: bigint
  receipt: JobReceipt
  providerSignature: string
  state: RequestState
  batchId: string | null
}

/** What a batch is published with. It charges its units times its price, or the batch can't be rebuilt from it. */
export type BatchReceipt = Pick<StoredReceipt, 'requestId' | 'sequence' | 'previousHead' | 'receipt' | 'providerSignature'>

/** A FINAL batch, where it was executed, and where it is published. */
export interface SettledBatch {
  batchId: string
  transaction: string
  block: number
  cid: string | null
}

export interface PublishingLedger {
  /** The latest first. */
  settledBatches(collector: string, options: { limit: number; beforeBlock?: number }): Promise<SettledBatch[]>
  settledBatch(batchId: string): Promise<(SettledBatch & { draft: BatchDraft }) | null>
  /** In no particular order. */
  receiptsOf(requestIds: readonly string[]): Promise<BatchReceipt[]>
  /** FINAL batches that have no CID yet, the oldest first. */
  unpublishedBatches(collector: string, limit: number): Promise<string[]>
  publishedAs(batchId: string, cid: string): Promise<void>
  /** The latest first. */
  receipts(accountId: string, options: { limit: number; before?: bigint }): Promise<StoredReceipt[]>
}
