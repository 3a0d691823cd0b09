import { Wallet } from 'ethers'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openLedger } from '../../services/adapters/ledger/prisma-ledger.ts'
import type { Chain, Ledger } from '../../services/core/ports.ts'
import { openIndexer } from '../../services/indexer/indexer.ts'
import { openSettler } from '../../services/settler/settler.ts'
import { chargeOnce } from '../adapters/conformance/ledger-acts.ts'
import { devChainMissing } from '../adapters/support/dev-chain.ts'
import { openTestServer } from '../support/postgres.ts'
import { deposit, eagerSettler, type Marketplace, openMarketplace, randomId, silent } from './support/marketplace.ts'

const missing = devChainMissing()
const CRASHES = 12

/** Chain, PostgreSQL, indexer and settler for real; only the gateway's part is played by the test. */
describe.skipIf(missing !== null)(`from deposit to final${missing ? ` (skipped: ${missing})` : ''}`, () => {
  const stack = new AsyncDisposableStack()
  let market: Marketplace
  let ledger: Ledger
  beforeAll(async () => {
    market = stack.use(await openMarketplace())
    const server = stack.use(await openTestServer())
    const database = stack.use(await server.database())
    ledger = stack.use(await openLedger({ url: database.url }))
  })
  afterAll(() => stack.disposeAsync())

  it('charges every committed request exactly once while the settler dies again and again', async () => {
    const key = new Wallet(randomId())
    await deposit(market, 1_000_000n)
    await grant(key)
    await using _indexer = openIndexer({ chain: market.payer, ledger, deployBlock: 1, log: silent, pollMs: 20 })
    const own = { accountId: market.accountId, config: market.config, key: market.config.payer }
    const granted = { ...own, key: key.address.toLowerCase() }
    await expect.poll(async () => (await ledger.standing(own.accountId, granted.key))?.cap, { timeout: 20_000 }).toBe(500_000n)
    expect(await ledger.acceptVoucher(await market.voucher(400_000n))).toEqual({ ok: true })
    expect(await ledger.acceptVoucher(await market.voucher(400_000n, key))).toEqual({ ok: true })

    let total = 0n
    for (let crash = 0; crash < CRASHES; crash += 1) {
      for (const account of [own, granted]) {
        const charged = BigInt(10 + crash)
        const { timestamp } = await market.payer.head()
        const lane = { modelId: market.modelId, provider: market.provider.sender ?? '' }
        await chargeOnce(ledger, account, { charged, servedAt: timestamp, ...lane })
        total += charged
      }
      const dead = Promise.withResolvers<void>()
      await using _settler = runSettler(dyingIn(market.collector, crash % 4, dead.resolve))
      await dead.promise
      await market.node.rpc('anvil_mine', '0x1')
    }
    await using _settler = runSettler(market.collector)
    await expect
      .poll(() => ledger.exposure(market.config.collector), { timeout: 30_000 })
      .toMatchObject({ requests: 0, amount: 0n })

    const balance = await market.payer.read({ contract: 'InferenceEscrow', method: 'balance', args: [market.accountId] })
    expect(balance).toMatchObject({ charged: total, deposit: 1_000_000n })
    const statement = await ledger.statement(market.accountId, { limit: 100 })
    expect(statement).toHaveLength(2 * CRASHES)
    expect(statement.every(({ state }) => state === 'FINAL')).toBe(true)
    await expect.poll(async () => (await ledger.standing(own.accountId, own.key))?.accountCharged).toBe(total)
  }, 120_000)

  function runSettler(chain: Chain): AsyncDisposable {
    return openSettler({ ...eagerSettler(market, ledger), chain, pollMs: 10, syncModels: async () => 0 })
  }

  /** From one point of its work on, nothing this settler does reaches the world: as if it had been killed there. */
  function dyingIn(chain: Chain, point: number, died: () => void): Chain {
    let isDead = false
    const die = (): Promise<never> => {
      isDead = true
      died()
      return Promise.reject(new Error('killed'))
    }
    return {
      ...chain,
      head: () => (isDead ? die() : chain.head()),
      outcome: (hash) => (isDead || point === 3 ? die() : chain.outcome(hash)),
      prepare: (call, options) => (isDead || point === 0 ? die() : chain.prepare(call, options)),
      async broadcast(transaction) {
        if (isDead || point === 1) return die()
        await chain.broadcast(transaction)
        if (point === 2) return die()
      },
    }
  }

  async function grant(key: Wallet): Promise<void> {
    const { payer, collector, thawSeconds, salt } = market.config
    const notAfter = (await market.payer.head()).timestamp + 10_000
    await market.payer.submit({
      contract: 'InferenceEscrow',
      method: 'grantKey',
      args: [{ payer, collector, thawSeconds, salt }, key.address, 500_000n, notAfter, 1],
    })
  }
})
