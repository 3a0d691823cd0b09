import { GranaryError } from '../../core/errors.ts'
import type { NewPayment, PaymentId } from '../../core/payment-ledger.ts'
import { networkOf, paymentReasons, paymentResponse } from '../../core/x402.ts'
import { commit } from '../sale.ts'
import type { PaidDelivery } from './deliveries.ts'
import { type ExactDesk, identityIn, type Paid, pending } from './desk.ts'
import type { Settlement } from './settlement.ts'

/** What follows from what the chain said; also for payments that an earlier run has left. */
export async function conclude(
  desk: ExactDesk,
  { payment, delivery, settlement }: { payment: NewPayment; delivery: PaidDelivery; settlement: Settlement },
): Promise<Paid> {
  const { shop, house } = desk
  const { ledger } = shop
  const { payer } = payment
  switch (settlement.outcome) {
    case 'settled': {
      const { transaction } = settlement
      await ledger.paymentSettled(payment, settlement)
      const answer = await commit(shop, { ...delivery, payer: house, identity: identityIn(house, delivery.idempotencyKey) })
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
