import { Wallet } from 'ethers'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Payment } from '../../services/core/payment-ledger.ts'
import { round } from '../../services/gateway/x402/rounds.ts'
import { silent } from './support/marketplace.ts'

const MIN_SWEEP = 5n
const VALID_BEFORE = 1000
const router = `0x${'0a'.repeat(20)}`

/** One round over what these answer; where they are silent, nothing is there to do. */
async function roundOf({ chain, ledger }: { chain: object; ledger: object }): Promise<void> {
  const nothing = { openPayments: async () => [], displacedPayments: async () => [], closePayments: async () => 0 }
  const books = { ...nothing, standing: async () => null, returnable: async () => [], ...ledger }
  const signer = Wallet.createRandom()
  const house = { rail: { router }, accountId: '0x', key: '0x', signer, router: { chainId: 1n, address: router } }
  const shop = { ledger: books, owner: 'x402:first', log: silent }
  const desk = { shop, till: { chain, ledger: books, log: silent }, house, live: new Set() }
  await round({ desk: desk as never, minSweep: MIN_SWEEP, minRefund: 1n })
}

/** Of a payment that is RETURNED or SETTLED, whose block is gone: what a round does at `now`. */
async function roundOver(displaced: { state: string; used: boolean; refunded: bigint; now: number }): Promise<string[]> {
  const did: string[] = []
  const payment = {
    payer: router,
    nonce: `0x${'01'.repeat(32)}`,
    router,
    value: 10n,
    charged: 0n,
    validAfter: 0,
    validBefore: VALID_BEFORE,
    signature: `0x${'11'.repeat(64)}1b`,
    state: displaced.state,
    requestState: 'RELEASED',
  }
  const reads: Record<string, unknown> = { authorizationState: displaced.used, refunded: displaced.refunded, swept: 0n }
  const transfer = { name: 'Transfer', contract: 'Token', args: { from: router, to: router, value: '10' }, logIndex: 1 }
  const use = { name: 'AuthorizationUsed', contract: 'Token', args: { authorizer: router, nonce: payment.nonce }, logIndex: 0 }
  const chain = {
    head: async () => ({ timestamp: displaced.now, number: 9 }),
    read: async ({ method }: { method: string }) => reads[method],
    find: async () => [{ transaction: '0xab' }],
    outcome: async () => ({ hash: '0xab', block: 7, succeeded: true, events: [use, transfer] }),
    async submit({ method }: { method: string }) {
      did.push(method)
      return { hash: '0xcd', block: 8, events: [use, transfer] }
    },
  }
  const ledger = {
    displacedPayments: async () => [payment],
    paymentSent: async () => undefined,
    async movePayment(_: unknown, { to }: { to: string }) {
      did.push(to)
      return true
    },
    async placePayment(_: unknown, settled: { block: number } | null) {
      did.push(settled === null ? 'lost' : `in block ${settled.block}`)
    },
  }
  await roundOf({ chain, ledger })
  return did
}

interface Books {
  earned: bigint
  swept: bigint
  held: bigint
  /** Payments of voided requests, to be given back whole. */
  voided: bigint[]
}

/** One round over these books; what it sent to the chain. */
async function sentBy({ earned, swept, held, voided }: Books): Promise<{ swept: bigint; refunded: bigint[] }> {
  const sent = { swept: 0n, refunded: [] as bigint[] }
  const payments = voided.map((value, index) => ({
    payer: router,
    nonce: `0x${`${index}`.padStart(64, '0')}`,
    value,
    charged: 0n,
    state: 'SETTLED',
    requestState: 'VOIDED',
  }))
  const reads: Record<string, bigint> = { swept, balanceOf: held, refunded: 0n }
  const chain = {
    head: async () => ({ timestamp: 1000 }),
    read: async ({ method }: { method: string }) => reads[method],
    async submit({ method, args }: { method: string; args: unknown[] }) {
      if (method === 'sweep') sent.swept = BigInt(String(args[0])) - swept
      else sent.refunded.push(BigInt(String(args[1])))
      return { hash: '0x' }
    },
  }
  const ledger = {
    standing: async () => ({ accountCharged: earned }),
    returnable: async () => payments as unknown as Payment[],
    movePayment: async () => true,
  }
  await roundOf({ chain, ledger })
  return sent
}

describe('a round of the x402 rail', () => {
  it('sweeps what is earned, gives back what is owed, and what is missing delays neither', async () => {
    const amount = fc.bigInt({ min: 0n, max: 100n })
    const books = fc.record({
      swept: amount,
      due: amount,
      voided: fc.array(fc.bigInt({ min: 1n, max: 40n }), { maxLength: 3 }),
      missing: amount,
    })
    await fc.assert(
      fc.asyncProperty(books, async ({ swept, due, voided, missing }) => {
        const owed = voided.reduce((sum, value) => sum + value, 0n)
        const lost = missing < due + owed ? missing : due + owed
        const sent = await sentBy({ earned: swept + due, swept, held: due + owed - lost, voided })
        const rest = due > lost ? due - lost : 0n
        expect(sent).toEqual({ swept: rest < MIN_SWEEP ? 0n : rest, refunded: voided })
      }),
    )
  })

  it('sends a payment again whose block is gone, while its authorization lasts, and gives back again what was', async () => {
    const settled = { state: 'SETTLED', used: false, refunded: 0n, now: VALID_BEFORE - 1 }
    expect(await roundOver(settled)).toEqual(['transferWithAuthorization', 'in block 8'])
    expect(await roundOver({ ...settled, used: true })).toEqual(['in block 7'])
    expect(await roundOver({ ...settled, now: VALID_BEFORE })).toEqual(['lost'])
    expect(await roundOver({ ...settled, state: 'RETURNED', used: true })).toEqual(['RETURNING', 'in block 7'])
    expect(await roundOver({ ...settled, state: 'RETURNED', used: true, refunded: 10n })).toEqual(['in block 7'])
  })
})
