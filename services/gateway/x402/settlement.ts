import { Signature } from 'ethers'
import type { Log } from '../../adapters/log.ts'
import type { SignedTransaction } from '../../core/chain-records.ts'
import { GranaryError } from '../../core/errors.ts'
import type { NewPayment, Payment, PaymentLedger } from '../../core/payment-ledger.ts'
import type { Chain } from '../../core/ports.ts'
import { isExecution } from '../../core/x402.ts'

/**
 * `settled`: the authorization moved its value to the router, whoever submitted it. `refused`: it did not, and our own
 * transaction will not do it. `unsent`: nothing left this process. `unknown`: it may have happened, or may yet.
 */
export type Settlement =
  | { outcome: 'settled'; transaction: string; block: number }
  | { outcome: 'refused'; why: string }
  | { outcome: 'unsent'; error: unknown }
  | { outcome: 'unknown' }

export interface Till {
  chain: Chain
  ledger: Pick<PaymentLedger, 'paymentSent'>
  settleTimeoutMs: number
  log: Log
}

/** Authorizations are short-lived: what used one up is mostly in the first of these ranges of blocks. */
const RANGE_BLOCKS = 2000
const MAX_RANGES = 10

/** Submits the authorization from the gateway's own account. */
export async function settle(till: Till, payment: NewPayment): Promise<Settlement> {
  const { chain, ledger, settleTimeoutMs, log } = till
  const { payer, router, value, validAfter, validBefore, nonce } = payment
  const { v, r, s } = Signature.from(payment.signature)
  const args = [payer, router, value, validAfter, validBefore, nonce, v, r, s]
  let sent: SignedTransaction | null = null
  const signed = async (transaction: SignedTransaction) => {
    sent = transaction
    await ledger.paymentSent(payment, transaction)
  }
  try {
    const call = { contract: 'Token', method: 'transferWithAuthorization', args }
    const { hash, block, events } = await chain.submit(call, { timeoutMs: settleTimeoutMs, signed })
    if (isExecution(events, authorizationOf(payment))) return { outcome: 'settled', transaction: hash, block }
    log.error({ event: 'payment.not-recognized', payer, nonce, transaction: hash })
    return { outcome: 'unknown' }
  } catch (error) {
    log.warn({ event: 'payment.not-settled', payer, nonce, error })
    return lookUp(till, { payment, sent, error })
  }
}

/** What became of an authorization, by the chain; `error` is why a submission ended. */
export async function lookUp(
  till: Pick<Till, 'chain' | 'log'>,
  { payment, sent, error }: { payment: NewPayment; sent: SignedTransaction | null; error?: unknown },
): Promise<Settlement> {
  const { chain, log } = till
  const { payer, nonce } = payment
  try {
    if (await isUsed(chain, payment)) return await whatUsed(chain, payment)
    if (sent === null) {
      const isRefused = error instanceof GranaryError && error.code === 'chain.reverted'
      return isRefused ? { outcome: 'refused', why: error.message } : { outcome: 'unsent', error }
    }
    const mined = await chain.outcome(sent.hash)
    return mined && !mined.succeeded
      ? { outcome: 'refused', why: `Transaction ${mined.hash} was reverted.` }
      : { outcome: 'unknown' }
  } catch (failure) {
    log.warn({ event: 'payment.not-looked-up', payer, nonce, error: failure })
    return sent === null ? { outcome: 'unsent', error: failure } : { outcome: 'unknown' }
  }
}

/** At the latest block, or at this one. */
export async function isUsed(
  chain: Chain,
  { payer, nonce }: Pick<NewPayment, 'payer' | 'nonce'>,
  block?: number,
): Promise<boolean> {
  return (await chain.read({ contract: 'Token', method: 'authorizationState', args: [payer, nonce] }, block)) === true
}

/**
 * The token says only that a nonce was used: its events say by what, in the transaction that did it before if one is known, else looked
 * for from the head backwards.
 */
export async function whatUsed(
  chain: Chain,
  payment: NewPayment & Partial<Pick<Payment, 'settledIn'>>,
  ranges = 1,
): Promise<Settlement> {
  const { payer, nonce, settledIn } = payment
  const before = settledIn ? await chain.outcome(settledIn) : null
  if (before && isExecution(before.events, authorizationOf(payment)))
    return { outcome: 'settled', transaction: before.hash, block: before.block }
  const { number: head } = await chain.head()
  for (let range = 0, to = head; range < Math.min(ranges, MAX_RANGES) && to >= 0; range += 1, to -= RANGE_BLOCKS) {
    const find = (name: string) =>
      chain.find({ contract: 'Token', name, args: { authorizer: payer, nonce } }, Math.max(0, to - RANGE_BLOCKS + 1), to)
    const [used] = await find('AuthorizationUsed')
    const outcome = used ? await chain.outcome(used.transaction) : null
    if (outcome && isExecution(outcome.events, authorizationOf(payment)))
      return { outcome: 'settled', transaction: outcome.hash, block: outcome.block }
    if (outcome) return { outcome: 'refused', why: `The nonce was used for something else, in transaction ${outcome.hash}.` }
    const [cancelled] = await find('AuthorizationCanceled')
    if (cancelled)
      return { outcome: 'refused', why: `The payer cancelled the authorization, in transaction ${cancelled.transaction}.` }
  }
  return { outcome: 'unknown' }
}

/** Money that came long ago is found too. */
export async function hasArrived(chain: Chain, payment: NewPayment): Promise<boolean> {
  return (await isUsed(chain, payment)) && (await whatUsed(chain, payment, MAX_RANGES)).outcome === 'settled'
}

function authorizationOf({ payer, router, value, validAfter, validBefore, nonce }: NewPayment) {
  return { from: payer, to: router, value, validAfter, validBefore, nonce }
}
