import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { openLog } from '../../services/adapters/log.ts'
import { startCooperative } from '../local/cooperative.ts'
import { type Person, until, World } from '../story/world.ts'
import { type Audit, auditBooks, openPayments, unfinished } from './books.ts'
import { type Bought, startBuyer } from './buyers.ts'
import { type Coins, startCoinBuyer } from './coin-buyers.ts'
import { openDraw } from './draw.ts'
import { type Patient, strike } from './faults.ts'
import { openShakyChain } from './shaky-chain.ts'
import { startStreamBuyer } from './stream-buyers.ts'

export interface TortureOptions {
  rounds: number
  seed: number
  onProgress: (line: string) => void
  /** Keeps the folder with the logs. */
  keep?: boolean
}

export interface TortureReport extends Audit {
  rounds: number
  /** How often each fault struck. */
  faults: Record<string, number>
  answered: number
  lostAnswers: number
  /** Streams of which something came, and those of them whose receipt came. */
  streams: number
  wholeStreams: number
  /** Answers paid for by x402, and how often its client got none, by status. */
  coinAnswers: number
  coinRefusals: Record<string, number>
  refusals: Record<string, number>
  dir: string
}

const DOLLAR = 1_000_000n
const MODEL = 'spam-classifier'
/** Deeper than any reorganisation: what is needed to go on can't be taken back. */
const SETTLED_BLOCKS = 25
/** Between two faults this many requests are answered, if that takes no longer than the other. */
const ANSWERS_BETWEEN = 3
/** Answers paid for on chain come slowly: every so many faults one more is waited for. */
const FAULTS_BETWEEN_COINS = 3
const LONGEST_WAIT_MS = 20_000
const MAX_PAUSE_MS = 500
const QUIET_MS = 240_000
/** Longer than an authorization lasts. */
const PAYMENTS_END_SECONDS = 1200

/**
 * A whole cooperative on real parts, bought from all the time, while its processes are killed, its database is killed, its
 * node fails and its chain is reorganised; then quiet, and the books.
 */
export async function torture({ rounds, seed, onProgress, keep = false }: TortureOptions): Promise<TortureReport> {
  const dir = mkdtempSync(join(tmpdir(), 'granary-torture-'))
  chmodSync(dir, 0o711)
  await using stack = new AsyncDisposableStack()
  if (!keep) stack.defer(() => rmSync(dir, { recursive: true, force: true }))
  const chain = stack.use(await openShakyChain(dir))
  const log = openLog({ process: 'torture', level: 'fatal' })
  const cooperative = stack.use(await startCooperative({ dir, port: 0, rpcUrl: chain.url, log, onProgress }))
  const { gatewayUrl, rpcUrl, chainId, contracts } = cooperative.facts
  const world = stack.use(new World({ gatewayUrl, rpcUrl, chainId: BigInt(chainId), contracts }))
  const purses = [
    await openPurse(world, 'by voucher'),
    await openPurse(world, 'by key', { byKey: true }),
    await openPurse(world, 'by voucher again'),
    await openPurse(world, 'in steps', { streams: true }),
  ]
  const coiner = await world.person('by x402')
  await world.giveDollars(coiner, 1000n * DOLLAR)
  await chain.mine(SETTLED_BLOCKS)

  const stop = new AbortController()
  const draw = openDraw(seed)
  const buyers = purses.map(({ person, apiKey, streams }, index) => {
    const common = {
      wallet: person.wallet,
      gatewayUrl,
      rpcUrl,
      model: MODEL,
      draw: openDraw(seed + 1 + index),
      signal: stop.signal,
    }
    return streams ? startStreamBuyer(common) : startBuyer({ ...common, apiKey })
  })
  const coin = startCoinBuyer({
    ...{ wallet: coiner.wallet, funds: 1000n * DOLLAR, chainId: BigInt(chainId), gatewayUrl, model: MODEL },
    ...{ draw: openDraw(seed + 1 + purses.length), signal: stop.signal },
  })
  const patient: Patient = { cooperative, dir, chain, draw }
  const faults: Record<string, number> = {}
  // A buyer that gives up ends the run at once, as does a process that is given up.
  const ended = Promise.race([...buyers.map((buyer) => buyer.ended), coin.ended, cooperative.failed])
  ended.catch(() => undefined)
  for (let round = 1; round <= rounds; round += 1) {
    await Promise.race([
      progress({
        bought: buyers.map(({ bought }) => bought),
        coins: round % FAULTS_BETWEEN_COINS === 0 ? coin.coins : null,
        pauseMs: draw.below(MAX_PAUSE_MS),
      }),
      ended,
    ])
    const fault = await strike(patient)
    faults[fault] = (faults[fault] ?? 0) + 1
    if (round % 10 === 0) onProgress(`${round} of ${rounds}: ${JSON.stringify(faults)}`)
  }
  chain.mood = 'well'
  stop.abort()
  await Promise.all([...buyers.map((buyer) => buyer.ended), coin.ended])
  const bought = buyers.map((buyer) => buyer.bought)
  const { databaseUrl } = cooperative
  onProgress('All answered; waiting until everything is settled')
  await until('everything to be settled', async () => (await unfinished(databaseUrl).catch(() => 1)) === 0, QUIET_MS)
  onProgress('Waiting until every x402 payment has come to its end')
  await chain.pass(PAYMENTS_END_SECONDS)
  await until('every payment to end', async () => (await openPayments(databaseUrl).catch(() => 1)) === 0, QUIET_MS)
  const audit = await auditBooks({ databaseUrl, world, bought, coins: [coin.coins] })
  return { rounds, faults, ...audit, ...sums(bought), ...sumsOfCoins(coin.coins), dir }
}

/** Faults strike a cooperative that works, or that has had its time to. */
async function progress(made: { bought: readonly Bought[]; coins: Coins | null; pauseMs: number }): Promise<void> {
  const { bought, coins, pauseMs } = made
  const answered = () => bought.reduce((sum, { charges }) => sum + charges.size, 0)
  const [before, coinsBefore, until] = [answered(), coins?.charges.size ?? 0, performance.now() + LONGEST_WAIT_MS]
  const isEnough = () => answered() >= before + ANSWERS_BETWEEN && (coins === null || coins.charges.size > coinsBefore)
  while (!isEnough() && performance.now() < until) await delay(50)
  await delay(pauseMs)
}

interface Purse {
  person: Person
  apiKey: string | null
  streams: boolean
}

async function openPurse(world: World, name: string, { byKey = false, streams = false } = {}): Promise<Purse> {
  const person = await world.person(name)
  await world.giveDollars(person, 1000n * DOLLAR)
  const { account } = person.granary
  await account.deposit(1000n * DOLLAR)
  if (!byKey) return { person, apiKey: null, streams }
  const { apiKey } = await account.createApiKey({ cap: 900n * DOLLAR, lifeSeconds: 7 * 24 * 3600, label: name })
  return { person, apiKey, streams }
}

function sums(bought: readonly Bought[]) {
  const refusals: Record<string, number> = {}
  const streams = bought.flatMap((buyer) => [...buyer.streams.values()])
  for (const buyer of bought) for (const [code, count] of buyer.refusals) refusals[code] = (refusals[code] ?? 0) + count
  return {
    answered: bought.reduce((sum, { charges }) => sum + charges.size, 0),
    lostAnswers: bought.reduce((sum, { lost }) => sum + lost, 0),
    streams: streams.length,
    wholeStreams: streams.filter(({ told }) => told !== null).length,
    refusals,
  }
}

function sumsOfCoins({ charges, refusals }: Coins) {
  return { coinAnswers: charges.size, coinRefusals: Object.fromEntries(refusals) }
}
