import { loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { type BenchContext, openContext } from './payments/context.ts'
import { type Figure, figureOf } from './payments/figures.ts'
import { machineOf } from './payments/machine.ts'
import { type Measurement, measurements } from './payments/measurements.ts'

/**
 * npm run bench:payments -- [--quick] [--seconds 30] [--only paid.mac,voucher] [--connections 256] [--accounts 1000] [--long]
 *   [--profile folder]
 * What paying costs beside what the stock x402 server takes for it, on this machine, in this run. `--only` takes figures' keys or
 * beginnings of them; `--quick` takes short windows and a tenth of the history, which says less.
 */
const METHOD =
  'Processor time is user + system from /proc of gateway, settler, indexer and all processes of PostgreSQL; buyers, chain and reference ' +
  'run in processes of their own and do not count. The gateway is the real one over HTTP on loopback, with real sessions, vouchers, API ' +
  'keys and ledger, and settlement on a local chain in batches of thirty seconds; the time of a window runs until its last request is final ' +
  'there and published. In the place of the providers is a dispatcher that answers at once with a constant, unsigned receipt (signing it ' +
  'is the provider’s work, checking it the dispatcher’s). The reference, measured anew right before each kind of paid request, is ' +
  '@x402/express with the scheme batch-settlement under @x402/fetch, one channel for each of 16 loops, channels in memory, a facilitator ' +
  'inside the process granting the one deposit of each; each of its requests is asked for, refused with 402 and paid, as its client does. '

const LONG_REQUESTS = 1_000_000
const SHORT_REQUESTS = 50_000
const HISTORY = 1_000_000
const QUICK_HISTORY = 100_000

export async function benchPayments(context: BenchContext, only = ''): Promise<Figure[]> {
  const isWanted = (key: string) => only.split(',').some((beginning) => key.startsWith(beginning))
  const chosen = measurements.filter(({ keys }) => keys.some(isWanted))
  if (chosen.length === 0) throw new Error(`there is no figure ${only}: ${measurements.flatMap(({ keys }) => keys).join(', ')}`)
  const figures: Figure[] = []
  for (const measurement of chosen) figures.push(...(await figuresOf(measurement, context)))
  return figures.filter(({ key }) => isWanted(key))
}

async function figuresOf(measurement: Measurement, context: BenchContext): Promise<Figure[]> {
  const figures = (await measurement.run(context)).map(figureOf)
  for (const { key, value, unit, bar, holds } of figures) {
    const verdict = holds === null ? '' : holds ? ` (bar ${bar}: holds)` : ` (bar ${bar}: MISSED)`
    context.progress(`${key} = ${value} ${unit}${verdict}`)
  }
  return figures
}

/** What the server itself says of its durability. */
async function settingsOf(context: BenchContext): Promise<string> {
  const stage = await context.stage()
  const names = ['fsync', 'synchronous_commit', 'full_page_writes', 'wal_sync_method', 'server_version']
  const shown = await Promise.all(names.map(async (name) => Object.values((await stage.select(`SHOW ${name}`))[0] ?? {})[0]))
  return names.map((name, index) => `${name} = ${shown[index]}`).join(', ')
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      seconds: { type: 'string' },
      only: { type: 'string', default: '' },
      connections: { type: 'string', default: '256' },
      accounts: { type: 'string' },
      long: { type: 'boolean', default: false },
      profile: { type: 'string' },
    },
  })
  const options = {
    seconds: Number(values.seconds ?? (values.quick ? 8 : 30)),
    connections: Number(values.connections),
    accounts: Number(values.accounts ?? (values.quick ? 200 : 1000)),
    historyRequests: values.quick ? QUICK_HISTORY : HISTORY,
    memoryRequests: values.long ? LONG_REQUESTS : SHORT_REQUESTS,
    profile: values.profile ?? null,
  }
  await using context = openContext(options, (line) => process.stderr.write(`${line}\n`))
  const figures = await benchPayments(context, values.only)
  const load = loadavg().map((average) => average.toFixed(1))
  const method = `${METHOD}Windows of ${options.seconds} s with ${options.connections} connections over ${options.accounts} accounts; load averages at the end: ${load.join(', ')}. PostgreSQL: ${await settingsOf(context)}.`
  process.stdout.write(`${JSON.stringify({ bench: 'payments', machine: machineOf(), method, figures }, null, 2)}\n`)
}
