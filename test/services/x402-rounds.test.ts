import { Wallet } from 'ethers'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { GranaryError } from '../../services/core/errors.ts'
import type { Payment } from '../../services/core/payment-ledger.ts'
import { round } from '../../services/gateway/x402/rounds.ts'
import { silent } from './support/marketplace.ts'

const MIN_SWEEP = 5n
const VALID_BEFORE = 1000
const MIRRORED = { number: 6, hash: '0x06' }
const router = `0x${'0a'.repeat(20)}`

/** One round over what these answer; where they are silent, nothing is there to do. */
async function roundOf({ chain, ledger }: { chain: object; ledger: object }): Promise<void> {
  const nothing = { openPayments: async () => [], cursor: async () => null, closePayments: async () => 0 }
  const books = { ...nothing, standing: async () => null, returnable: async () => [], ...ledger }
  const signer = Wallet.createRandom()
  const verifier = { chainId: 1n, address: router }
  const rail = { router, token: { ...verifier, name: 'Test', version: '1' } }
  const house = { rail, accountId: '0x', key: signer.address, signer, router: verifier }
  const shop = { ledger: books, owner: 'x402:first', log: silent }
  const deliveries = { open: () => ({}) }
  const desk = { shop, till: { chain, ledger: books, log: silent }, house, deliveries, live: new Set() }
  await round({ desk: desk as never, minSweep: MIN_SWEEP, minRefund: 1n })
}

interface Standing {
  state: string
  /** By the token, at the head. */
  used: boolean
  refunded: bigint
  now: number
  /** The mirror's head, by which less may have happened than by the chain's. */
  mirrored?: { used: boolean; refunded: bigint }
  /** Whether the token's log of it is within reach. */
  isNear?: boolean
}

/** What a round does with a payment of a released request that is `unplaced`, or may have to go back. */
async function roundOver(standing: Standing, as: 'unplaced' | 'returnable'): Promise<string[]> {
  const { state, used, refunded, now, mirrored = standing, isNear = true } = standing
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
    state,
    settledIn: '0xab',
    requestState: 'RELEASED',
  }
  const reads = (at: { used: boolean; refunded: bigint }): Record<string, unknown> => ({
    authorizationState: at.used,
    refunded: at.refunded,
    swept: 0n,
  })
  const transfer = { name: 'Transfer', contract: 'Token', args: { from: router, to: router, value: '10' }, logIndex: 1 }
  const execution = {
    name: 'AuthorizationUsed',
    contract: 'Token',
    args: { authorizer: router, nonce: payment.nonce },
    logIndex: 0,
  }
  const chain = {
    head: async () => ({ timestamp: now, number: 9 }),
    read: async ({ method }: { method: string }, block?: number) =>
      reads(block === MIRRORED.number ? mirrored : { used, refunded })[method],
    find: async () => (isNear ? [{ transaction: '0xab' }] : []),
    outcome: async () => ({ hash: '0xab', block: 7, succeeded: true, events: [execution, transfer] }),
    async submit({ method }: { method: string }) {
      did.push(method)
      return { hash: '0xcd', block: 8, events: [execution, transfer] }
    },
  }
  const ledger = {
    cursor: async () => MIRRORED,
    unplacedPayments: async () => (as === 'unplaced' ? [payment] : []),
    returnable: async () => (as === 'returnable' ? [payment] : []),
    paymentSent: async () => undefined,
    async movePayment(_: unknown, { to }: { to: string }) {
      did.push(to)
      return true
    },
    async placePayment(_: unknown, placed: { head: { number: number } } | null) {
      did.push(placed === null ? 'lost' : `by block ${placed.head.number}`)
    },
  }
  await roundOf({ chain, ledger })
  return did
}

interface Books {
  earned: bigint
  swept: bigint
  held: bigint
  /** The collector's own, for advances. */
  own?: bigint
  /** Payments of voided requests, to be given back whole. */
  voided: bigint[]
}

/** One round over these books, with a router that pays out no more than it holds; what the round sent to the chain. */
async function sentBy({ earned, swept, held, own = 0n, voided }: Books) {
  const sent = { swept: 0n, advanced: 0n, refunded: [] as bigint[] }
  const used = new Set<unknown>()
  const payments = voided.map((value, index) => ({
    payer: router,
    nonce: `0x${`${index}`.padStart(64, '0')}`,
    value,
    charged: 0n,
    state: 'SETTLED',
    requestState: 'VOIDED',
  }))
  const left = () => held + sent.advanced - sent.swept - sent.refunded.reduce((sum, amount) => sum + amount, 0n)
  const reads: Record<string, (args: unknown[]) => unknown> = {
    swept: () => swept,
    refunded: () => 0n,
    balanceOf: ([account]) => (account === router ? left() : own - sent.advanced),
    authorizationState: ([payer, nonce]) => payer === router || used.has(nonce),
  }
  const chain = {
    head: async () => ({ timestamp: 1000 }),
    read: async ({ method, args }: { method: string; args: unknown[] }) => reads[method]?.(args),
    async submit({ method, args }: { method: string; args: unknown[] }) {
      if (method === 'sweep') sent.swept = BigInt(String(args[0])) - swept
      else if (method === 'refund') {
        if (BigInt(String(args[1])) > left()) throw new Error('RouterBalanceShort')
        sent.refunded.push(BigInt(String(args[1])))
      } else {
        if (used.has(args[5])) throw new Error('the authorization is used')
        used.add(args[5])
        sent.advanced += BigInt(String(args[2]))
      }
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
        const sent = await sentBy({ earned: swept + due, swept, held: due + owed - lost, own: owed, voided })
        const rest = due > lost ? due - lost : 0n
        expect(sent).toMatchObject({ swept: rest < MIN_SWEEP ? 0n : rest, refunded: voided })
      }),
    )
  })

  it('gives back what was voided after it was swept, with what the collector advances and no more than that', async () => {
    const amount = fc.bigInt({ min: 0n, max: 100n })
    const voided = fc.array(fc.bigInt({ min: 1n, max: 40n }), { minLength: 1, maxLength: 3 })
    await fc.assert(
      fc.asyncProperty(fc.record({ held: amount, own: amount, voided }), async ({ held, own, voided }) => {
        const sent = await sentBy({ earned: 0n, swept: 500n, held, own, voided })
        const given = sent.refunded.reduce((sum, value) => sum + value, 0n)
        const owed = voided.reduce((sum, value) => sum + value, 0n)
        expect(sent.advanced <= own && given <= held + sent.advanced).toBe(true)
        if (held >= owed) expect(sent.advanced).toBe(0n)
        if (own >= owed) expect(sent.refunded).toEqual(voided)
      }),
    )
  })

  it('advances nothing for a payment that a reorganisation took back, and closes it when it can come no more', async () => {
    const gone = { state: 'SETTLED', used: false, refunded: 0n }
    expect(await roundOver({ ...gone, now: VALID_BEFORE }, 'returnable')).toEqual([])
    expect(await roundOver({ ...gone, now: VALID_BEFORE + 61 }, 'returnable')).toEqual(['CLOSED'])
  })

  it('sends a payment again whose block is gone, while its authorization lasts, and gives back again what was', async () => {
    const settled = { state: 'SETTLED', used: false, refunded: 0n, now: VALID_BEFORE - 1 }
    const returned = { ...settled, state: 'RETURNED', used: true }
    expect(await roundOver(settled, 'unplaced')).toEqual(['transferWithAuthorization'])
    expect(await roundOver({ ...settled, used: true }, 'unplaced')).toEqual(['by block 6'])
    expect(await roundOver({ ...settled, used: true, isNear: false }, 'unplaced')).toEqual(['by block 6'])
    expect(await roundOver({ ...settled, now: VALID_BEFORE }, 'unplaced')).toEqual(['lost'])
    expect(await roundOver(returned, 'unplaced')).toEqual(['RETURNING', 'by block 6'])
    expect(await roundOver({ ...returned, refunded: 10n }, 'unplaced')).toEqual(['by block 6'])
  })

  it.each([
    ['NonceUsed', ['transferWithAuthorization']],
    ['NonceTaken', []],
  ])('sends a payment anew when its transaction is refused for %s: %j', async (error, expected) => {
    const did: string[] = []
    const authorization = { nonce: `0x${'01'.repeat(32)}`, value: 10n, validAfter: 0, validBefore: VALID_BEFORE }
    const payment = {
      ...{ ...authorization, payer: router, router, signature: `0x${'11'.repeat(64)}1b`, settledIn: null },
      ...{ state: 'SENT', delivery: new Uint8Array(1), transaction: { raw: '0x', hash: '0xef', nonce: 3 } },
    }
    const chain = {
      head: async () => ({ timestamp: VALID_BEFORE - 1, number: 9 }),
      read: async ({ method }: { method: string }) => (method === 'authorizationState' ? false : 0n),
      outcome: async () => null,
      broadcast: () => Promise.reject(new GranaryError('chain.reverted', 'refused', { error })),
      async submit({ method }: { method: string }) {
        did.push(method)
        throw new GranaryError('chain.unavailable', 'no answer')
      },
    }
    await roundOf({ chain, ledger: { openPayments: async () => [payment] } })
    expect(did).toEqual(expected)
  })

  it('waits for the mirror where the chain has more than that', async () => {
    const settled = { state: 'SETTLED', used: true, refunded: 0n, now: VALID_BEFORE - 1, mirrored: { used: false, refunded: 0n } }
    expect(await roundOver(settled, 'unplaced')).toEqual([])
    const returned = { ...settled, state: 'RETURNED', refunded: 10n, mirrored: { used: true, refunded: 0n } }
    expect(await roundOver(returned, 'unplaced')).toEqual([])
  })
})
