import { randomBytes } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import { Wallet } from 'ethers'
import { pino } from 'pino'
import type { ConsentWatch } from '../../../services/adapters/consent-watch.ts'
import { openLedger } from '../../../services/adapters/ledger/prisma-ledger.ts'
import { accountIdOf } from '../../../services/core/accounts.ts'
import type { Call } from '../../../services/core/chain-records.ts'
import { purposeNames } from '../../../services/core/consent.ts'
import { GranaryError } from '../../../services/core/errors.ts'
import type { Job, JobResult } from '../../../services/core/jobs.ts'
import { digestOf } from '../../../services/core/messages.ts'
import type { Chain, Dispatcher, Ledger } from '../../../services/core/ports.ts'
import type { AccountConfig } from '../../../services/core/selling-ledger.ts'
import { commitTensors, floatTensor, type Tensor, textsOf, textTensor } from '../../../services/core/tensors.ts'
import type { GatewayConfig } from '../../../services/gateway/config.ts'
import { openGateway } from '../../../services/gateway/gateway.ts'
import { Granary } from '../../../services/sdk/granary.ts'
import { fund, headAfter, hex } from '../../adapters/conformance/ledger-acts.ts'
import { openWire } from '../../edges/support/wire.ts'
import { openTestServer } from '../../support/postgres.ts'
import { type PlayedSteps, playSteps } from './played-steps.ts'

export const PRICE = 400n
export const WIDTH = 3
/** Texts of one step, where a model answers in steps. */
export const STEP = 2
const ESCROW = { chainId: 31_337n, address: `0x${'e5'.repeat(20)}` }
const TOKEN = `0x${'70'.repeat(20)}`
const collector = new Wallet(`0x${'c0'.repeat(32)}`)
const session = new Wallet(`0x${'5e'.repeat(32)}`)
const operator = `0x${'0b'.repeat(20)}`
/** Noon of 2026-11-22. */
export const NOON = 20_779 * 86_400 + 43_200

/** A gateway as it is, over a PostgreSQL as it is; the chain and the one provider behind it are played here. */
export interface Counter extends AsyncDisposable {
  url: string
  send: ReturnType<typeof openWire>
  ledger: Ledger
  databaseUrl: string
  /** Everything that the gateway logged. */
  logged(): string
  /** Another gateway process on the same ledger. */
  beside(overrides?: Partial<GatewayConfig>): Promise<{ url: string } & AsyncDisposable>
  /** Chain time; from then on it stands. */
  setTime(seconds: number): void
  /** Jobs wait until the gate is opened again. */
  closeGate(): { jobs: () => number; open: () => void }
  /** The id of the last job that left whole, which is its request's. */
  lastJob(): string
  /** After each test, or one that failed would keep the others waiting. */
  openGate(): void
  jobs(): number
  /** The provider, where it answers in steps. */
  steps: PlayedSteps
  /** From now on the provider is not there, until it is again. */
  employ(isEmployed: boolean): void
  /** From now on no use is permitted, until it is again. */
  permit(isPermitted: boolean): void
  models: { mood: string; vector: string; impostor: string }
  customer(deposit?: bigint): Promise<Customer>
}

export interface Customer {
  granary: Granary
  wallet: Wallet
  config: AccountConfig
  accountId: string
  apiKey(
    options?: Partial<Parameters<Granary['account']['createApiKey']>[0]>,
  ): Promise<{ apiKey: string; keyId: string; key: string }>
}

export const masterKey = (byte: string) => Buffer.from(byte.repeat(32), 'hex')

export async function openCounter(overrides: Partial<GatewayConfig> = {}): Promise<Counter> {
  await using stack = new AsyncDisposableStack()
  const server = stack.use(await openTestServer())
  const database = stack.use(await server.database())
  const ledger = stack.use(await openLedger({ url: database.url }))
  const lines: string[] = []
  const log = pino({ level: 'trace' }, { write: (line: string) => void lines.push(line) })
  const world = playedWorld(ledger)
  const models = await stock(ledger)
  const open = async (more: Partial<GatewayConfig>) => {
    const gateway = await openGateway({ ...settings, ...overrides, ...more }, { ...world.parts, ledger, log })
    await gateway.app.listen({ host: '127.0.0.1', port: 0 })
    const { port } = gateway.app.server.address() as AddressInfo
    return { url: `http://127.0.0.1:${port}`, [Symbol.asyncDispose]: () => gateway[Symbol.asyncDispose]() }
  }
  const { url } = stack.use(await open({}))
  const owned = stack.move()
  return {
    url,
    send: openWire(url),
    ledger,
    databaseUrl: database.url,
    logged: () => lines.join(''),
    beside: (more = {}) => open({ name: hex(4), ...more }),
    setTime: world.setTime,
    closeGate: world.closeGate,
    openGate: () => world.openGate(),
    jobs: world.jobs,
    lastJob: world.lastJob,
    steps: world.steps,
    permit: world.permit,
    employ: world.employ,
    models,
    customer: (deposit = 1_000_000n) => customer(ledger, { url, deposit }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

const settings: GatewayConfig = {
  name: 'counter',
  host: '127.0.0.1',
  port: 0,
  rpcUrl: '',
  deployment: { chainId: ESCROW.chainId, token: TOKEN, contracts: {}, deployBlock: 0 },
  databaseUrl: '',
  ipfsRpcUrl: '',
  contentDir: '',
  contentListen: [],
  collector,
  relayer: collector,
  x402: { key: collector, minPrice: 1n, minSweep: 1n, minRefund: 1n, pollMs: 1000 },
  registrar: null,
  masterKeys: [masterKey('a1')],
  answerSeconds: 86_400,
  repeatWaitMs: 10_000,
  blockMs: 1000,
  jobTimeoutMs: 30_000,
  streamSeconds: 600,
  topUpSeconds: 15,
  bodyLimitBytes: 1 << 20,
  contentLimitBytes: 1 << 20,
  requestsPerMinute: 1_000_000,
  relay: { perMinute: 10_000, person: { acts: 10_000, gas: 1_000_000_000 }, shared: { acts: 10_000, gas: 1_000_000_000 } },
}

async function customer(ledger: Ledger, { url, deposit }: { url: string; deposit: bigint }): Promise<Customer> {
  const wallet = new Wallet(Wallet.createRandom().privateKey)
  const granary = await Granary.open({ gatewayUrl: url, wallet })
  const config = await granary.account.config()
  const accountId = accountIdOf(config, { ...ESCROW, token: TOKEN })
  await fund(ledger, { accountId, config, key: config.payer }, { deposit })
  const apiKey: Customer['apiKey'] = (options = {}) =>
    granary.account.createApiKey({ cap: deposit, lifeSeconds: 90 * 86_400, label: 'test', ...options })
  return { granary, wallet, config, accountId, apiKey }
}

/** Three models: one that judges texts, one that embeds them, and a later one that took the first one's name. */
async function stock(ledger: Ledger): Promise<Counter['models']> {
  const ids = { mood: hex(32), vector: hex(32), impostor: hex(32) }
  const text = { name: 'text', datatype: 'BYTES', shape: [-1] }
  const shelf = [
    { modelId: ids.mood, name: 'mood', outputs: [{ name: 'label', datatype: 'BYTES', shape: [-1] }] },
    { modelId: ids.vector, name: 'vector', outputs: [{ name: 'embedding', datatype: 'FP32', shape: [-1, WIDTH] }] },
    { modelId: ids.impostor, name: 'mood', outputs: [{ name: 'label', datatype: 'BYTES', shape: [-1] }] },
  ]
  for (const [index, { modelId, name, outputs }] of shelf.entries()) {
    const manifestDigest = hex(32)
    const manifest = {
      granary: 'model/1',
      name,
      title: name,
      author: 'tests',
      licence: 'none',
      task: 'tensor',
      unit: 'text',
    }
    const steps = modelId === ids.impostor ? {} : { steps: { size: STEP } }
    await ledger.storeManifest(manifestDigest, { ...manifest, ...steps, inputs: [text], outputs } as never)
    const head = headAfter(await ledger.cursor())
    await ledger.apply({
      head,
      events: [],
      mirrors: [
        { kind: 'model', id: modelId, block: head.number, state: { manifestDigest, registeredAt: 100 + index, payees: [] } },
        {
          kind: 'offer',
          id: `${operator}:${modelId}`,
          block: head.number,
          state: { unitPrice: `${PRICE}`, unit: 1, active: true },
        },
      ],
    })
  }
  return ids
}

function playedWorld(ledger: Ledger) {
  let time = NOON
  let jobs = 0
  let lastJob = ''
  let permitted = true
  let employed = true
  let gate = Promise.resolve()
  let openGate = () => {}
  const head = () => ({ number: 1, hash: hex(32), parentHash: hex(32), timestamp: time })
  const consent = {
    get head() {
      return head()
    },
    isFresh: () => true,
    require: async () => {
      if (permitted) return head()
      throw new GranaryError('consent.refused', 'Consent was withdrawn.')
    },
  } as unknown as ConsentWatch
  const steps = playSteps(
    (job) => answer(job, time),
    (job, outputs, units) => signed({ ...job, units }, outputs, time),
  )
  const worker = {
    workerId: 'one',
    provider: operator,
    sessionKey: session.address,
    ready: { has: () => true } as unknown as ReadonlySet<string>,
    inFlight: 0,
    capacity: 1000,
    averageMs: 1,
  }
  const dispatcher: Dispatcher = {
    workers: () => (employed ? [worker] : []),
    async send(_worker, job) {
      jobs += 1
      lastJob = job.jobId
      await gate
      return answer(job, time)
    },
    stream: (worker, job, options) => {
      jobs += 1
      return steps.stream(worker, job, options)
    },
    [Symbol.asyncDispose]: async () => undefined,
  }
  return {
    steps,
    permit(isPermitted: boolean) {
      permitted = isPermitted
    },
    employ(isEmployed: boolean) {
      employed = isEmployed
    },
    parts: { chain: playedChain(ledger), store: {} as never, dispatcher, consent, acceptWorkers: () => undefined },
    setTime(seconds: number) {
      time = seconds
    },
    jobs: () => jobs,
    lastJob: () => lastJob,
    openGate: () => openGate(),
    closeGate() {
      const opened = Promise.withResolvers<void>()
      const before = jobs
      gate = opened.promise
      openGate = opened.resolve
      return { jobs: () => jobs - before, open: opened.resolve }
    },
  }
}

const LARGE = 100_000

/** `large` at the start of a text makes its label so. `fail` in a text makes the provider fail. */
function answer(job: Job, servedAt: number): JobResult {
  const texts = job.inputs.flatMap(textsOf)
  const outputs: Tensor[] = [
    textTensor(
      'label',
      texts.map((text) => `mood of ${text} #${randomBytes(4).toString('hex')}`.padEnd(text.startsWith('large') ? LARGE : 0)),
    ),
    floatTensor('embedding', Float32Array.from(texts.flatMap((text) => [text.length, 0.1, -1.5])), [texts.length, WIDTH]),
  ]
  return signed(job, outputs, servedAt)
}

function signed(job: Job, outputs: Tensor[], servedAt: number): JobResult {
  const { jobId, modelId, purpose, consentBlock, units, unitPrice } = job
  const receipt = {
    jobId,
    modelId,
    provider: operator,
    purpose,
    consentBlock,
    inputCommitment: commitTensors(job.inputs, job.inputSalt),
    outputCommitment: commitTensors(outputs, job.outputSalt),
    units,
    unitPrice,
    servedAt,
    computeMicros: 1,
  }
  const digest = digestOf('InferenceEscrow', 'JobReceipt', ESCROW, receipt)
  return { outputs, receipt, signature: session.signingKey.sign(digest).serialized }
}

/** Grants and revocations go straight into the ledger's mirror, as the indexer would bring them. */
function playedChain(ledger: Ledger): Chain {
  const mirrorKey = async (config: AccountConfig, key: string, state: Record<string, unknown>) => {
    const accountId = accountIdOf(config, { ...ESCROW, token: TOKEN })
    const mirrorHead = headAfter(await ledger.cursor())
    const id = `${accountId}:${key.toLowerCase()}`
    const known = (await ledger.mirror('key', id))?.state ?? {}
    const mirrors = [{ kind: 'key' as const, id, block: mirrorHead.number, state: { spent: '0', ...known, ...state } }]
    await ledger.apply({ head: mirrorHead, events: [], mirrors })
  }
  const reads: Record<string, (args: readonly unknown[]) => unknown> = {
    MAX_SETTLEMENT_SECONDS: () => 3600n,
    name: () => 'Test Dollar',
    version: () => '1',
    purposes: () => BigInt(purposeNames.length),
    purposeName: ([index]) => purposeNames[Number(index)],
    key: () => ({ cap: 0n, revokedAt: 0n }),
    memberIdOf: () => 0n,
  }
  const submit = async ({ method, args }: Call) => {
    const [config, key, cap, notAfter] = args as [AccountConfig, string, string, number]
    if (method === 'grantKeyBySig') await mirrorKey(config, key, { cap: String(cap), notAfter, revokedAt: 0, nonce: 1 })
    if (method === 'revokeKeyBySig') await mirrorKey(config, key, { revokedAt: NOON })
    return { hash: hex(32), block: 1, blockHash: hex(32), succeeded: true, gasUsed: 0n, events: [] }
  }
  const played: Partial<Chain> = {
    chainId: ESCROW.chainId,
    addresses: { InferenceEscrow: ESCROW.address, Membership: TOKEN },
    read: async ({ method, args }) => reads[method]?.(args),
    estimate: async () => 100_000n,
    submit,
  }
  return played as Chain
}
