import type { Head, SignedTransaction } from './chain-records.ts'
import type { AccountConfig, RequestState } from './selling-ledger.ts'

/**
 * An x402 payment beside its request. RESERVED: the job runs, nothing was sent. SENT: signed for broadcast, its outcome open.
 * SETTLED: its money is at the router. RELEASED: its job failed, or the chain refused it; as long as it is valid, anyone may
 * still submit it. RETURNING: what is left of it is on its way back; RETURNED: it is there. CLOSED: nothing came, nothing can.
 */
export type PaymentState = 'RESERVED' | 'SENT' | 'SETTLED' | 'RELEASED' | 'RETURNING' | 'RETURNED' | 'CLOSED'

/** An EIP-3009 authorization is known by its payer and nonce. */
export interface PaymentId {
  payer: string
  nonce: string
}

export interface NewPayment extends PaymentId {
  router: string
  value: bigint
  validAfter: number
  validBefore: number
  signature: string
  requestId: string
  bodyHash: string
  /** The gateway process that answers for it. */
  owner: string
}

export interface Payment extends NewPayment {
  state: PaymentState
  transaction: SignedTransaction | null
  /** The transaction that moved the money, whoever sent it. */
  settledIn: string | null
  /** Until the request is committed: what its job delivered, sealed. */
  delivery: Uint8Array | null
  /** Of its request, null until that is reserved; its identity is what it was reserved under. */
  requestState: RequestState | null
  requestIdentity: string | null
  charged: bigint
  reason: string | null
}

export interface PaymentLedger {
  /** An account whose money comes with each request: the deposit does not limit its reservations, and its receipts wait for it. */
  openHouse(accountId: string, config: AccountConfig): Promise<void>
  /**
   * One live payment for each authorization; a released one may be tried again. All that a payer has open, or has settled since
   * its balance was read at a block, must fit that balance; null where the money is at the router already.
   */
  openPayment(
    payment: NewPayment,
    funds: { balance: bigint; block: number } | null,
  ): Promise<{ ok: true } | { ok: false; reason: 'taken' } | { ok: false; reason: 'insufficient'; open: bigint }>
  payment(id: PaymentId): Promise<Payment | null>
  paymentOf(requestId: string): Promise<Payment | null>
  /** The one whose request runs or was answered under this identity. */
  paymentFor(accountId: string, identity: string): Promise<Payment | null>
  /** The job is done, its answer not yet made. */
  paymentDelivered(id: PaymentId, delivery: Uint8Array): Promise<void>
  /** Before the broadcast. */
  paymentSent(id: PaymentId, transaction: SignedTransaction): Promise<void>
  paymentSettled(id: PaymentId, settled: { transaction: string; block: number }): Promise<void>
  /** The request is committed. */
  paymentAnswered(id: PaymentId): Promise<void>
  releasePayment(id: PaymentId, reason: string): Promise<void>
  /** Those of one gateway process whose request has not ended. */
  openPayments(owner: string, limit: number): Promise<Payment[]>
  /** Final payments of which less than `least` is left are done; returns how many. */
  closePayments(router: string, least: bigint): Promise<number>
  /** Of which `least` or more may have to go back: released ones past `endedBefore`, voided ones, and final ones that cost less. */
  returnable(router: string, options: { endedBefore: number; least: bigint; limit: number }): Promise<Payment[]>
  /** Of those settled or given back by block `upTo`, the ones not yet placed: just made, or thrown back by a reorganisation. */
  unplacedPayments(router: string, options: { upTo: number; limit: number }): Promise<Payment[]>
  /**
   * It is in the mirrored chain that ends with `head`, and unplaced again when a reorganisation goes below that; nothing happens where
   * one has gone below it meanwhile. Null: no block has it, and none will.
   */
  placePayment(id: PaymentId, placed: { transaction: string; head: Head } | null): Promise<void>
  /** From RETURNING on, no request can be made with it any more; false when it was not `from` any more. */
  movePayment(
    id: PaymentId,
    change: { from: PaymentState; to: PaymentState; settledIn?: string; block?: number },
  ): Promise<boolean>
}
