import { GranaryError } from '../../core/errors.ts'
import type { NewPayment } from '../../core/payment-ledger.ts'
import { type PaymentClaim, readPayment, refusal, requireFitting, requireSigned } from '../../core/x402.ts'
import type { Order } from '../order.ts'
import { dispatch, reserveOrAnswer } from '../sale.ts'
import { conclude, release } from './conclude.ts'
import type { PaidDelivery } from './deliveries.ts'
import { type ExactDesk, idempotencyKeyOf, identityIn, idOf, type Paid, payerOf, paymentOf, running } from './desk.ts'
import { recall, remember, responseOf } from './recall.ts'
import { isUsed, type Settlement, settle, whatUsed } from './settlement.ts'

export interface ExactRailDesk {
  /** Reads and checks who signed it; throws `payment.invalid`. */
  claimOf(header: unknown): PaymentClaim
  /** What the same request has bought before; null for a new one. */
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
    throw running(payment)
  }
  live.add(idOf(payment))
  try {
    return await buy(desk, { order, claim, payment, executed: found.executed })
  } finally {
    live.delete(idOf(payment))
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

interface Purchase {
  order: Order
  claim: PaymentClaim
  payment: NewPayment
  executed: Settled | null
}

/** Ends with an answer that is paid, or with nothing charged, or with a payment that is kept until its outcome is known. */
async function buy(desk: ExactDesk, purchase: Purchase): Promise<Paid> {
  const { payment, executed } = purchase
  let computed: { delivery: PaidDelivery } | { before: Paid }
  try {
    computed = await compute(desk, purchase)
  } catch (error) {
    await release(desk, payment, error instanceof GranaryError ? error.code : 'internal')
    throw readyOr(error)
  }
  if ('before' in computed) return computed.before
  return conclude(desk, { payment, ...computed, settlement: executed ?? (await settle(desk.till, payment)) })
}

/** Another payment may have bought the same request meanwhile: then this one is not submitted. */
async function compute(
  desk: ExactDesk,
  { order, claim, payment }: Purchase,
): Promise<{ delivery: PaidDelivery } | { before: Paid }> {
  const { shop, house, deliveries } = desk
  const { requestId } = payment
  const idempotencyKey = idempotencyKeyOf(claim)
  const sale = { payer: payerOf(house, idempotencyKey), requestId, identity: identityIn(house, idempotencyKey) }
  const reserved = await reserveOrAnswer(shop, order, sale)
  if ('answer' in reserved) {
    await shop.ledger.releasePayment(payment, 'repeated')
    return { before: { answer: reserved.answer, repeated: true, response: await responseOf(desk, reserved.earlier) } }
  }
  const { result, job } = await dispatch(shop, order, reserved.sale)
  const delivery = { order: { model: order.model, body: order.body }, requestId, idempotencyKey, result, job }
  await shop.ledger.paymentDelivered(payment, deliveries.seal(delivery))
  return { delivery }
}

/** The house account is our own: what is wrong with it is not the payer's affair. */
function readyOr(error: unknown): unknown {
  const isOurs = error instanceof GranaryError && (error.code === 'account.unknown' || error.code === 'credential.ended')
  return isOurs ? new GranaryError('ledger.unavailable', 'The ledger has not seen the x402 router yet.', { cause: error }) : error
}
