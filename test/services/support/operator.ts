import { type ChildProcess, fork } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Wallet } from 'ethers'
import { WorkerLink } from '../../../services/adapters/dispatcher/worker-link.ts'
import { openLedger } from '../../../services/adapters/ledger/prisma-ledger.ts'
import type { Job, JobResult } from '../../../services/core/jobs.ts'
import { digestOf } from '../../../services/core/messages.ts'
import type { Ledger } from '../../../services/core/ports.ts'
import { commitTensors, textsOf, textTensor } from '../../../services/core/tensors.ts'
import { openIndexer } from '../../../services/indexer/indexer.ts'
import { openTestServer } from '../../support/postgres.ts'
import { type Marketplace, openMarketplace, randomId, silent } from './marketplace.ts'

/** Of one text, as the marketplace's provider offers it. */
export const PRICE = 10n
const MODEL = 'mood'
const MINE_MS = 200
const READY_MS = 60_000

/** An operator's gateways as processes of their own, over a real chain and one PostgreSQL; the provider is played here. */
export interface Operator extends AsyncDisposable {
  market: Marketplace
  ledger: Ledger
  dir: string
  databaseUrl: string
  /** Another gateway process of the same operator. */
  gateway(env?: Record<string, string>): Promise<GatewayProcess>
  body(text: string): { model: string; inputs: { text: string }; purpose: string }
  /** Chain time goes on by so much, in a block that everybody has seen when this returns. */
  passTime(seconds: number): Promise<void>
  /** Until everything on the chain is in the ledger. */
  indexed(): Promise<void>
  /** Jobs wait until the gate is opened again. */
  closeGate(): { jobs(): number; open(): void }
}

export interface GatewayProcess {
  url: string
  pid: number
  port: number
  log(): string
  /** Kills it at once, as a crash would. */
  kill(): Promise<void>
}

export async function openOperator(): Promise<Operator> {
  await using stack = new AsyncDisposableStack()
  const dir = mkdtempSync(join(tmpdir(), 'granary-operator-'))
  chmodSync(dir, 0o711)
  stack.defer(() => rmSync(dir, { recursive: true, force: true }))
  const manifestDigest = randomId()
  const market = stack.use(await openMarketplace({ manifestDigest }))
  const session = new Wallet(randomId())
  const keys = [session.address, randomId(), 'one']
  await market.provider.submit({ contract: 'ProviderRegistry', method: 'register', args: keys })
  const server = stack.use(await openTestServer())
  const { url: databaseUrl } = stack.use(await server.database())
  const ledger = stack.use(await openLedger({ url: databaseUrl }))
  stack.use(openIndexer({ chain: market.payer, ledger, deployBlock: 1, log: silent, pollMs: 30 }))
  const text = { datatype: 'BYTES' as const, shape: [-1] }
  const named = {
    granary: 'model/1',
    name: MODEL,
    title: MODEL,
    author: 'tests',
    licence: 'none',
    task: 'tensor',
    unit: 'request',
  }
  const specs = { inputs: [{ name: 'text', ...text }], outputs: [{ name: 'label', ...text }] }
  await ledger.storeManifest(manifestDigest, { ...named, ...specs } as never)
  const mining = setInterval(() => void market.node.rpc('evm_mine').catch(() => undefined), MINE_MS)
  stack.defer(() => clearInterval(mining))
  const provider = playedProvider(market, session)
  const processes = stack.adopt([] as ChildProcess[], async (all) => {
    await Promise.all(all.map(end))
  })

  const indexed = async () => {
    const { number } = await market.payer.head()
    while (((await ledger.cursor())?.number ?? 0) < number) await pause(20)
  }
  await indexed()
  const urls = new Set<string>()
  let started = 0
  const owned = stack.move()
  return {
    market,
    ledger,
    dir,
    databaseUrl,
    indexed,
    body: (words) => ({ model: MODEL, inputs: { text: words }, purpose: 'research' }),
    closeGate: provider.closeGate,
    async passTime(seconds) {
      await market.node.rpc('evm_increaseTime', seconds)
      await market.node.rpc('evm_mine')
      await indexed()
      await Promise.all([...urls].map((url) => untilSeen(url, market)))
    },
    async gateway(env = {}) {
      const { child, gateway } = await startGateway({ market, dir, databaseUrl, env, index: started++ })
      processes.push(child)
      const link = owned.use(provider.dial(gateway.url))
      await untilServing(gateway, link)
      const { url, kill } = gateway
      urls.add(url)
      return {
        ...gateway,
        kill() {
          urls.delete(url)
          return kill()
        },
      }
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

async function startGateway(options: {
  market: Marketplace
  dir: string
  databaseUrl: string
  env: Record<string, string>
  index: number
}): Promise<{ child: ChildProcess; gateway: GatewayProcess }> {
  const { market, databaseUrl, env, index } = options
  const dir = join(options.dir, `gateway-${index}`)
  mkdirSync(dir)
  const write = (name: string, content: string) => {
    writeFileSync(join(dir, name), content, { mode: 0o600 })
    return join(dir, name)
  }
  // Two processes that signed transactions with one key would take each other's nonces.
  const relayer = new Wallet(randomId())
  await market.node.rpc('anvil_setBalance', relayer.address, '0xde0b6b3a7640000')
  const { chainId, ...deployment } = market.node.deployment
  const port = env.PORT === undefined ? await freePort() : Number(env.PORT)
  const output = openSync(join(dir, 'log'), 'a')
  const child = fork(new URL('../../../services/gateway/main.ts', import.meta.url).pathname, {
    execArgv: [],
    stdio: ['ignore', output, output, 'ipc'],
    env: {
      PATH: process.env.PATH ?? '',
      PORT: String(port),
      GRANARY_RPC_URL: market.node.rpcUrl,
      DATABASE_URL: databaseUrl,
      GRANARY_CONTENT_DIR: join(dir, 'content'),
      GRANARY_DEPLOYMENT: write('deployment.json', JSON.stringify({ ...deployment, chainId: Number(chainId) })),
      GRANARY_KEY_FILE: write('collector', market.node.wallets[1]?.privateKey ?? ''),
      GRANARY_RELAYER_KEY_FILE: write('relayer', relayer.privateKey),
      GRANARY_MASTER_KEY_FILE: write('master', '7'.repeat(64)),
      GRANARY_BLOCK_MS: '1000',
      ...env,
    },
  })
  await readyOf(child, join(dir, 'log'))
  const gateway = {
    url: `http://127.0.0.1:${port}`,
    pid: child.pid ?? 0,
    port,
    log: () => readFileSync(join(dir, 'log'), 'utf8'),
    async kill() {
      const exited = new Promise((resolve) => child.once('exit', resolve))
      child.kill('SIGKILL')
      await exited
    },
  }
  return { child, gateway }
}

function readyOf(child: ChildProcess, log: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`not ready in time: ${readFileSync(log, 'utf8')}`)), READY_MS)
    child.once('exit', (code) => reject(new Error(`ended with ${code}: ${readFileSync(log, 'utf8')}`)))
    child.on('message', (message) => {
      if ((message as { event: string }).event !== 'ready') return
      clearTimeout(late)
      resolve()
    })
  })
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGKILL')
  await exited
}

async function untilServing({ url, log }: GatewayProcess, link: WorkerLink): Promise<void> {
  const until = performance.now() + READY_MS
  while (performance.now() < until) {
    const models = link.connected ? await fetch(`${url}/v1/models`).then((answer) => answer.json()) : { models: [] }
    if ((models as { models: { servedBy: string[] }[] }).models.some(({ servedBy }) => servedBy.length > 0)) return
    await pause(50)
  }
  throw new Error(`serves nothing: ${log()}`)
}

async function untilSeen(url: string, market: Marketplace): Promise<void> {
  const { timestamp } = await market.payer.head()
  for (;;) {
    const head = (await (await fetch(`${url}/v1/head`)).json()) as { timestamp: number }
    if (head.timestamp >= timestamp) return
    await pause(20)
  }
}

function playedProvider(market: Marketplace, session: Wallet) {
  const escrow = { chainId: market.payer.chainId, address: market.payer.addresses.InferenceEscrow ?? '' }
  let jobs = 0
  let gate = Promise.resolve()
  const answer = async (job: Job): Promise<JobResult> => {
    jobs += 1
    await gate
    const { timestamp } = await market.provider.head()
    const outputs = [
      textTensor(
        'label',
        job.inputs.flatMap(textsOf).map((words) => `mood of ${words}`),
      ),
    ]
    const { jobId, modelId, purpose, consentBlock, units, unitPrice } = job
    const inputCommitment = commitTensors(job.inputs, job.inputSalt)
    const outputCommitment = commitTensors(outputs, job.outputSalt)
    const provider = market.provider.sender ?? ''
    const measured = { units, unitPrice, servedAt: timestamp, computeMicros: 1 }
    const receipt = { jobId, modelId, provider, purpose, consentBlock, inputCommitment, outputCommitment, ...measured }
    const digest = digestOf('InferenceEscrow', 'JobReceipt', escrow, receipt)
    return { outputs, receipt, signature: session.signingKey.sign(digest).serialized }
  }
  return {
    dial(gatewayUrl: string): WorkerLink {
      const link = new WorkerLink({
        url: `${gatewayUrl.replace('http', 'ws')}/worker`,
        wallet: session,
        providerRegistry: { chainId: market.payer.chainId, address: market.payer.addresses.ProviderRegistry ?? '' },
        capacity: 128,
        onJob: answer,
        onWelcome: () => undefined,
        log: silent,
      })
      link.setReady([market.modelId])
      return link
    },
    closeGate() {
      const opened = Promise.withResolvers<void>()
      const before = jobs
      gate = opened.promise
      return { jobs: () => jobs - before, open: () => opened.resolve() }
    },
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo
      server.close(() => resolve(port))
    })
  })
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
