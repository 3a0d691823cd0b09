import type { BenchContext } from './context.ts'
import { type Measured, quantile } from './figures.ts'
import { fillHistory } from './history.ts'
import type { Load } from './load-protocol.ts'
import { openDiskProbe, residentBytesOf } from './machine.ts'
import { checksPerCoreSecond } from './voucher-checks.ts'

/** One or more figures that are measured together. */
export interface Measurement {
  keys: string[]
  run(context: BenchContext): Promise<Measured[]>
}

const DISK_ROUNDS = 400

const STOCK = 'the stock x402 Express server (batch-settlement) and client, not durable, requests per core-second'

export const measurements: Measurement[] = [
  {
    keys: ['voucher.checks', 'voucher.checksAgainstEthers'],
    async run({ options, progress }) {
      progress('Voucher checks')
      const { ours, ethers } = await checksPerCoreSecond(options.seconds)
      const reference = { what: "ethers' verifyTypedData, checks per core-second", value: ethers }
      return [
        { key: 'voucher.checks', value: ours, unit: 'checks/core-s', reference, atLeast: 6000 },
        { key: 'voucher.checksAgainstEthers', value: ours / ethers, unit: '×', reference, atLeast: 20 },
      ]
    },
  },
  {
    keys: ['disk.fdatasync.p50', 'disk.fdatasync.p99'],
    async run(context) {
      using disk = openDiskProbe((await context.stage()).dir)
      const latencies = Array.from({ length: DISK_ROUNDS }, () => disk.sync())
      return [
        { key: 'disk.fdatasync.p50', value: quantile(latencies, 0.5), unit: 'ms' },
        { key: 'disk.fdatasync.p99', value: quantile(latencies, 0.99), unit: 'ms' },
      ]
    },
  },
  {
    keys: ['stock.requests'],
    async run(context) {
      const { perCoreSecond } = await context.stock()
      return [{ key: 'stock.requests', value: perCoreSecond, unit: 'requests/core-s' }]
    },
  },
  paid('voucher', 10),
  paid('mac', 15),
  paid('key', 15),
  { keys: ['latency.added.p50', 'latency.added.p99'], run: addedLatency },
  { keys: ['parallel.failures'], run: parallelOnOneAccount },
  { keys: ['scale.accounts'], run: scaleOfAccounts },
  { keys: ['scale.history'], run: scaleOfHistory },
  { keys: ['memory.growth'], run: memoryGrowth },
]

function paid(mode: 'voucher' | 'mac' | 'key', times: number): Measurement {
  const key = `paid.${mode}`
  return {
    keys: [key],
    async run(context) {
      const { perCoreSecond: stock } = await context.stock()
      const window = await context.window({ mode })
      requireServed(window)
      const reference = { what: STOCK, value: stock }
      return [{ key, value: window.perCoreSecond, unit: 'requests/core-s', reference, atLeast: times * stock }]
    },
  }
}

/** What did not work is no request served cheaply. */
function requireServed({ answered, failed, failure }: Load): void {
  if (failed * 1000 > answered) throw new Error(`${failed} of ${answered + failed} requests failed, the first with: ${failure}`)
}

const LATENCY_WINDOWS = 6
const PEAK_SECONDS = 5
const DISK_PROBE_MS = 50

/**
 * Paid and unpaid windows in turn, both at a quarter of what the server can do, sent on time whatever the answers take. One fdatasync is
 * what another file on the same disk takes meanwhile.
 */
async function addedLatency(context: BenchContext): Promise<Measured[]> {
  const { options, progress } = context
  const peak = await context.window({ mode: 'mac', seconds: Math.min(PEAK_SECONDS, options.seconds) })
  requireServed(peak)
  const perSecond = Math.max(1, peak.answered / Math.min(PEAK_SECONDS, options.seconds) / 4)
  const [buyers, { dir }] = [await context.buyers(), await context.stage()]
  const latencies = { mac: [] as number[], unpaid: [] as number[] }
  const syncs: number[] = []
  using disk = openDiskProbe(dir)
  for (let window = 0; window < LATENCY_WINDOWS; window += 1) {
    const mode = window % 2 === 0 ? 'unpaid' : 'mac'
    progress(`latency: ${mode} at ${Math.round(perSecond)} requests/s`)
    const seconds = options.seconds / (LATENCY_WINDOWS / 2)
    const { accounts, connections } = options
    const probe = setInterval(() => mode === 'mac' && syncs.push(disk.sync()), DISK_PROBE_MS)
    try {
      const { latencies: some } = await buyers.run({ mode, first: 0, accounts, connections, seconds, perSecond })
      for (const one of some) latencies[mode].push(one)
    } finally {
      clearInterval(probe)
    }
  }
  progress(`  fdatasync under this load: p50 ${quantile(syncs, 0.5).toFixed(2)}, p99 ${quantile(syncs, 0.99).toFixed(2)} ms`)
  return [0.5, 0.99].map((share) => {
    const unpaid = quantile(latencies.unpaid, share)
    const value = quantile(latencies.mac, share) - unpaid - quantile(syncs, share)
    const reference = { what: `the same requests unpaid, at ${Math.round(perSecond)} requests/s`, value: unpaid }
    return {
      key: `latency.added.p${share * 100}`,
      value,
      unit: 'ms beyond one fdatasync',
      reference,
      atMost: share === 0.5 ? 0.5 : 3,
    }
  })
}

const PARALLEL = 64
const ROUNDS = 20

/** Through the SDK, which signs ceilings ahead and checks each receipt. */
async function parallelOnOneAccount(context: BenchContext): Promise<Measured[]> {
  await context.payers(PARALLEL)
  const { port } = await context.stage()
  const commitments = (on: boolean) => fetch(`http://127.0.0.1:${port}/bench/commitments?on=${on}`, { method: 'POST' })
  await commitments(true)
  context.progress(`${PARALLEL} parallel requests on one account, ${ROUNDS} times`)
  const command = { act: 'sdk', payer: PARALLEL - 1, parallel: PARALLEL, rounds: ROUNDS } as const
  const { answered, failed, failure } = (await (await context.buyers()).tell(command)) as Load
  await commitments(false)
  if (failed > 0) context.progress(`  ${failed} failed: ${failure}`)
  const reference = { what: 'requests answered', value: answered }
  return [{ key: 'parallel.failures', value: failed, unit: 'requests', reference, atMost: 0 }]
}

const SCALE = 10
const SCALE_ROUNDS = 2

/** The same load over few and over many accounts, in turn. */
async function scaleOfAccounts(context: BenchContext): Promise<Measured[]> {
  const { accounts, seconds } = context.options
  await context.payers(accounts * SCALE)
  const cost = { few: 0, many: 0 }
  for (let round = 0; round < SCALE_ROUNDS; round += 1) {
    for (const size of ['few', 'many'] as const) {
      const some = size === 'few' ? accounts : accounts * SCALE
      // Each account's first request signs far ahead: a pass over all of them first.
      if (round === 0) await context.window({ mode: 'mac', accounts: some, seconds: Math.min(10, seconds) })
      const window = await context.window({ mode: 'mac', accounts: some, seconds: seconds / SCALE_ROUNDS })
      requireServed(window)
      cost[size] += window.cpuMs / SCALE_ROUNDS
    }
  }
  return [
    growth('scale.accounts', { from: cost.few, to: cost.many, what: `processor time of a request with ${accounts} accounts` }),
  ]
}

async function scaleOfHistory(context: BenchContext): Promise<Measured[]> {
  const stage = await context.stage()
  const { historyRequests } = context.options
  const costs: number[] = []
  for (const size of [historyRequests / SCALE, historyRequests]) {
    await context.payers(context.options.accounts)
    context.progress(`A history of ${size} requests`)
    await fillHistory(stage, size)
    const window = await context.window({ mode: 'mac' })
    requireServed(window)
    costs.push(window.cpuMs)
  }
  const [from = 0, to = 0] = costs
  return [growth('scale.history', { from, to, what: `processor time of a request after ${historyRequests / SCALE}` })]
}

function growth(key: string, { from, to, what }: { from: number; to: number; what: string }): Measured {
  const reference = { what: `${what}, ms`, value: from }
  return { key, value: (to / from - 1) * 100, unit: '%', reference, atMost: 10 }
}

const MEMORY_BAR = 1.1
const MEMORY_STEP_SECONDS = 10

/** The gateway's resident memory after all requests against after the first tenth. */
async function memoryGrowth(context: BenchContext): Promise<Measured[]> {
  const { options, progress } = context
  const { memoryRequests, accounts, connections } = options
  const { gatewayPid } = await context.stage()
  await context.payers(accounts)
  const buyers = await context.buyers()
  let [done, early] = [0, 0]
  while (done < memoryRequests) {
    const load = await buyers.run({ mode: 'mac', first: 0, accounts, connections, seconds: MEMORY_STEP_SECONDS, perSecond: null })
    requireServed(load)
    done += load.answered
    progress(`  ${done} of ${memoryRequests} requests, ${Math.round(residentBytesOf(gatewayPid()) / 2 ** 20)} MiB`)
    if (early === 0 && done >= memoryRequests / SCALE) early = residentBytesOf(gatewayPid())
  }
  const reference = { what: `bytes resident after ${memoryRequests / SCALE} of ${memoryRequests} requests`, value: early }
  return [{ key: 'memory.growth', value: residentBytesOf(gatewayPid()) / early, unit: '×', reference, atMost: MEMORY_BAR }]
}
