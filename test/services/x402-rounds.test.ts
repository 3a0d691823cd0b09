import { Wallet } from 'ethers'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Payment } from '../../services/core/payment-ledger.ts'
import { round } from '../../services/gateway/x402/rounds.ts'
import { silent } from './support/marketplace.ts'

const MIN_SWEEP = 5n
const router = `0x${'0a'.repeat(20)}`

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
    ...{
      payer: router,
      nonce: `0x${`${index}`.padStart(64, '0')}`,
      value,
      charged: 0n,
      state: 'SETTLED',
      requestState: 'VOIDED',
    },
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
    openPayments: async () => [],
    standing: async () => ({ accountCharged: earned }),
    closePayments: async () => 0,
    returnable: async () => payments as unknown as Payment[],
    movePayment: async () => true,
  }
  const house = {
    rail: { router },
    accountId: '0x',
    key: '0x',
    signer: Wallet.createRandom(),
    router: { chainId: 1n, address: router },
  }
  const desk = { shop: { ledger, owner: 'x402:first', log: silent }, till: { chain }, house, live: new Set() }
  await round({ desk: desk as never, minSweep: MIN_SWEEP, minRefund: 1n })
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
})
