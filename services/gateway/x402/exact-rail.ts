import { randomBytes } from 'node:crypto'
import { GranaryError } from '../../core/errors.ts'
import type { NewPayment, Payment, PaymentId } from '../../core/ports.ts'
import {
  networkOf,
  type PaymentClaim,
  paymentReasons,
  paymentResponse,
  readPayment,
  refusal,
  requireFitting,
  requireSigned,
} from '../../core/x402.ts'
import type { Order, Shop } from '../order.ts'
import type { Payer } from '../payer.ts'
import { commit, type Delivered, dispatch, repeatOf, reserve } from '../sale.ts'
import type { Deliveries } from './deliveries.ts'
import type { House } from './house.ts'
import { hasArrived, isUsed, type Settlement, settle, type Till, whatUsed } from './settlement.ts'

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

export interface ExactRailDesk {
  /** Reads and checks who signed it; throws `payment.invalid`. */
  claimOf(header: unknown): PaymentClaim
  /** What a payment that was seen before has bought; null for a new one. */
  recall(claim: PaymentClaim, bodyHash: string): Promise<Paid | null>
  /** Compute, settle the authorization, then give out the answer. */
  pay(order: Order, claim: PaymentClaim): Promise<Paid>
  /** A payment that bought nothing: if its money is at the router all the same, it will go back. Never throws. */
  remember(claim: PaymentClaim, bodyHash: string): Promise<void>
}

export function openExactRail(desk: ExactDesk): ExactRailDesk {
  const { rail } = desk.house
  return {
    claimOf(header) {
      const claim = readPayment(header)
      requireSigned(claim, rail)
      return claim
    },
    recall: (claim, bodyHash) => recall(desk, claim, bodyHash),
    pay: (order, claim) => pay(desk, order, claim),
    remember: (claim, bodyHash) =>
      remember(desk, claim, bodyHash).catch((error: unknown) => desk.shop.log.warn({ event: 'payment.not-remembered', error })),
  }
}

async function recall(desk: ExactDesk, { authorization }: PaymentClaim, bodyHash: string): Promise<Paid | null> {
  const payment = await desk.shop.ledger.payment({ payer: authorization.from, nonce: authorization.nonce })
  if (payment === null || payment.state === 'RELEASED') return null
  const isEnded = payment.state === 'CLOSED' || (payment.state !== 'RESERVED' && payment.requestState === 'RELEASED')
  if (payment.bodyHash !== bodyHash || isEnded)
    throw refusal('nonce', 'This payment was used already: sign another one.', { state: payment.state })
  if (payment.state === 'SENT' || payment.delivery !== null) throw pending(payment)
  return repeated(desk, payment)
}

async function repeated({ shop, house }: ExactDesk, payment: Payment): Promise<Paid> {
  const request = await shop.ledger.request(payment.requestId)
  if (!request) throw new GranaryError('idempotency.running', 'The same payment is being worked on.', { nonce: payment.nonce })
  const answer = repeatOf({ ok: false, reason: 'repeated', request })
  const response = paymentResponse({ rail: house.rail, payer: payment.payer, transaction: payment.settledIn ?? '' })
  return { answer, repeated: true, response }
}

async function pay(desk: ExactDesk, order: Order, claim: PaymentClaim): Promise<Paid> {
  const { shop, house, live } = desk
  const before = await recall(desk, claim, order.bodyHash)
  if (before) return before
  if (order.quote.max < desk.minPrice)
    throw refusal('scheme', `Requests below ${desk.minPrice} base units are not sold for on-chain payments.`)
  requireFitting(claim, { rail: house.rail, amount: order.quote.max, now: shop.consent.head?.timestamp ?? 0 })
  const payment = paymentOf(desk, claim, order.bodyHash)
  const found = await requireFunds(desk, payment)
  const opened = await shop.ledger.openPayment(payment, found.funds)
  if (!opened.ok && opened.reason === 'insufficient')
    throw refusal('balance', 'The payer does not hold enough for this payment and those under way.', {
      available: `${found.funds?.balance}`,
      underWay: opened.open.toString(),
    })
  if (!opened.ok) {
    const meanwhile = await recall(desk, claim, order.bodyHash)
    if (meanwhile) return meanwhile
    throw new GranaryError('idempotency.running', 'The same payment is being worked on.', { nonce: payment.nonce })
  }
  live.add(idOf(payment))
  try {
    return await compute(desk, { order, claim, payment, executed: found.executed })
  } finally {
    live.delete(idOf(payment))
  }
}

/** Refused before it was opened: somebody, perhaps the payer, has submitted it nevertheless. */
async function remember(desk: ExactDesk, claim: PaymentClaim, bodyHash: string): Promise<void> {
  const { shop, house, till } = desk
  const { from: payer, nonce, to } = claim.authorization
  if (to !== house.rail.router || (await shop.ledger.payment({ payer, nonce })) !== null) return
  const payment = paymentOf(desk, claim, bodyHash)
  if (!(await hasArrived(till.chain, payment))) return
  if ((await shop.ledger.openPayment(payment, null)).ok) await shop.ledger.releasePayment(payment, 'refused')
}

function paymentOf({ shop, house }: ExactDesk, { authorization, signature }: PaymentClaim, bodyHash: string): NewPayment {
  const { from: payer, nonce, value, validAfter, validBefore } = authorization
  const requestId = `0x${randomBytes(32).toString('hex')}`
  return {
    payer,
    nonce,
    router: house.rail.router,
    value,
    validAfter,
    validBefore,
    signature,
    requestId,
    bodyHash,
    owner: shop.owner,
  }
}

type Settled = Extract<Settlement, { outcome: 'settled' }>
type Found = { executed: Settled; funds: null } | { executed: null; funds: { balance: bigint; block: number } }

/** Whoever submitted the authorization before us has done our work: then it is paid already. */
async function requireFunds({ till }: ExactDesk, payment: NewPayment): Promise<Found> {
  const { chain } = till
  const { number: block } = await chain.head()
  const [used, balance] = await Promise.all([
    isUsed(chain, payment),
    chain.read({ contract: 'Token', method: 'balanceOf', args: [payment.payer] }, block),
  ])
  if (!used) return { executed: null, funds: { balance: BigInt(String(balance)), block } }
  const settlement = await whatUsed(chain, payment)
  if (settlement.outcome === 'settled') return { executed: settlement, funds: null }
  throw refusal('nonce', settlement.outcome === 'refused' ? settlement.why : 'The nonce of this authorization was used before.')
}

/** Ends with an answer that is paid, or with nothing charged, or with a payment that is kept until its outcome is known. */
async function compute(
  desk: ExactDesk,
  { order, claim, payment, executed }: { order: Order; claim: PaymentClaim; payment: NewPayment; executed: Settled | null },
): Promise<Paid> {
  const { shop, till, deliveries } = desk
  const { requestId } = payment
  const idempotencyKey = claim.identifier === null ? `x402:${idOf(payment)}` : `x402-id:${payment.payer}:${claim.identifier}`
  let delivered: Delivered
  try {
    const reserved = await reserve(shop, order, { payer: payerOf(desk, idempotencyKey), requestId }).catch((error: unknown) => {
      // As in sell: it may have reserved before it was lost.
      if (error instanceof GranaryError && error.code === 'ledger.unavailable') void shop.releases.releaseUncertain(requestId)
      throw error
    })
    if (!reserved.ok) return await repeatedById(desk, { payment, earlier: reserved.request.requestId })
    const { result, job } = await dispatch(shop, order, requestId)
    delivered = { order: { model: order.model, body: order.body }, requestId, result, job }
    await shop.ledger.paymentDelivered(payment, deliveries.seal(delivered))
  } catch (error) {
    await release(desk, payment, error instanceof GranaryError ? error.code : 'internal')
    throw readyOr(error)
  }
  const settlement = executed ?? (await settle(till, payment))
  return conclude(desk, { payment, delivered, settlement })
}

/** The same identifier was answered before: this payment is not submitted. */
async function repeatedById(desk: ExactDesk, { payment, earlier }: { payment: NewPayment; earlier: string }): Promise<Paid> {
  await desk.shop.ledger.releasePayment(payment, 'repeated')
  const before = await desk.shop.ledger.paymentOf(earlier)
  if (before === null) throw new GranaryError('internal', 'A paid request without its payment.', { requestId: earlier })
  if (before.state === 'SENT' || before.delivery !== null) throw pending(before)
  return repeated(desk, before)
}

/** What follows from what the chain said; also for payments that an earlier run has left. */
export async function conclude(
  desk: ExactDesk,
  { payment, delivered, settlement }: { payment: NewPayment; delivered: Delivered; settlement: Settlement },
): Promise<Paid> {
  const { shop, house } = desk
  const { ledger } = shop
  const { payer } = payment
  switch (settlement.outcome) {
    case 'settled': {
      const { transaction } = settlement
      await ledger.paymentSettled(payment, settlement)
      const answer = await commit(shop, { ...delivered, payer: payerOf(desk, payment.nonce) })
      await ledger.paymentAnswered(payment)
      shop.log.info({ event: 'payment.settled', payer, nonce: payment.nonce, value: payment.value.toString(), transaction })
      return { answer, repeated: false, response: paymentResponse({ rail: house.rail, payer, transaction }) }
    }
    case 'refused':
      await release(desk, payment, 'payment.unsettled')
      throw new GranaryError('payment.unsettled', `The payment did not settle: ${settlement.why}`, {
        reason: paymentReasons.settlement,
        payer,
        network: networkOf(house.rail),
      })
    case 'unsent':
      await release(desk, payment, 'chain.unavailable')
      throw settlement.error
    case 'unknown':
      throw pending(payment)
  }
}

export async function release({ shop }: ExactDesk, payment: PaymentId & { requestId: string }, reason: string): Promise<void> {
  await shop.releases.release(payment.requestId, reason)
  await shop.ledger.releasePayment(payment, reason)
}

function pending({ nonce }: PaymentId): GranaryError {
  return new GranaryError('payment.pending', 'The payment was sent, and its outcome is not known yet.', { nonce })
}

/** The house account is our own: what is wrong with it is not the payer's affair. */
function readyOr(error: unknown): unknown {
  const isOurs = error instanceof GranaryError && (error.code === 'account.unknown' || error.code === 'credential.ended')
  return isOurs ? new GranaryError('ledger.unavailable', 'The ledger has not seen the x402 router yet.', { cause: error }) : error
}

function payerOf({ house }: ExactDesk, idempotencyKey: string): Payer {
  return { accountId: house.accountId, key: house.key, models: [], purposes: [], idempotencyKey, voucher: null, signer: null }
}

export function idOf({ payer, nonce }: PaymentId): string {
  return `${payer}:${nonce}`
}
