import { GranaryError } from '../../core/errors.ts'
import type { NewPayment, PaymentId } from '../../core/payment-ledger.ts'
import type { PaymentClaim } from '../../core/x402.ts'
import type { Shop } from '../order.ts'
import type { Payer } from '../payer.ts'
import { type Identity, identityOf } from '../repeats.ts'
import { newRequestId } from '../sale.ts'
import type { Deliveries } from './deliveries.ts'
import type { House } from './house.ts'
import type { Till } from './settlement.ts'

/** What selling for x402 payments takes. */
export interface ExactDesk {
  /** Its reservations carry an owner of their own: a restart must not release what was sent to the chain. */
  shop: Shop
  till: Till
  house: House
  deliveries: Deliveries
  /** Less costs more gas than it is worth. */
  minPrice: bigint
  /** Payments that a request of this process is at work on. */
  live: Set<string>
}

export interface Paid {
  answer: Uint8Array
  repeated: boolean
  /** The PAYMENT-RESPONSE header. */
  response: string
}

/**
 * One house account buys for all payers, so each payer's identifiers are their own. A request without one is known by its
 * payment, which can't be spent twice.
 */
export function idempotencyKeyOf({ authorization, identifier }: Pick<PaymentClaim, 'authorization' | 'identifier'>): string {
  const { from, nonce } = authorization
  return identifier === null ? `x402-nonce:${from}:${nonce}` : `x402:${from}:${identifier}`
}

export function identityIn({ accountId, key }: House, idempotencyKey: string): Identity {
  return identityOf({ accountId, key, idempotencyKey })
}

export function paymentOf({ shop, house }: ExactDesk, { authorization, signature }: PaymentClaim, bodyHash: string): NewPayment {
  const { from: payer, nonce, value, validAfter, validBefore } = authorization
  return {
    payer,
    nonce,
    router: house.rail.router,
    value,
    validAfter,
    validBefore,
    signature,
    requestId: newRequestId(),
    bodyHash,
    owner: shop.owner,
  }
}

export function payerOf({ accountId, key }: House, idempotencyKey: string): Payer {
  return { accountId, key, models: [], purposes: [], jurisdictions: [], idempotencyKey, voucher: null, signer: null }
}

export function idOf({ payer, nonce }: PaymentId): string {
  return `${payer}:${nonce}`
}

export function pending({ nonce }: PaymentId): GranaryError {
  return new GranaryError('payment.pending', 'The payment was sent, and its outcome is not known yet.', { nonce })
}

export function running({ nonce }: PaymentId): GranaryError {
  return new GranaryError('idempotency.running', 'The same payment is being worked on.', { nonce, retryAfterSeconds: 1 })
}
