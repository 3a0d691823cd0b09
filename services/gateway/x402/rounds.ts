import { setTimeout as delay } from 'node:timers/promises'
import type { Head } from '../../core/chain-records.ts'
import { GranaryError } from '../../core/errors.ts'
import { digestOf } from '../../core/messages.ts'
import type { Payment } from '../../core/payment-ledger.ts'
import { advance, balanceOf } from './advance.ts'
import { conclude, release } from './conclude.ts'
import { type ExactDesk, idOf } from './desk.ts'
import { isUsed, lookUp, type Settlement, settle, type Till, whatUsed } from './settlement.ts'

export interface Rounds {
  desk: ExactDesk
  minSweep: bigint
  /** Less is not given back: it would cost more gas. */
  minRefund: bigint
}

const AT_ONCE = 64
/** After an authorization has ended, the blocks that may still have taken it are all there. */
const ENDED_SECONDS = 60

/** What is left to do when nobody waits: unknown outcomes, earned money into the house account, the rest back to its payers. */
export function openRounds(options: Rounds & { pollMs: number }): AsyncDisposable {
  const stop = new AbortController()
  const running = run()
  async function run(): Promise<void> {
    while (!stop.signal.aborted) {
      await round(options).catch((error: unknown) => options.desk.shop.log.warn({ event: 'payments.round-failed', error }))
      await delay(options.pollMs, undefined, { signal: stop.signal }).catch(() => undefined)
    }
  }
  return {
    async [Symbol.asyncDispose]() {
      stop.abort()
      await running
    },
  }
}

export async function round(options: Rounds): Promise<void> {
  const { desk } = options
  const { shop } = desk
  for (const payment of await shop.ledger.openPayments(shop.owner, AT_ONCE)) {
    if (desk.live.has(idOf(payment))) continue
    await guarded(desk, payment, () => resume(desk, payment))
  }
  const { router } = desk.house.rail
  const mirrored = await shop.ledger.cursor()
  if (mirrored !== null) {
    for (const payment of await shop.ledger.unplacedPayments(router, { upTo: mirrored.number, limit: AT_ONCE }))
      await guarded(desk, payment, () => place(options, payment, mirrored))
  }
  const { timestamp } = await desk.till.chain.head()
  const { minRefund } = options
  await shop.ledger.closePayments(router, minRefund)
  const endedBefore = timestamp - ENDED_SECONDS
  const payments = await shop.ledger.returnable(router, { endedBefore, least: minRefund, limit: AT_ONCE })
  const owed = payments.reduce((sum, payment) => (payment.state === 'RELEASED' ? sum : sum + refundOf(payment)), 0n)
  // First what is earned: a refund can then only take what is not.
  await sweep(options, owed)
  for (const payment of payments) await guarded(desk, payment, () => giveBack(desk, payment, endedBefore))
}

/** One payment's trouble is not the others'. */
async function guarded({ shop }: ExactDesk, { payer, nonce, state }: Payment, work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    shop.log.warn({ event: 'payment.waits', payer, nonce, state, error })
  }
}

/** Left by an earlier run, or by a request that could not wait for the chain. */
async function resume(desk: ExactDesk, payment: Payment): Promise<void> {
  const { shop, deliveries } = desk
  if (payment.state === 'RESERVED' || payment.delivery === null) return release(desk, payment, 'gateway.restarted')
  const settlement = payment.settledIn === null ? await outcomeOf(desk, payment) : settledBefore(payment.settledIn)
  const delivery = deliveries.open(payment.delivery, payment.requestId)
  try {
    await conclude(desk, { payment, delivery, settlement })
  } catch (error) {
    if (!(error instanceof GranaryError)) throw error
    // The request can't be committed any more: its money goes back.
    if (settlement.outcome === 'settled' && error.code === 'internal') await shop.ledger.paymentAnswered(payment)
    if (error.code !== 'payment.pending' && error.code !== 'payment.unsettled') throw error
  }
}

/** The ledger knows it already, and keeps the block that it has. */
function settledBefore(transaction: string): Settlement {
  return { outcome: 'settled', transaction, block: 0 }
}

async function outcomeOf({ till }: ExactDesk, payment: Payment): Promise<Settlement> {
  const { chain } = till
  const { transaction } = payment
  const found = await lookUp(till, { payment, sent: transaction })
  if (found.outcome !== 'unknown' || transaction === null) return found
  const { timestamp } = await chain.head()
  if (timestamp > payment.validBefore + ENDED_SECONDS && !(await isUsed(chain, payment)))
    return { outcome: 'refused', why: 'The authorization has ended before a block took it.' }
  try {
    // A node may have forgotten it.
    await chain.broadcast(transaction)
  } catch (error) {
    // Another one has taken its nonce, as after a reorganisation: no block will have it.
    if (error instanceof GranaryError && error.evidence.error === 'NonceUsed') return settle(till, payment)
  }
  return found
}

/**
 * What is in a block that the mirror has is in its place: a reorganisation that takes it back shows there. What is not, may have to
 * be sent again, or given back again.
 */
async function place({ desk, minRefund }: Rounds, payment: Payment, head: Head): Promise<void> {
  const { shop, till } = desk
  const { payer, nonce, value } = payment
  const settlement = (await isUsed(till.chain, payment, head.number))
    ? await whatUsed(till.chain, payment)
    : await comeAgain(desk, payment)
  if (settlement.outcome === 'refused') {
    shop.log.error({ event: 'payment.lost', payer, nonce, value: value.toString(), why: settlement.why })
    return shop.ledger.placePayment(payment, null)
  }
  if (settlement.outcome !== 'settled') return
  const isGivenBack = payment.state === 'RETURNED' && refundOf(payment) >= minRefund
  if (isGivenBack && (await refundedOf(till, payment, head.number)) === 0n) {
    // In a later block.
    if ((await refundedOf(till, payment)) > 0n) return
    await shop.ledger.movePayment(payment, { from: 'RETURNED', to: 'RETURNING' })
  }
  await shop.ledger.placePayment(payment, { transaction: settlement.transaction, head })
}

/** It is placed once the mirror has the block that it comes with. */
async function comeAgain({ till }: ExactDesk, payment: Payment): Promise<Exclude<Settlement, { outcome: 'settled' }>> {
  if (await isUsed(till.chain, payment)) return { outcome: 'unknown' }
  const { timestamp } = await till.chain.head()
  if (timestamp >= payment.validBefore)
    return { outcome: 'refused', why: 'Its block was dropped, and the authorization has ended.' }
  const settlement = await settle(till, payment)
  return settlement.outcome === 'settled' ? { outcome: 'unknown' } : settlement
}

/**
 * What the router holds less than it should, after a reorganisation that dropped a payment, is the collector's loss: neither the rest of
 * what is earned waits for it, nor what its payers get back.
 */
async function sweep({ desk, minSweep }: Rounds, owed: bigint): Promise<void> {
  const { shop, house, till } = desk
  const { router } = house.rail
  // Only what was paid for is charged to a house account, and a voided request's charge is taken back.
  const earned = (await shop.ledger.standing(house.accountId, house.key))?.accountCharged ?? 0n
  if (earned < minSweep) return
  const swept = BigInt(String(await till.chain.read({ contract: 'X402Router', method: 'swept', args: [] })))
  if (earned - swept < minSweep) return
  const held = await balanceOf(till.chain, router)
  const missing = earned - swept + owed - held
  const total = missing > 0n ? earned - missing : earned
  if (total - swept < minSweep) return
  if (missing > 0n) shop.log.error({ event: 'router.short', earned: `${earned - swept}`, owed: `${owed}`, held: `${held}` })
  const signature = house.signer.signingKey.sign(digestOf('X402Router', 'Sweep', house.router, { total })).serialized
  const { hash } = await till.chain.submit({ contract: 'X402Router', method: 'sweep', args: [total, signature] })
  shop.log.info({ event: 'router.swept', amount: (total - swept).toString(), total: total.toString(), transaction: hash })
}

/** A final request keeps what it was charged. */
function refundOf({ value, requestState, charged }: Payment): bigint {
  return value - (requestState === 'FINAL' ? charged : 0n)
}

/** Once it is RETURNING, no request can be made with the payment any more; then the money leaves, once. */
async function giveBack(desk: ExactDesk, payment: Payment, endedBefore: number): Promise<void> {
  const { shop, till } = desk
  const { ledger } = shop
  const { state } = payment
  const isHere = await isUsed(till.chain, payment)
  // Never taken, or taken back by a reorganisation: as long as it is valid it may yet come.
  if (!isHere) {
    if (payment.validBefore < endedBefore) await ledger.movePayment(payment, { from: state, to: 'CLOSED' })
    return
  }
  if (state === 'RELEASED') {
    const used = await whatUsed(till.chain, payment)
    if (used.outcome === 'unknown') return
    const came =
      used.outcome === 'settled' ? { to: 'RETURNING' as const, settledIn: used.transaction } : { to: 'CLOSED' as const }
    if (!(await ledger.movePayment(payment, { from: state, ...came })) || came.to === 'CLOSED') return
  }
  if (state === 'SETTLED' && !(await ledger.movePayment(payment, { from: state, to: 'RETURNING' }))) return
  const sent = await refund(desk, payment)
  await ledger.movePayment(payment, { from: 'RETURNING', to: 'RETURNED', ...(sent && { block: sent.block }) })
}

/** Null when it was given back before, or nothing is left of it. */
async function refund(desk: ExactDesk, payment: Payment): Promise<{ block: number } | null> {
  const { shop, till, house } = desk
  const { payer: from, nonce, value, validAfter, validBefore, signature } = payment
  const amount = refundOf(payment)
  if (amount === 0n || (await refundedOf(till, payment)) > 0n) return null
  await advance(desk, payment, amount)
  const ours = house.signer.signingKey.sign(digestOf('X402Router', 'Refund', house.router, { from, nonce, amount })).serialized
  const args = [{ from, value, validAfter, validBefore, nonce }, amount, signature, ours]
  const { hash, block } = await till.chain.submit({ contract: 'X402Router', method: 'refund', args })
  shop.log.info({ event: 'payment.returned', payer: from, nonce, amount: amount.toString(), transaction: hash })
  return { block }
}

async function refundedOf({ chain }: Till, { payer, nonce }: Payment, block?: number): Promise<bigint> {
  return BigInt(String(await chain.read({ contract: 'X402Router', method: 'refunded', args: [payer, nonce] }, block)))
}
