import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { WebSocketServer } from 'ws'
import { websocketOptions } from '../../services/adapters/dispatcher/transfer-channel.ts'
import { WebSocketHub } from '../../services/adapters/dispatcher/websocket-hub.ts'
import { WorkerLink } from '../../services/adapters/dispatcher/worker-link.ts'
import { openLog } from '../../services/adapters/log.ts'
import { OnnxRuntime } from '../../services/adapters/runtime/onnx-runtime.ts'
import { openHeliaStore } from '../../services/adapters/store/helia-store.ts'
import type { Call, ChainEvent } from '../../services/core/chain-records.ts'
import { servableReasons } from '../../services/core/consent.ts'
import type { Job } from '../../services/core/jobs.ts'
import { digestOfBytes, encodeManifest } from '../../services/core/manifest.ts'
import { unitIndex } from '../../services/core/metering.ts'
import type { Chain, ContentStore } from '../../services/core/ports.ts'
import { floatsOf, floatTensor } from '../../services/core/tensors.ts'
import { openWorker } from '../../services/provider/worker.ts'
import { affineModel } from '../adapters/conformance/tiny-models.ts'
import { escrow, GATEWAY, newSessionKey, OPERATOR, providerRegistry, random32 } from '../adapters/support/jobs.ts'

const log = openLog({ process: 'test', level: process.env.TEST_LOG ?? 'silent' })
const BLOCK_MS = 100
const PRICE = 2_500n
const folders: string[] = []

/** A chain of plain state that mines when told to; what the worker reads of it, and nothing else. */
class FakeChain implements Chain {
  readonly chainId = 31337n
  readonly addresses = { ProviderRegistry: providerRegistry.address, InferenceEscrow: escrow.address }
  readonly sender = null
  number = 10
  operator = `0x${'00'.repeat(20)}`
  verdict: (typeof servableReasons)[number] = 'servable'
  readonly models = new Map<string, { onnxDigest: string; manifestDigest: string }>()
  readonly offers = new Map<string, { active: boolean; unit: bigint; unitPrice: bigint }>()
  readonly log: ChainEvent[] = []
  readonly #miner = setInterval(() => this.mine(), BLOCK_MS)

  mine(): void {
    this.number += 1
  }
  stopMining(): void {
    clearInterval(this.#miner)
  }
  setOffer(modelId: string, offer: { unit: number; unitPrice: bigint } | null): void {
    this.mine()
    const before = this.offers.get(modelId)
    this.offers.set(modelId, {
      active: offer !== null,
      unit: BigInt(offer?.unit ?? before?.unit ?? 0),
      unitPrice: offer?.unitPrice ?? 0n,
    })
    this.log.push({
      ...{ block: this.number, blockHash: this.#hash(this.number), transaction: random32(), logIndex: 0 },
      contract: 'ProviderRegistry',
      name: offer === null ? 'OfferEnded' : 'OfferSet',
      args: { operator: OPERATOR, modelId },
    })
  }
  async head() {
    return this.block(this.number)
  }
  async readAll(): Promise<unknown[]> {
    throw new Error('not asked by a worker')
  }
  async gasPrice(): Promise<bigint> {
    throw new Error('not asked by a worker')
  }
  async block(number: number) {
    return { number, hash: this.#hash(number), parentHash: this.#hash(number - 1), timestamp: 1_800_000_000 + number }
  }
  async events(fromBlock: number, toBlock: number): Promise<ChainEvent[]> {
    return this.log.filter(({ block }) => block >= fromBlock && block <= toBlock)
  }
  async find(): Promise<ChainEvent[]> {
    return []
  }
  async read({ contract, method, args }: Call): Promise<unknown> {
    const id = String(args[method === 'offer' ? 1 : 0])
    switch (`${contract}.${method}`) {
      case 'ProviderRegistry.operatorOf':
        return this.operator
      case 'ProviderRegistry.offer':
        return this.offers.get(id) ?? { active: false, unit: 0n, unitPrice: 0n }
      case 'ModelRegistry.model':
        return this.models.get(id)
      case 'ModelRegistry.isServable':
        return { servable: this.verdict === 'servable', reason: BigInt(servableReasons.indexOf(this.verdict)), because: id }
    }
    throw new Error(`not read by workers: ${contract}.${method}`)
  }
  callOf = async () => null
  prepare = () => Promise.reject(new Error('no worker sends transactions'))
  broadcast = this.prepare
  outcome = this.prepare
  estimate = this.prepare
  submit = this.prepare
  async [Symbol.asyncDispose]() {
    this.stopMining()
  }
  #hash = (number: number) => `0x${number.toString(16).padStart(64, '0')}`
}

describe("a provider's worker", () => {
  let world: Awaited<ReturnType<typeof openWorld>>
  beforeEach(async () => {
    world = await openWorld()
  })
  afterEach(() => world.close())
  // libp2p still writes what it knows of peers just after it has stopped.
  afterAll(() => Promise.all(folders.map((dir) => rm(dir, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 }))))

  it('waits for its operator, serves what is offered, and signs what the gateway asked for', async () => {
    const modelId = await world.publish()
    world.chain.setOffer(modelId, { unit: unitIndex('row'), unitPrice: PRICE })
    world.chain.operator = OPERATOR
    await world.served(modelId)
    const { outputs, receipt } = await world.send(newJob(modelId))
    expect([...floatsOf(outputs[0] ?? fail())]).toEqual([9.5, 11.5, 0.5, -0.5])
    expect(receipt).toMatchObject({ provider: OPERATOR, units: 2n, unitPrice: PRICE, consentBlock: 11 })
    expect(receipt.servedAt).toBeGreaterThan(1_800_000_000)
  })

  it('picks up a new offer while it runs, and leaves off when it ends', async () => {
    world.chain.operator = OPERATOR
    const modelId = await world.publish()
    await vi.waitFor(() => expect(world.hub.workers().length).toBe(1), { timeout: 10_000 })
    expect(world.hub.workers()[0]?.ready.size).toBe(0)
    world.chain.setOffer(modelId, { unit: unitIndex('row'), unitPrice: PRICE })
    await world.served(modelId)
    world.chain.setOffer(modelId, null)
    await vi.waitFor(() => expect(world.hub.workers()[0]?.ready.size).toBe(0), { timeout: 10_000 })
    expect(world.runtime.loaded()).toEqual([])
  })

  it('refuses with the reason as soon as its own node says that the model may not be served', async () => {
    const modelId = await world.publishAndServe()
    await world.send(newJob(modelId))
    world.chain.verdict = 'consent-ended'
    world.chain.mine()
    await vi.waitFor(
      () =>
        expect(world.send(newJob(modelId))).rejects.toMatchObject({
          code: 'provider.refused',
          evidence: { reason: 'consent-ended', because: modelId },
        }),
      { timeout: 2_000, interval: 50 },
    )
    world.chain.verdict = 'servable'
    world.chain.mine()
    await vi.waitFor(() => world.send(newJob(modelId)), { timeout: 2_000, interval: 50 })
  })

  it('does not work while no new block comes', async () => {
    const modelId = await world.publishAndServe()
    await world.send(newJob(modelId))
    world.chain.stopMining()
    await vi.waitFor(() => expect(world.send(newJob(modelId))).rejects.toMatchObject({ code: 'consent.stale' }), {
      timeout: 10_000,
      interval: 100,
    })
    world.chain.mine()
    await vi.waitFor(() => world.send(newJob(modelId)), { timeout: 2_000, interval: 20 })
  })

  it('refuses another price than its own, and units that its inputs do not have', async () => {
    const modelId = await world.publishAndServe()
    const wrong: Partial<Job>[] = [{ unitPrice: PRICE - 1n }, { unitPrice: PRICE + 1n }, { units: 1n }, { units: 3n }]
    for (const change of wrong) {
      await expect(world.send({ ...newJob(modelId), ...change })).rejects.toMatchObject({ code: 'provider.failed' })
    }
    const inputs = [floatTensor('x', new Float32Array(4), [2, 2])]
    await expect(world.send({ ...newJob(modelId), inputs })).rejects.toMatchObject({ code: 'input.invalid' })
    expect(world.hub.workers().length).toBe(1)
  })

  it('serves nothing whose bytes are not those registered, or that is offered by another unit', async () => {
    world.chain.operator = OPERATOR
    const honest = await world.publish()
    const [swapped, miscounted] = [random32(), random32()]
    world.chain.models.set(swapped, { ...(world.chain.models.get(honest) ?? fail()), onnxDigest: random32() })
    world.chain.models.set(miscounted, world.chain.models.get(honest) ?? fail())
    world.chain.setOffer(swapped, { unit: unitIndex('row'), unitPrice: PRICE })
    world.chain.setOffer(miscounted, { unit: unitIndex('text'), unitPrice: PRICE })
    world.chain.setOffer(honest, { unit: unitIndex('row'), unitPrice: PRICE })
    await world.served(honest)
    expect([...(world.hub.workers()[0]?.ready ?? [])]).toEqual([honest])
  })
})

function fail(): never {
  throw new Error('missing')
}

function newJob(modelId: string): Job {
  return {
    ...{ jobId: random32(), modelId, purpose: 1, jurisdiction: 255, consentBlock: 11, units: 2n, unitPrice: PRICE },
    ...{ inputSalt: random32(), outputSalt: random32() },
    inputs: [floatTensor('x', Float32Array.from([1, 1, 1, 0, 0, 0]), [2, 3])],
  }
}

async function openWorld() {
  const dir = await mkdtemp(join(tmpdir(), 'granary-provider-'))
  folders.push(dir)
  const chain = new FakeChain()
  const [gatewayStore, workerStore] = (await Promise.all(
    ['gateway', 'worker'].map((name) => openHeliaStore({ dir: join(dir, name) })),
  )) as [ContentStore, ContentStore]
  const sessionWallet = newSessionKey()
  const hub = new WebSocketHub({
    ...{ gateway: GATEWAY, contentAddresses: () => gatewayStore.addresses(), providerRegistry, escrow, log },
    operatorOf: async (key) => (key === sessionWallet.address.toLowerCase() ? chain.operator : null),
  })
  const server = createServer()
  new WebSocketServer({ server, path: '/worker', ...websocketOptions }).on('connection', (socket) => hub.accept(socket))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const runtime = new OnnxRuntime({ maxModels: 4 })
  const worker = openWorker({
    openLink: (options) => new WorkerLink(options),
    ...{ chain, store: workerStore, runtime, sessionWallet, log, deployBlock: 1, capacity: 4, maxModels: 4 },
    workerUrl: `ws://127.0.0.1:${(server.address() as AddressInfo).port}/worker`,
    ...{ maxModelBytes: 1 << 24, blockMs: BLOCK_MS, pollMs: 50 },
  })
  const served = async (modelId: string) => {
    await vi.waitFor(() => expect(hub.workers()[0]?.ready.has(modelId)).toBe(true), { timeout: 30_000, interval: 20 })
  }
  const publish = async () => {
    const { manifest, onnx } = affineModel()
    const cid = await gatewayStore.put(onnx)
    const bytes = encodeManifest({ ...manifest, onnx: { ...manifest.onnx, cid } })
    await gatewayStore.put(bytes)
    const modelId = random32()
    chain.models.set(modelId, { onnxDigest: manifest.onnx.sha256, manifestDigest: digestOfBytes(bytes) })
    return modelId
  }
  return {
    chain,
    hub,
    runtime,
    served,
    publish,
    publishAndServe: async () => {
      chain.operator = OPERATOR
      const modelId = await publish()
      chain.setOffer(modelId, { unit: unitIndex('row'), unitPrice: PRICE })
      await served(modelId)
      return modelId
    },
    send: async (job: Job) => hub.send(hub.workers()[0]?.workerId ?? '', job, { timeoutMs: 20_000 }),
    close: async () => {
      await worker[Symbol.asyncDispose]()
      await hub[Symbol.asyncDispose]()
      server.closeAllConnections()
      server.close()
      await Promise.all([runtime, gatewayStore, workerStore, chain].map((part) => part[Symbol.asyncDispose]()))
    },
  }
}
