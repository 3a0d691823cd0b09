import { keccak256, toUtf8Bytes } from 'ethers'
import { digestOf } from '../../core/messages.ts'
import type { PaymentId } from '../../core/payment-ledger.ts'
import type { Chain } from '../../core/ports.ts'
import { type ExactDesk, idOf } from './desk.ts'
import { isUsed } from './settlement.ts'

/** For one payment: another one is for money that another refund took meanwhile. */
const MAX_ADVANCES = 8
const FOREVER = 2n ** 40n

/**
 * A request may be voided after its payment was swept: that money lies in the house account and pays for later requests, and until
 * they come the router may hold less than it has to give back. Then the collector advances it, as far as it has dollars at its
 * address. Each advance is an EIP-3009 authorization with a nonce of its own, so that none is made twice however often it is sent.
 */
export async function advance({ till, house, shop }: ExactDesk, payment: PaymentId, amount: bigint): Promise<void> {
  const { chain } = till
  const { router: to, token } = house.rail
  const from = house.key
  const held = await balanceOf(chain, to)
  if (held >= amount) return
  const [own, nonce] = [await balanceOf(chain, from), await nextNonce(chain, { from, payment })]
  const facts = { payer: payment.payer, nonce: payment.nonce, amount: amount.toString() }
  if (own < amount || nonce === null) {
    shop.log.error({ event: 'refund.unfunded', ...facts, held: held.toString(), collector: from, own: own.toString() })
    return
  }
  const value = { from, to, value: amount, validAfter: 0n, validBefore: FOREVER, nonce }
  const { v, r, s } = house.signer.signingKey.sign(digestOf('Token', 'TransferWithAuthorization', token, value))
  const args = [from, to, amount, 0n, FOREVER, nonce, v, r, s]
  const { hash } = await chain.submit({ contract: 'Token', method: 'transferWithAuthorization', args })
  shop.log.warn({ event: 'refund.advanced', ...facts, transaction: hash })
}

export async function balanceOf(chain: Chain, account: string): Promise<bigint> {
  return BigInt(String(await chain.read({ contract: 'Token', method: 'balanceOf', args: [account] })))
}

/** The first that no block has taken: what was sent with it, and is not known of, is the same transfer. */
async function nextNonce(chain: Chain, { from, payment }: { from: string; payment: PaymentId }): Promise<string | null> {
  for (let made = 0; made < MAX_ADVANCES; made += 1) {
    const nonce = keccak256(toUtf8Bytes(`granary advance ${made} for ${idOf(payment)}`))
    if (!(await isUsed(chain, { payer: from, nonce }))) return nonce
  }
  return null
}
