import { randomBytes } from 'node:crypto'
import { sha256, Wallet } from 'ethers'
import { expect } from 'vitest'
import { until } from '../../../scripts/story/world.ts'
import { openEthersChain } from '../../../services/adapters/chain/ethers-chain.ts'
import { ConsentWatch } from '../../../services/adapters/consent-watch.ts'
import { openLedger } from '../../../services/adapters/ledger/prisma-ledger.ts'
import { GranaryError } from '../../../services/core/errors.ts'
import type { Job, JobResult } from '../../../services/core/jobs.ts'
import { encodeManifest } from '../../../services/core/manifest.ts'
import type { Chain, Dispatcher, Ledger, Worker } from '../../../services/core/ports.ts'
import { commitTensors, textTensor } from '../../../services/core/tensors.ts'
import type { GatewayConfig } from '../../../services/gateway/config.ts'
import { openGateway } from '../../../services/gateway/gateway.ts'
import { openIndexer } from '../../../services/indexer/indexer.ts'
import { openSettler } from '../../../services/settler/settler.ts'
import { type Marketplace, offer, openMarketplace, randomId, silent } from '../../services/support/marketplace.ts'
import { openTestServer } from '../../support/postgres.ts'
import { openWire } from './wire.ts'

const manifest = {
  granary: 'model/1',
  name: 'echo',
  version: '1',
  title: 'Echo',
  description: '',
  author: 'A',
  licence: 'MIT',
  source: '',
  task: 'tensor',
  onnx: { name: 'm.onnx', cid: 'bafkreigh2akiscaildc', sha256: `0x${'ab'.repeat(32)}`, sizeBytes: 3 },
  files: [],
  inputs: [{ name: 'text', datatype: 'BYTES', shape: [-1] }],
  outputs: [{ name: 'text', datatype: 'BYTES', shape: [-1] }],
  settings: {},
  unit: 'request',
  golden: [
    {
      inputs: [{ name: 'text', datatype: 'BYTES', shape: [1], data: ['a'] }],
      outputs: [{ name: 'text', datatype: 'BYTES', shape: [1], data: ['a'] }],
      tolerance: 0,
    },
  ],
}

export const PRICE = 10n
export const echo = (text: string) => ({ model: 'echo', purpose: 'research', inputs: { text } })

/** Chain, database, gateway, indexer and settler for real; the workers are this object: they echo, and do what a test says meanwhile. */
export class Workshop implements Dispatcher {
  jobs = 0
  meanwhile: (() => Promise<void>) | null = null
  fails = false
  /** A provider that always says it is at capacity. */
  busy: string | null = null
  readonly list: Worker[] = []
  readonly #servedAt: () => Promise<number>

  constructor(servedAt: () => Promise<number>) {
    this.#servedAt = servedAt
  }
  hire(provider: string, modelId: string): void {
    const ready = new Set([modelId])
    this.list.push({ workerId: randomId(), provider, sessionKey: provider, ready, inFlight: 0, capacity: 64, averageMs: 1 })
  }
  workers(): Worker[] {
    return this.list
  }
  stream(): never {
    throw new GranaryError('provider.failed', 'These workers answer in one piece.')
  }
  async send(workerId: string, job: Job): Promise<JobResult> {
    const provider = this.list.find((worker) => worker.workerId === workerId)?.provider ?? ''
    if (provider === this.busy) throw new GranaryError('provider.busy', 'The worker is at capacity.')
    this.jobs += 1
    await this.meanwhile?.()
    if (this.fails) throw new GranaryError('provider.failed', 'The worker could not run the model.')
    const { jobId, modelId, purpose, consentBlock, units, unitPrice } = job
    const outputs = [textTensor('text', ['echo'])]
    const commitments = {
      inputCommitment: commitTensors(job.inputs, job.inputSalt),
      outputCommitment: commitTensors(outputs, job.outputSalt),
    }
    const servedAt = await this.#servedAt()
    const receipt = {
      jobId,
      modelId,
      provider,
      purpose,
      consentBlock,
      units,
      unitPrice,
      ...commitments,
      servedAt,
      computeMicros: 1,
    }
    return { outputs, receipt, signature: `0x${'01'.repeat(65)}` }
  }
  async [Symbol.asyncDispose](): Promise<void> {}
}

export interface X402Market extends AsyncDisposable {
  market: Marketplace
  ledger: Ledger
  workshop: Workshop
  /** As the gateway sees it; a test may come between. */
  chain: Chain
  gatewayUrl: string
  router: string
  token: string
  send: ReturnType<typeof openWire>
  /** Somebody with test dollars and no gas. */
  payer(amount: bigint): Promise<Wallet>
  balanceOf(address: string): Promise<bigint>
  house(): Promise<{ deposit: bigint; charged: bigint }>
  /** The gateway once more, as after a crash. */
  restart(changed?: Partial<GatewayConfig>): Promise<void>
  /** Another gateway of the same collector, with its own connections to database and chain. */
  beside(): Promise<{ send: ReturnType<typeof openWire> } & AsyncDisposable>
  /** Until nothing is left to settle. */
  untilSettled(): Promise<void>
}

export async function openX402Market(): Promise<X402Market> {
  await using stack = new AsyncDisposableStack()
  const market = stack.use(
    await openMarketplace({ manifestDigest: sha256(encodeManifest(manifest)), onnxDigest: manifest.onnx.sha256, router: true }),
  )
  const { node } = market
  const server = stack.use(await openTestServer())
  const { url } = stack.use(await server.database())
  const ledger = stack.use(await openLedger({ url }))
  const { deployment, rpcUrl, wallets } = node
  const [relayer, collector] = wallets
  if (!relayer || !collector) throw new Error('anvil has too few accounts')
  const own = stack.use(await openEthersChain({ rpcUrl, deployment, key: relayer }))
  const chain: Chain = { ...own }
  stack.use(openIndexer({ chain: market.payer, ledger, deployBlock: 1, log: silent, pollMs: 20 }))
  stack.use(
    openSettler({
      chain: market.collector,
      ledger,
      collector: market.config.collector,
      log: silent,
      maxAgeSeconds: 0,
      minGross: 1n,
      coinPrice: 0n,
      maxRows: 128,
      maxLanes: 64,
      confirmations: 1,
      randomId,
      pollMs: 50,
      syncModels: async () => 0,
    }),
  )
  await ledger.storeManifest(sha256(encodeManifest(manifest)), manifest as never)
  const workshop = new Workshop(async () => (await own.head()).timestamp)
  workshop.hire(market.provider.sender ?? '', market.modelId)
  const consent = stack.use(new ConsentWatch({ chain: own, log: silent, blockMs: 60_000, refusal: 'consent.refused' }))
  const config = configOf({ deployment, rpcUrl, collector, relayer })
  const parts = { chain, ledger, store: {} as never, dispatcher: workshop, consent, acceptWorkers: () => undefined, log: silent }
  let gateway = await openGateway(config, parts)
  stack.defer(() => gateway[Symbol.asyncDispose]())
  await gateway.app.listen({ host: '127.0.0.1', port: 0 })
  const urlOf = () => `http://127.0.0.1:${(gateway.app.server.address() as { port: number }).port}`
  const router = deployment.contracts.X402Router ?? ''
  const houseId = String(await own.read({ contract: 'X402Router', method: 'ACCOUNT_ID', args: [] }))
  const isKnown = async () => ((await ledger.standing(houseId, market.config.collector))?.cap ?? 0n) > 0n
  const isOffered = async () => (await ledger.models()).at(0)?.offers.length === 1
  await until('the router and the offer to be known', async () => (await isKnown()) && (await isOffered()), 90_000)
  const rubbish = stack.move()
  return {
    market,
    ledger,
    workshop,
    chain,
    router,
    token: deployment.token,
    get gatewayUrl() {
      return urlOf()
    },
    send: (sent) => openWire(urlOf())(sent),
    async payer(amount) {
      const wallet = new Wallet(`0x${randomBytes(32).toString('hex')}`)
      await market.payer.submit({ contract: 'Token', method: 'mint', args: [wallet.address, amount] })
      return wallet
    },
    balanceOf: async (address) => (await own.read({ contract: 'Token', method: 'balanceOf', args: [address] })) as bigint,
    house: async () =>
      (await own.read({ contract: 'InferenceEscrow', method: 'balance', args: [houseId] })) as {
        deposit: bigint
        charged: bigint
      },
    async restart(changed = {}) {
      await gateway[Symbol.asyncDispose]()
      gateway = await openGateway({ ...config, ...changed }, parts)
      await gateway.app.listen({ host: '127.0.0.1', port: 0 })
    },
    async beside() {
      await using opened = new AsyncDisposableStack()
      const key = wallets.at(-1) ?? relayer
      const others = {
        ledger: opened.use(await openLedger({ url })),
        chain: opened.use(await openEthersChain({ rpcUrl, deployment, key })),
      }
      const second = opened.use(await openGateway({ ...config, name: 'second', relayer: key }, { ...parts, ...others }))
      await second.app.listen({ host: '127.0.0.1', port: 0 })
      const { port } = second.app.server.address() as { port: number }
      const moved = opened.move()
      return { send: openWire(`http://127.0.0.1:${port}`), [Symbol.asyncDispose]: () => moved.disposeAsync() }
    },
    async untilSettled() {
      await expect
        .poll(() => ledger.exposure(market.config.collector), { timeout: 30_000 })
        .toMatchObject({ requests: 0, amount: 0n })
    },
    [Symbol.asyncDispose]: () => rubbish.disposeAsync(),
  }
}

function configOf(of: Pick<GatewayConfig, 'deployment' | 'rpcUrl' | 'collector' | 'relayer'>): GatewayConfig {
  return {
    ...of,
    name: 'first',
    host: '127.0.0.1',
    port: 0,
    databaseUrl: '',
    ipfsRpcUrl: null,
    contentDir: '',
    contentListen: [],
    x402: { key: of.collector, minPrice: 1n, minSweep: 1n, minRefund: 1n, pollMs: 100 },
    registrar: null,
    masterKeys: [new Uint8Array(32).fill(7)],
    answerSeconds: 86_400,
    repeatWaitMs: 10_000,
    blockMs: 60_000,
    // Blocks of a test come faster than seconds: authorizations must outlast the chain's clock running ahead.
    streamSeconds: 60,
    topUpSeconds: 1,
    jobTimeoutMs: 600_000,
    bodyLimitBytes: 1 << 20,
    contentLimitBytes: 1 << 20,
    requestsPerMinute: 1_000_000,
    relay: { perMinute: 10_000, person: { acts: 10_000, gas: 1_000_000_000 }, shared: { acts: 10_000, gas: 1_000_000_000 } },
  }
}

/** A cheaper provider beside the first. */
export async function hireCheaper({ market, workshop, send }: X402Market, unitPrice: bigint): Promise<string> {
  await offer(market.payer, market.modelId, unitPrice)
  const provider = market.payer.sender ?? ''
  // The gateway looks at its catalog again only now and then.
  const offers = async () => {
    const [model] = (await send({ method: 'GET', path: '/v1/models' })).json.models as { offers: unknown[] }[]
    return model?.offers.length
  }
  await expect.poll(offers, { timeout: 20_000 }).toBe(2)
  workshop.hire(provider, market.modelId)
  return provider
}

/** The chain's clock goes on, for all. */
export async function pass({ market, send }: X402Market, seconds: number): Promise<void> {
  await market.node.rpc('evm_increaseTime', `0x${seconds.toString(16)}`)
  await market.node.rpc('anvil_mine', '0x1')
  const { timestamp } = await market.payer.head()
  const isSeen = async () => Number((await send({ method: 'GET', path: '/v1/head' })).json.timestamp) >= timestamp
  await until('the gateway to see the new time', isSeen, 20_000)
}
