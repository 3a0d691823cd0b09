import { Transaction, Wallet } from 'ethers'
import { pino } from 'pino'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { openEthersChain } from '../../services/adapters/chain/ethers-chain.ts'
import { GranaryError } from '../../services/core/errors.ts'
import { receiptsRoot } from '../../services/core/merkle.ts'
import type { MirrorLedger } from '../../services/core/mirror-ledger.ts'
import type { Chain } from '../../services/core/ports.ts'
import { splitLane, toBatchArgument } from '../../services/core/settlement.ts'
import { openTicker, type SettlerOptions, type Tick } from '../../services/settler/batches.ts'
import { openLagReport } from '../../services/settler/lag.ts'
import { openModelSync } from '../../services/settler/model-sync.ts'
import { devChainMissing } from '../adapters/support/dev-chain.ts'
import {
  AUTHOR_PPM,
  DATASET_PPM,
  deposit,
  eagerSettler,
  type Marketplace,
  openMarketplace,
  PROTOCOL_PPM,
  randomId,
  silent,
} from './support/marketplace.ts'
import { type MemorySettlement, openMemorySettlement } from './support/memory-settlement.ts'

const missing = devChainMissing()

describe.skipIf(missing !== null)(`settler${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let market: Marketplace
  let ledger: MemorySettlement
  let before: bigint

  beforeAll(async () => {
    market = await openMarketplace()
    await deposit(market, 1_000_000_000n)
  })
  afterAll(async () => {
    await market?.[Symbol.asyncDispose]()
  })
  beforeEach(async () => {
    ledger = openMemorySettlement(market)
    before = await charged()
    // What the key had spent before is settled already.
    ledger.requests.push({ id: 'earlier', head: randomId(), charged: before, servedAt: 0, state: 'FINAL' })
    const { timestamp } = await market.collector.head()
    for (const amount of [700n, 11n, 3n]) ledger.add(amount, timestamp)
  })

  const charged = async () => BigInt(String(((await market.payer.read(balance())) as { charged: bigint }).charged))
  const balance = () => ({ contract: 'InferenceEscrow', method: 'balance', args: [market.accountId] })

  const ticker = (changes: Partial<SettlerOptions> = {}) => openTicker({ ...eagerSettler(market, ledger), ...changes })

  /** Ticks and mines until a batch is settled. */
  async function settle(tick: () => Promise<Tick>): Promise<void> {
    for (let round = 0; round < 20; round += 1) {
      if ((await tick()) === 'settled') return
      await market.node.rpc('anvil_mine', '0x1')
    }
    throw new Error('not settled')
  }

  it('charges committed requests in one transaction and books the split that the contract made', async () => {
    await settle(ticker())
    expect(await charged()).toBe(before + 714n)
    const [outcome] = ledger.closed
    const { provider: _, ...split } = splitLane(714n, {
      protocolPpm: PROTOCOL_PPM,
      collectorPpm: 0n,
      payeesPpm: AUTHOR_PPM + DATASET_PPM,
    })
    expect(outcome?.lanes).toEqual([{ modelId: market.modelId, provider: market.provider.sender, gross: 714n, ...split }])
    const root = { contract: 'InferenceEscrow', method: 'batchRoot', args: [market.config.collector, outcome?.batchId] }
    const heads = ledger.requests.filter(({ id }) => id !== 'earlier').map(({ head }) => head)
    expect(await market.payer.read(root)).toBe(receiptsRoot(heads))
    expect(await ticker()()).toBe('idle')
  })

  it('sends the stored transaction and no other after a crash between storing and broadcasting it', async () => {
    const crash: Chain = { ...market.collector, broadcast: () => Promise.reject(new Error('killed')) }
    await expect(ticker({ chain: crash })()).rejects.toThrow('killed')
    const stored = ledger.batches[0]?.transaction?.hash
    expect(await charged()).toBe(before)

    await settle(ticker())
    expect(ledger.closed.map(({ transaction }) => transaction)).toEqual([stored])
    expect(await charged()).toBe(before + 714n)
  })

  it('goes on with the same batch after a crash between drafting and storing', async () => {
    const crash: Chain = { ...market.collector, prepare: () => Promise.reject(new Error('killed')) }
    await expect(ticker({ chain: crash })()).rejects.toThrow('killed')
    const batchId = ledger.batches[0]?.batchId
    await settle(ticker())
    expect(ledger.closed.map((outcome) => outcome.batchId)).toEqual([batchId])
    expect(await charged()).toBe(before + 714n)
  })

  it('closes once what was mined while it was away', async () => {
    expect(await ticker()()).toBe('sent')
    await market.node.rpc('anvil_mine', '0x1')
    await settle(ticker())
    expect(ledger.closed).toHaveLength(1)
    expect(await charged()).toBe(before + 714n)
  })

  it('signs the same batch again when a stranger has used the nonce of the stored transaction', async () => {
    const crash: Chain = { ...market.collector, broadcast: () => Promise.reject(new Error('killed')) }
    await expect(ticker({ chain: crash })()).rejects.toThrow('killed')
    const { batchId, transaction } = ledger.batches[0] ?? {}
    await market.collector.submit({ contract: 'ModelRegistry', method: 'sync', args: [market.modelId] })

    await settle(ticker())
    expect(ledger.closed[0]).toMatchObject({ batchId })
    expect(ledger.closed[0]?.transaction).not.toBe(transaction?.hash)
    expect(await charged()).toBe(before + 714n)
  })

  it('replaces a transaction that no block takes by one that nodes prefer and that has gas for all of the batch', async () => {
    let nowMs = 0
    const stored = () => ledger.batches[0]?.transaction ?? { raw: '0x', hash: '', nonce: -1 }
    let second = stored()
    const tick = ticker({ now: () => nowMs })
    await market.node.rpc('evm_setAutomine', false)
    try {
      expect(await tick()).toBe('sent')
      const first = stored()
      nowMs += 61_000
      expect(await tick()).toBe('sent')
      second = stored()
      expect(second.nonce).toBe(first.nonce)
      expect(second.hash).not.toBe(first.hash)
      const gasOf = ({ raw }: { raw: string }) => Transaction.from(raw).gasLimit
      expect(gasOf(second) * 10n).toBeGreaterThan(gasOf(first) * 9n)
      await market.node.rpc('anvil_mine', '0x1')
    } finally {
      await market.node.rpc('evm_setAutomine', true)
    }
    await settle(tick)
    expect(ledger.closed).toMatchObject([{ transaction: second.hash }])
    expect(await charged()).toBe(before + 714n)
  })

  it('closes a batch that another transaction than the stored one has executed', async () => {
    const crash: Chain = { ...market.collector, broadcast: () => Promise.reject(new Error('killed')) }
    await expect(ticker({ chain: crash })()).rejects.toThrow('killed')
    const [batch] = ledger.batches
    if (!batch) throw new Error('no batch')
    const other = await market.collector.submit({
      contract: 'InferenceEscrow',
      method: 'settleBatch',
      args: [toBatchArgument(batch), '0x'],
    })
    const sentSoFar = () => market.node.rpc('eth_getTransactionCount', market.config.collector, 'pending')
    const sent = await sentSoFar()
    await settle(ticker())
    expect(await sentSoFar()).toBe(sent)
    expect(ledger.closed).toMatchObject([{ batchId: batch.batchId, transaction: other.hash }])
    expect(await charged()).toBe(before + 714n)
  })

  it('waits for the confirmations it is told to', async () => {
    const tick = ticker({ confirmations: 3 })
    expect(await tick()).toBe('sent')
    await expect.poll(async () => market.collector.outcome(ledger.batches[0]?.transaction?.hash ?? '')).not.toBeNull()
    expect(await tick()).toBe('waiting')
    await market.node.rpc('anvil_mine', '0x2')
    expect(await tick()).toBe('settled')
  })

  it('drops a batch that the contract refuses, gives its requests back and waits before the next', async () => {
    ledger.spoil = (draft) => ({ ...draft, rows: draft.rows.map((row) => ({ ...row, parts: [{ lane: 9, amount: 1n }] })) })
    const tick = ticker({ now: () => 0 })
    expect(await tick()).toBe('dropped')
    expect(ledger.batches).toEqual([])
    expect(ledger.requests.filter(({ state }) => state === 'COMMITTED')).toHaveLength(3)
    ledger.spoil = (draft) => draft
    expect(await tick()).toBe('idle')
  })

  it('goes on with other batches while the ledger can’t close one, and closes that when it can', async () => {
    let clock = 0
    const refuses = ledger.closeBatch
    ledger.closeBatch = async () => Promise.reject(new GranaryError('internal', 'The chain settled another amount.'))
    const tick = ticker({ now: () => clock })
    const untilOpen = async (count: number) => {
      for (let round = 0; round < 20 && ledger.batches.length < count; round += 1) {
        await tick()
        await market.node.rpc('anvil_mine', '0x1')
      }
      expect(ledger.batches).toHaveLength(count)
    }
    await untilOpen(1)
    ledger.add(5n, (await market.collector.head()).timestamp)
    await untilOpen(2)
    ledger.closeBatch = refuses
    clock = 60_000
    await settle(tick)
    expect(ledger.batches).toEqual([])
  })

  it('keeps the batch while it cannot pay for gas', async () => {
    const key = new Wallet(randomId())
    await using poor = await openEthersChain({ rpcUrl: market.node.rpcUrl, deployment: market.node.deployment, key })
    const collector = key.address.toLowerCase()
    ledger.spoil = (draft) => ({ ...draft, collector })
    const tick = ticker({ chain: poor, collector })
    await expect(tick()).rejects.toMatchObject({ code: 'chain.unfunded' })
    expect(ledger.batches).toHaveLength(1)
    await market.node.rpc('anvil_setBalance', key.address, '0xde0b6b3a7640000')
    expect(await tick()).toBe('sent')
  })

  it('leaves young and small receipts to wait', async () => {
    expect(await ticker({ maxAgeSeconds: 3600 })()).toBe('idle')
    expect(await ticker({ minGross: 1_000_000n })()).toBe('idle')
  })

  it('settles at once, however young and little it is, what a thaw may take away', async () => {
    ledger.atRisk = 714n
    await settle(ticker({ maxAgeSeconds: 3600, minGross: 1_000_000n }))
    expect(await charged()).toBe(before + 714n)
  })

  it('looks through all that waits for its gas the more rarely, the longer such a look takes, unless money is at risk', async () => {
    let clock = 0
    let looks = 0
    const slow: SettlerOptions['ledger'] = {
      ...ledger,
      async draftBatch() {
        looks += 1
        clock += 100
        return null
      },
    }
    const tick = ticker({ ledger: slow, now: () => clock })
    const looksAt = async (time: number) => {
      clock = time
      expect(await tick()).toBe('idle')
      return looks
    }
    expect([await looksAt(0), await looksAt(200), await looksAt(2099), await looksAt(2100)]).toEqual([1, 1, 1, 2])
    slow.due = async () => ({ oldestServedAt: 0, atRisk: 1n })
    expect([await looksAt(2300), await looksAt(2500)]).toEqual([3, 4])
  })

  it("tells the ledger what gas costs in the token at today's price, and what the collector earns", async () => {
    await ticker({ coinPrice: 3_000_000_000n, minGross: 1_000_000n })()
    const { batch = 0n, feePpm } = ledger.asked?.economy ?? {}
    const gasPrice = await market.collector.gasPrice()
    expect({ feePpm, batch }).toEqual({ feePpm: 0n, batch: (95_000n * gasPrice * 3_000_000_000n + 10n ** 18n - 1n) / 10n ** 18n })
    expect(batch).toBeGreaterThan(0n)
  })

  it('voids what has become too old to be credited, without a transaction', async () => {
    const { timestamp } = await market.collector.head()
    const window = Number(await market.payer.read({ contract: 'InferenceEscrow', method: 'MAX_SETTLEMENT_SECONDS', args: [] }))
    ledger.add(50n, timestamp - window - 60)
    await settle(ticker())
    expect(ledger.requests.filter(({ state }) => state === 'VOIDED').map((request) => request.charged)).toEqual([50n])
    expect(await charged()).toBe(before + 714n)
  })

  it('sends a settled batch again when the chain has dropped its block', async () => {
    await settle(ticker())
    const [first] = ledger.closed
    if (!first) throw new Error('not closed')
    const { number } = await market.collector.head()
    await market.node.rpc('anvil_rollback', number - first.block + 1)
    await market.node.rpc('anvil_mine', '0x4')
    expect(await charged()).toBe(before)

    await settle(ticker())
    expect(ledger.closed).toMatchObject([{ batchId: first.batchId }])
    expect(ledger.closed[0]?.blockHash).not.toBe(first.blockHash)
    expect(await charged()).toBe(before + 714n)
  })

  it('sends it again also where it had looked at that block before, and waited since', async () => {
    const tick = ticker()
    await settle(tick)
    const [first] = ledger.closed
    if (!first) throw new Error('not closed')
    for (let round = 0; round < 3; round += 1) {
      await market.node.rpc('anvil_mine', '0x1')
      expect(await tick()).toBe('idle')
    }
    const { number } = await market.collector.head()
    await market.node.rpc('anvil_rollback', number - first.block + 1)
    await market.node.rpc('anvil_mine', '0x6')
    await settle(tick)
    expect(ledger.closed).toMatchObject([{ batchId: first.batchId }])
    expect(ledger.closed[0]?.blockHash).not.toBe(first.blockHash)
    expect(await charged()).toBe(before + 714n)
  })

  it('with nothing to do asks for what is due and the next block, and for nothing else', async () => {
    await settle(ticker())
    const asked: string[] = []
    const counted = <Port extends object>(port: Port): Port =>
      new Proxy(port, {
        get(target, name) {
          const value = Reflect.get(target, name)
          if (typeof value === 'function') asked.push(String(name))
          return typeof value === 'function' ? value.bind(target) : value
        },
      })
    const tick = ticker({ chain: counted(market.collector), ledger: counted(ledger) })
    expect(await tick()).toBe('idle')
    expect(asked).toEqual(['head', 'finalBatches', 'block', 'openBatches', 'due'])
    for (const blocks of ['0x0', '0x1', '0x0', '0x1']) {
      asked.length = 0
      if (blocks !== '0x0') await market.node.rpc('anvil_mine', blocks)
      expect(await tick()).toBe('idle')
      expect(asked).toEqual(['head', 'due'])
    }
    // A block that came in between may belong to another chain.
    asked.length = 0
    await market.node.rpc('anvil_mine', '0x2')
    expect(await tick()).toBe('idle')
    expect(asked).toEqual(['head', 'finalBatches', 'block', 'openBatches', 'due'])
  })

  it('tells once a minute how much waits for how long, and warns past half of the settlement window', async () => {
    const told: { level: number; event: string; amount: string }[] = []
    const log = pino({}, { write: (line: string) => void told.push(JSON.parse(line)) })
    let ms = 0
    const report = openLagReport({ chain: market.collector, ledger, collector: market.config.collector, log, now: () => ms })
    expect([await report(), await report()]).toEqual([true, false])
    const { timestamp } = await market.collector.head()
    const window = Number(await market.payer.read({ contract: 'InferenceEscrow', method: 'MAX_SETTLEMENT_SECONDS', args: [] }))
    ledger.add(6n, timestamp - window / 2 - 60)
    ms = 60_000
    expect(await report()).toBe(true)
    expect(told.map(({ level, event, amount }) => [level, event, amount])).toEqual([
      [30, 'settler.lag', '714'],
      [40, 'settler.lag', '720'],
    ])
  })

  it('syncs a model once after a dataset of its lineage was withdrawn, whether or not it ran then', async () => {
    const mirrors: Pick<MirrorLedger, 'cursor' | 'mirrors'> = {
      cursor: () => market.payer.head(),
      async mirrors(kind) {
        const { contract, id } =
          kind === 'model'
            ? { contract: 'ModelRegistry', id: market.modelId }
            : { contract: 'DatasetRegistry', id: market.datasetId }
        const state = (await market.payer.read({ contract, method: kind, args: [id] })) as Record<string, unknown>
        const more =
          kind === 'model'
            ? { payees: await market.payer.read({ contract, method: 'payees', args: [id] }) }
            : { terms: await market.payer.read({ contract, method: 'termsOf', args: [id] }) }
        return [{ kind, id, block: 0, state: { ...state, ...more } }]
      },
    }
    const end = async () => market.payer.read({ contract: 'ModelRegistry', method: 'serveEnd', args: [market.modelId, 1] })
    const sync = () => openModelSync({ chain: market.collector, ledger: mirrors, log: silent })
    const running = sync()
    expect(await running()).toBe(0)
    const open = await end()

    await market.payer.submit({ contract: 'DatasetRegistry', method: 'withdraw', args: [market.datasetId] })
    expect(await end()).toBe(open)
    expect(await running()).toBe(1)
    expect(await end()).toBeLessThan(open as bigint)
    expect(await sync()()).toBe(0)
  })
})
