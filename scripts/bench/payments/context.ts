import { until } from '../../story/world.ts'
import { fundPayers, makeApiKeys } from './funding.ts'
import { type Buyers, openBuyers } from './load.ts'
import type { Load, Mode } from './load-protocol.ts'

import { cpuSecondsOf } from './machine.ts'
import { openStage, type Stage } from './stage.ts'
import { measureStock, type StockResult } from './stock.ts'
import { payerOf } from './wallets.ts'

export interface Options {
  /** Of each window whose processor time counts. */
  seconds: number
  connections: number
  /** Payers of the ordinary figures; the scale figure has ten times as many. */
  accounts: number
  /** Requests in the ledger when the cost of one is compared, a tenth of them and all. */
  historyRequests: number
  /** Requests after which memory is compared, a tenth of them and all. */
  memoryRequests: number
  /** A folder for processor profiles of gateway, indexer and settler, which then cost more. */
  profile: string | null
}

export interface Window extends Load {
  /** Server processor seconds of one answered request, in milliseconds. */
  cpuMs: number
  perCoreSecond: number
}

/** What figures share: made when first asked for, so that one figure alone starts no more than it needs. */
export interface BenchContext extends AsyncDisposable {
  options: Options
  stage(): Promise<Stage>
  buyers(): Promise<Buyers>
  /** Measured anew each time: what else the machine does changes within minutes. */
  stock(): Promise<StockResult>
  /** Payers 0 to count − 1, funded and with open sessions. */
  payers(count: number): Promise<void>
  /** Loads the server and takes its processor time of exactly that, until every request is settled on the chain and published. */
  window(run: { mode: Mode; accounts?: number; seconds?: number }): Promise<Window>
  progress(line: string): void
}

const WARM_SECONDS = 20
const API_KEYS = 64

export function openContext(options: Options, progress: (line: string) => void): BenchContext {
  const stack = new AsyncDisposableStack()
  const stage = once(async () => stack.use(await openStage(progress, options.profile)))
  const buyers = once(async () => {
    const { facts, port, rpcUrl, modelId } = await stage()
    const opened = stack.use(openBuyers())
    await opened.tell({ act: 'meet', facts: { ...facts, chainId: facts.chainId.toString() }, port, rpcUrl, model: modelId })
    return opened
  })
  const stock = () => {
    progress('The stock x402 server')
    return measureStock(options.seconds)
  }
  let funded = 0

  async function payers(count: number): Promise<void> {
    if (count > funded) {
      progress(`Deposits for ${count - funded} payers`)
      await fundPayers(await stage(), { first: funded, count: count - funded })
      funded = count
    }
    await (await buyers()).tell({ act: 'sessions', first: 0, accounts: count })
  }

  const keys = once(async () => {
    const opened = await stage()
    const holders = Array.from({ length: API_KEYS }, (_, index) => payerOf(index, opened.facts))
    progress(`${API_KEYS} API keys`)
    const tokens = await makeApiKeys(opened, holders)
    await (await buyers()).tell({ act: 'keys', tokens: tokens.map((token, payer) => ({ payer, token })) })
  })
  const warm = new Set<string>()

  return {
    options,
    stage,
    buyers,
    stock,
    payers,
    progress,
    async window({ mode, accounts = options.accounts, seconds = options.seconds }) {
      await payers(Math.max(accounts, API_KEYS))
      if (mode === 'key') await keys()
      const load = await buyers()
      const run = {
        mode,
        first: 0,
        accounts: mode === 'key' ? API_KEYS : accounts,
        connections: options.connections,
        perSecond: null,
      }
      if (!warm.has(mode)) await load.run({ ...run, seconds: WARM_SECONDS })
      warm.add(mode)
      progress(`${mode}: ${run.accounts} accounts, ${run.connections} connections, ${seconds} s`)
      await settled(await stage())
      const before = spentOf(await stage())
      const done = await load.run({ ...run, seconds })
      await settled(await stage())
      const spent = spentOf(await stage()).map(({ name, cpuSeconds }, index) => {
        return { name, cpuSeconds: cpuSeconds - (before[index]?.cpuSeconds ?? 0) }
      })
      const used = spent.reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0)
      const parts = spent.map(({ name, cpuSeconds }) => `${name} ${((cpuSeconds * 1000) / done.answered).toFixed(3)}`)
      progress(`  ${done.answered} answered; ms of processor time each: ${parts.join(', ')}`)
      if (done.failed > 0) progress(`  ${done.failed} failed: ${done.failure}`)
      return { ...done, cpuMs: (used * 1000) / done.answered, perCoreSecond: done.answered / used }
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  }
}

const SETTLED_TIMEOUT_MS = 180_000

/** Settling and publishing a request is a part of what it costs. */
async function settled({ select }: Stage): Promise<void> {
  const isSettled = async () => {
    // Along an index: reading the whole table, with all that has just left it, would be this look's cost, not the server's.
    const waiting = `SELECT EXISTS (SELECT FROM (SELECT FROM unsettled ORDER BY served_at LIMIT 1) u)
      OR EXISTS (SELECT FROM batches WHERE state = 'FINAL' AND cid IS NULL) AS waiting`
    const [row] = await select<{ waiting: boolean }>(waiting)
    return row?.waiting === false
  }
  await until('every request to be settled and published', isSettled, SETTLED_TIMEOUT_MS)
}

function spentOf(stage: Stage): { name: string; cpuSeconds: number }[] {
  return stage.servers().map(({ name, pids }) => ({ name, cpuSeconds: cpuSecondsOf(pids) }))
}

function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | null = null
  return () => {
    made ??= make()
    return made
  }
}
