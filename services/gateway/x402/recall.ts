import { GranaryError } from '../../core/errors.ts'
import type { Payment } from '../../core/payment-ledger.ts'
import { type PaymentClaim, paymentResponse, refusal } from '../../core/x402.ts'
import type { Identity } from '../repeats.ts'
import { type ExactDesk, idempotencyKeyOf, identityIn, type Paid, paymentOf, pending, running } from './desk.ts'
import { hasArrived } from './settlement.ts'

/**
 * What was bought before: by this very payment, or by another one under the same identifier. Null where the request is new.
 * Waits for a job that still runs.
 */
export async function recall(desk: ExactDesk, claim: PaymentClaim, bodyHash: string): Promise<Paid | null> {
  const { ledger } = desk.shop
  const { from: payer, nonce } = claim.authorization
  const identity = identityIn(desk.house, idempotencyKeyOf(claim))
  const payment = await ledger.payment({ payer, nonce })
  if (payment !== null && payment.state !== 'RELEASED') {
    requireSameUse(payment, bodyHash, identity)
    return answered(desk, payment, identity)
  }
  const earlier = await ledger.paymentFor(desk.house.accountId, identity.digest)
  if (earlier === null) return null
  if (earlier.bodyHash !== bodyHash) {
    throw new GranaryError('idempotency.conflict', 'This identifier was used for another body.', { requestId: earlier.requestId })
  }
  return answered(desk, earlier, identity)
}

function requireSameUse(payment: Payment, bodyHash: string, identity: Identity): void {
  const { state, requestState, requestIdentity } = payment
  const isEnded = state === 'CLOSED' || (state !== 'RESERVED' && requestState === 'RELEASED')
  if (payment.bodyHash !== bodyHash || isEnded)
    throw refusal('nonce', 'This payment was used already: sign another one.', { state })
  if (requestIdentity === null || requestIdentity === identity.digest) return
  throw new GranaryError('idempotency.conflict', 'This payment was sent under another identifier.', {
    requestId: payment.requestId,
  })
}

async function answered(desk: ExactDesk, payment: Payment, identity: Identity): Promise<Paid | null> {
  const { ledger, repeats } = desk.shop
  if (payment.state === 'SENT' || payment.delivery !== null) throw pending(payment)
  const request = await ledger.request(payment.requestId)
  if (request === null) throw running(payment)
  const answer = await repeats.answer({ ok: false, reason: 'repeated', request }, identity)
  return answer && { answer, repeated: true, response: await responseOf(desk, payment.requestId) }
}

/** The payment may have settled while a repeat of it waited. */
export async function responseOf({ shop, house }: ExactDesk, requestId: string): Promise<string> {
  const payment = await shop.ledger.paymentOf(requestId)
  if (payment === null) throw new GranaryError('internal', 'A paid request without its payment.', { requestId })
  return paymentResponse({ rail: house.rail, payer: payment.payer, transaction: payment.settledIn ?? '' })
}

/** A payment that was refused or not needed: somebody, perhaps the payer, has submitted it nevertheless. */
export async function remember(desk: ExactDesk, claim: PaymentClaim, bodyHash: string): Promise<void> {
  const { shop, house, till } = desk
  const { from: payer, nonce, to } = claim.authorization
  if (to !== house.rail.router || (await shop.ledger.payment({ payer, nonce })) !== null) return
  const payment = paymentOf(desk, claim, bodyHash)
  if (!(await hasArrived(till.chain, payment))) return
  if ((await shop.ledger.openPayment(payment, null)).ok) await shop.ledger.releasePayment(payment, 'unused')
}
