import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { GranaryError } from '../../services/core/errors.ts'
import type { Chain } from '../../services/core/ports.ts'
import { openIndexer, openStepper, type Step } from '../../services/indexer/indexer.ts'
import { openTicker } from '../../services/settler/batches.ts'
import { devChainMissing } from '../adapters/support/dev-chain.ts'
import { deposit, eagerSettler, type Marketplace, openMarketplace, randomId, silent } from './support/marketplace.ts'
import { type MemoryMirror, openMemoryMirror } from './support/memory-mirror.ts'
import { openMemorySettlement } from './support/memory-settlement.ts'

const missing = devChainMissing()

describe.skipIf(missing !== null)(`indexer${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let market: Marketplace
  let ledger: MemoryMirror
  beforeAll(async () => {
    market = await openMarketplace()
    await deposit(market, 1000n)
  })
  afterAll(async () => {
    await market?.[Symbol.asyncDispose]()
  })
  beforeEach(() => {
    ledger = openMemoryMirror()
  })

  const stepper = (chain: Chain = market.payer) => openStepper({ chain, ledger, deployBlock: 1, log: silent })
  const state = async (kind: 'account' | 'dataset' | 'model' | 'provider' | 'offer', id: string) =>
    (await ledger.mirror(kind, id))?.state
  const account = () => state('account', market.accountId)

  /** Steps to the head; tells what happened on the way. */
  async function catchUp(step: () => Promise<Step>): Promise<Step[]> {
    const steps: Step[] = []
    for (let round = 0; round < 50; round += 1) {
      const result = await step()
      if (result === 'idle' || result === 'behind') return [...steps, result]
      steps.push(result)
    }
    throw new Error(`never caught up: ${steps}`)
  }

  it('mirrors everything that events touched as views return it, as JSON', async () => {
    expect(await catchUp(stepper())).toEqual(['applied', 'idle'])
    const { payer, collector, salt } = market.config
    expect(await account()).toEqual({
      payer,
      collector,
      salt,
      thawSeconds: 7200,
      deposit: '1000',
      charged: '0',
      ownSpent: '0',
      thawing: '0',
      thawEndsAt: '0',
    })
    expect(await state('dataset', market.datasetId)).toMatchObject({
      owner: payer,
      withdrawn: false,
      terms: { royaltyPpm: '100000' },
    })
    expect(await state('model', market.modelId)).toMatchObject({
      author: payer,
      parents: [],
      payees: expect.arrayContaining([{ id: market.datasetId, ppm: '100000', isDataset: true }]),
    })
    const operator = market.provider.sender ?? ''
    expect(await state('provider', operator)).toMatchObject({ name: 'one', stake: '1000000' })
    expect(await state('offer', `${operator}:${market.modelId}`)).toEqual({ unitPrice: '10', unit: '0', active: true })
    expect(await ledger.cursor()).toEqual(await market.payer.head())
  })

  it('reads again what a batch has charged, from the rows of its transaction', async () => {
    await catchUp(stepper())
    const read = { contract: 'InferenceEscrow', method: 'balance', args: [market.accountId] }
    const before = ((await market.payer.read(read)) as { charged: bigint }).charged
    await settle(40n)
    await catchUp(stepper())
    expect(await account()).toMatchObject({ charged: String(before + 40n) })
  })

  it("reads all the collector's accounts again when a batch came through another contract", async () => {
    await catchUp(stepper())
    await settle(2n)
    const { charged } = (await market.payer.read({
      contract: 'InferenceEscrow',
      method: 'balance',
      args: [market.accountId],
    })) as {
      charged: bigint
    }
    await catchUp(stepper({ ...market.payer, callOf: async () => null }))
    expect(await account()).toMatchObject({ charged: String(charged) })
  })

  it('at the head looks for the next block, and for nothing else; what another has made of the ledger meanwhile it sees before it writes', async () => {
    const asked: string[] = []
    const counted = <Port extends object>(port: Port): Port =>
      new Proxy(port, {
        get(target, name) {
          asked.push(String(name))
          const value = Reflect.get(target, name)
          return typeof value === 'function' ? value.bind(target) : value
        },
      })
    const step = openStepper({ chain: counted(market.payer), ledger: counted(ledger), deployBlock: 1, log: silent })
    // The first look at a cursor also reads again what an earlier process had left stale.
    for (let look = 0; look < 2; look += 1) {
      expect(await catchUp(step)).toEqual(['applied', 'idle'])
      await market.node.rpc('anvil_mine', '0x1')
    }
    await catchUp(step)
    asked.length = 0
    expect(await step()).toBe('idle')
    expect(asked).toEqual(['head'])
    asked.length = 0
    await market.node.rpc('anvil_mine', '0x1')
    expect(await step()).toBe('applied')
    expect(asked).toEqual(['head', 'events', 'block', 'apply'])

    await ledger.forgetChain()
    await market.node.rpc('anvil_mine', '0x1')
    await expect(step()).rejects.toThrow('out of order')
    expect(await catchUp(step)).toEqual(['applied', 'idle'])
    expect(await account()).toBeDefined()
  })

  it('goes back to the fork and reads again what the lost blocks had touched', async () => {
    const step = stepper()
    await catchUp(step)
    const base = await account()
    const { number } = await market.payer.head()
    await deposit(market, 500n)
    await catchUp(step)
    expect(await account()).toMatchObject({ deposit: String(BigInt(String(base?.deposit)) + 500n) })

    await loseBlocksAfter(number)
    await market.node.rpc('anvil_mine', '0x6')
    const steps = await catchUp(step)
    expect(steps).toContain('rolled-back')
    expect(steps).not.toContain('rebuilding')
    expect(await account()).toEqual(base)
    expect(ledger.events.every(({ block }) => block <= number)).toBe(true)
    expect(await ledger.cursor()).toEqual(await market.payer.head())
  })

  it('reads again what a crash in the middle of a rollback left stale', async () => {
    await catchUp(stepper())
    const base = await account()
    const head = await market.payer.head()
    await deposit(market, 7n)
    await catchUp(stepper())
    await loseBlocksAfter(head.number)
    await market.node.rpc('anvil_mine', '0x6')
    await ledger.rollback(head)
    await catchUp(stepper())
    expect(await account()).toEqual(base)
  })

  it('waits for a node that lags, and loses nothing', async () => {
    await catchUp(stepper())
    const { number } = await market.payer.head()
    await market.node.rpc('anvil_mine', '0x1')
    await catchUp(stepper())
    const lagging: Chain = {
      ...market.payer,
      head: async () => (await market.payer.block(number)) ?? market.payer.head(),
      block: async (wanted) => (wanted > number ? null : market.payer.block(wanted)),
    }
    const events = ledger.events.length
    expect(await catchUp(stepper(lagging))).toEqual(['behind'])
    expect(ledger.events).toHaveLength(events)
  })

  it('applies nothing that was read while the chain changed', async () => {
    await catchUp(stepper())
    await market.node.rpc('anvil_mine', '0x1')
    const cursor = await ledger.cursor()
    const turning: Chain = {
      ...market.payer,
      async events(from, to) {
        const events = await market.payer.events(from, to)
        await loseBlocksAfter(from - 1)
        await market.node.rpc('anvil_mine', '0x1', '0x9')
        return events
      },
    }
    expect(await stepper(turning)()).toBe('moved')
    expect(await ledger.cursor()).toEqual(cursor)
  })

  it('builds everything anew on a chain that is not the one it knew', async () => {
    await catchUp(stepper())
    await using other = await openMarketplace()
    expect(await catchUp(stepper(other.payer))).toEqual(['rebuilding', 'applied', 'idle'])
    expect(await account()).toBeUndefined()
    expect(await ledger.mirror('model', other.modelId)).not.toBeNull()
    expect(await ledger.cursor()).toEqual(await other.payer.head())
  })

  it('runs on while the chain is away, and follows again by itself', async () => {
    let away = false
    const flaky: Chain = {
      ...market.payer,
      head: () => (away ? Promise.reject(new GranaryError('chain.unavailable', 'away')) : market.payer.head()),
    }
    await using _ = openIndexer({ chain: flaky, ledger, deployBlock: 1, log: silent, pollMs: 10 })
    const isAtHead = async () => (await ledger.cursor())?.hash === (await market.payer.head()).hash
    await expect.poll(isAtHead, { timeout: 20_000 }).toBe(true)
    away = true
    await market.node.rpc('anvil_mine', '0x2')
    expect(await isAtHead()).toBe(false)
    away = false
    await expect.poll(isAtHead, { timeout: 20_000 }).toBe(true)
  })

  async function settle(amount: bigint): Promise<void> {
    const settlement = openMemorySettlement(market)
    const read = { contract: 'InferenceEscrow', method: 'balance', args: [market.accountId] }
    const { charged } = (await market.payer.read(read)) as { charged: bigint }
    settlement.requests.push({ id: 'earlier', head: randomId(), charged, servedAt: 0, state: 'FINAL' })
    settlement.add(amount, (await market.payer.head()).timestamp)
    const tick = openTicker({ ...eagerSettler(market, settlement) })
    await expect.poll(() => tick(), { timeout: 20_000 }).toBe('settled')
  }

  async function loseBlocksAfter(number: number): Promise<void> {
    const { number: head } = await market.payer.head()
    await market.node.rpc('anvil_rollback', head - number)
  }
})
