import { Transaction, Wallet } from 'ethers'
import { describe, expect, it } from 'vitest'
import { openTransactions } from '../../services/adapters/chain/transactions.ts'

const call = { contract: 'Token', method: 'transfer', args: [] }
const GWEI = 1_000_000_000n

/** A node that holds a transaction of the next nonce which it does not count, and lets it go for `price`. */
function nodeWith(price: bigint, now = () => 0) {
  const offers: bigint[] = []
  const told: string[] = []
  const answers: Record<string, unknown> = {
    eth_getTransactionCount: '0x5',
    eth_getBlockByNumber: { baseFeePerGas: '0x0' },
    eth_maxPriorityFeePerGas: `0x${GWEI.toString(16)}`,
    eth_getBalance: `0x${(10n ** 20n).toString(16)}`,
  }
  const rpc = {
    send: async (method: string) => answers[method],
    async ask(method: string, [raw]: unknown[]) {
      if (method === 'eth_estimateGas') return { ok: true, result: '0x5208' }
      if (method !== 'eth_sendRawTransaction') return { ok: method in answers, result: answers[method] ?? null, refusal: {} }
      const { maxFeePerGas } = Transaction.from(String(raw))
      told.push(String(raw))
      offers.push(maxFeePerGas ?? 0n)
      if ((maxFeePerGas ?? 0n) >= price) return { ok: true, result: '0x' }
      return { ok: false, refusal: { message: 'replacement transaction underpriced', reverted: false } }
    },
  }
  const codec = { addressOf: () => `0x${'0a'.repeat(20)}`, encode: () => '0x' }
  const sender = { rpc, codec, wallet: Wallet.createRandom(), chainId: 31_337n }
  return { offers, told, answers, transactions: openTransactions(sender as never, now) }
}

describe('a nonce that was lost', () => {
  it('is used again once the node has not counted what it knows for half a minute: until then it may only lag', async () => {
    let [clock, counted] = [0, 5]
    const nonces: number[] = []
    const { transactions, answers } = nodeWith(0n, () => clock)
    answers.eth_getTransactionByHash = {}
    const sendAt = async (time: number) => {
      clock = time
      answers.eth_getTransactionCount = `0x${counted.toString(16)}`
      nonces.push((await transactions.dispatch(call)).nonce)
    }
    for (const time of [0, 1, 9_000, 30_001, 30_002]) await sendAt(time)
    expect(nonces).toEqual([5, 6, 7, 8, 5])
    // Where the next is missing too, that is known already.
    counted = 6
    await sendAt(30_002)
    expect(nonces.at(-1)).toBe(6)
    // The pool's later ones follow it.
    counted = 9
    await sendAt(30_003)
    expect(nonces.at(-1)).toBe(9)
  })
})

describe('what was sent', () => {
  it('by an earlier process, and is told again, says nothing of the nonces before it', async () => {
    const [{ transactions, answers }, earlier] = [nodeWith(0n), nodeWith(0n)]
    answers.eth_getTransactionByHash = {}
    earlier.answers.eth_getTransactionCount = '0x9'
    await transactions.broadcast(await earlier.transactions.prepare(call))
    expect((await transactions.dispatch(call)).nonce).toBe(5)
  })

  it('is told again up to the one that is waited for, without what a block has and what was replaced', async () => {
    const { transactions, answers, told } = nodeWith(0n)
    answers.eth_getTransactionByHash = {}
    const [, second, third] = [
      await transactions.dispatch(call),
      await transactions.dispatch(call),
      await transactions.dispatch(call),
    ]
    await transactions.dispatch(call)
    const instead = await transactions.prepare(call, second)
    await transactions.broadcast(instead)
    answers.eth_getTransactionCount = '0x6'
    told.length = 0
    await transactions.retell(third)
    expect(told).toEqual([instead.raw, third.raw])
  })
})

describe('a nonce that a forgotten transaction holds', () => {
  it('is taken over at higher fees, each signed transaction told before it is sent', async () => {
    const { offers, transactions } = nodeWith(2n * GWEI)
    const signed: string[] = []
    const sent = await transactions.dispatch(call, async ({ hash }) => void signed.push(hash))
    // Nodes want a tenth more each time.
    for (const [index, offer] of offers.slice(1).entries())
      expect(offer * 10n).toBeGreaterThanOrEqual((offers[index] ?? 0n) * 11n)
    expect(offers[0]).toBe(GWEI)
    expect({ nonce: sent.nonce, last: signed.at(-1), count: signed.length }).toEqual({
      nonce: 5,
      last: sent.hash,
      count: offers.length,
    })
  })

  it('is left to it when that offers far more than today’s transactions', async () => {
    const { offers, transactions } = nodeWith(100n * GWEI)
    await expect(transactions.dispatch(call)).rejects.toMatchObject({ evidence: { error: 'NonceTaken' } })
    expect(offers.at(-1)).toBeLessThan(5n * GWEI)
  })
})
