import { setTimeout as delay } from 'node:timers/promises'
import type { Log } from '../adapters/log.ts'
import type { Head } from '../core/chain-records.ts'
import type { Chain } from '../core/ports.ts'
import { readMirrors } from './mirrors.ts'
import { type IndexedLedger, touchedBy } from './touched.ts'

const BACKFILL_BLOCKS = 2000
/** Nodes without an archive answer views for about 128 blocks; reorgs deeper than this do not happen while we look. */
const STATE_DEPTH_BLOCKS = 64
const MAX_FORK_BLOCKS = 256
const LONGEST_PAUSE_MS = 5000

export interface IndexerOptions {
  chain: Chain
  ledger: IndexedLedger
  deployBlock: number
  log: Log
}

/** `moved`: the chain changed while it was read, nothing was applied; `behind`: the node has not reached the cursor again. */
export type Step = 'idle' | 'applied' | 'moved' | 'behind' | 'rolled-back' | 'rebuilding'

/** What is remembered between steps. */
interface Indexing extends IndexerOptions {
  /** Mirrors that an earlier process left stale were read again. */
  isRepaired: boolean
}

/** Where the ledger is, and where the chain is. */
interface Position<Cursor> {
  cursor: Cursor
  head: Head
}

/** One step of chain → ledger: the next range of blocks, or the way back to where the chain left what was applied. */
export function openStepper(options: IndexerOptions): () => Promise<Step> {
  const indexing: Indexing = { ...options, isRepaired: false }
  return () => step(indexing)
}

async function step(indexing: Indexing): Promise<Step> {
  const { chain, ledger, deployBlock } = indexing
  const cursor = await ledger.cursor()
  const head = await chain.head()
  if (cursor === null) return head.number < deployBlock ? 'idle' : apply(indexing, { cursor, head })
  if (!(await isOnChain(chain, cursor))) return leaveFork(indexing, { cursor, head })
  // A crash between a rollback and its reading leaves mirrors stale: rolling back to the cursor names them again.
  if (!indexing.isRepaired) await reread(indexing, { cursor, head })
  indexing.isRepaired = true
  return cursor.number >= head.number ? 'idle' : apply(indexing, { cursor, head })
}

async function apply(indexing: Indexing, { cursor, head }: Position<Head | null>): Promise<Step> {
  const { chain, ledger, deployBlock, log } = indexing
  const from = cursor === null ? deployBlock : cursor.number + 1
  const to = Math.min(from + BACKFILL_BLOCKS - 1, head.number)
  const target = to === head.number ? head : await chain.block(to)
  if (target === null) return 'moved'
  const events = await chain.events(from, to)
  const touched = await touchedBy(events, { chain, ledger })
  const mirrors = await readMirrors(touched, { chain, ledger, block: stateBlock(to, head) })
  // Everything above was read by number: it holds only if the chain is still the one that it started on.
  if (!(await isOnChain(chain, target)) || (cursor !== null && !(await follows(chain, { cursor, head: target })))) return 'moved'
  await ledger.apply({ head: target, events, mirrors })
  if (events.length > 0) {
    log.debug({ event: 'blocks.applied', from, to, events: events.length, mirrors: mirrors.length, behind: head.number - to })
  }
  return 'applied'
}

async function leaveFork(indexing: Indexing, { cursor, head }: Position<Head>): Promise<Step> {
  const { chain, ledger, log } = indexing
  const applied = await ledger.heads(MAX_FORK_BLOCKS)
  // A node that lags shows an earlier block of the same chain: what was lost is not known before it passes the cursor.
  if (head.number < cursor.number && applied.some(({ hash }) => hash === head.hash)) return 'behind'
  for (const candidate of applied) {
    if (candidate.number > head.number || !(await isOnChain(chain, candidate))) continue
    log.warn({ event: 'chain.reorganised', from: cursor.number, to: candidate.number, lost: cursor.number - candidate.number })
    await reread(indexing, { cursor: candidate, head })
    return 'rolled-back'
  }
  log.warn({
    event: 'chain.replaced',
    detail: 'The chain is not the one that was indexed: everything that derives from it is built anew.',
    cursor: cursor.number,
    head: head.number,
  })
  await ledger.forgetChain()
  return 'rebuilding'
}

/** Makes `cursor` the ledger's, and reads again what later blocks had touched. */
async function reread({ chain, ledger }: Indexing, { cursor, head }: Position<Head>): Promise<void> {
  const touched = await ledger.rollback(cursor)
  const mirrors = await readMirrors(touched, { chain, ledger, block: stateBlock(cursor.number, head) })
  await ledger.apply({ head: cursor, events: [], mirrors })
}

async function isOnChain(chain: Chain, head: Head): Promise<boolean> {
  return (await chain.block(head.number))?.hash === head.hash
}

async function follows(chain: Chain, { cursor, head }: Position<Head>): Promise<boolean> {
  return head.number === cursor.number + 1 ? head.parentHash === cursor.hash : isOnChain(chain, cursor)
}

/** During a backfill, state is read near the head: it is newer than its events, and later events only repeat it. */
function stateBlock(block: number, head: Head): number {
  return Math.max(block, head.number - STATE_DEPTH_BLOCKS)
}

/** Steps until disposed; waits `pollMs` at the head, longer while chain or database do not answer. */
export function openIndexer(options: IndexerOptions & { pollMs: number }): AsyncDisposable {
  const { log, pollMs } = options
  const stop = new AbortController()
  const step = openStepper(options)

  async function run(): Promise<void> {
    let failures = 0
    while (!stop.signal.aborted) {
      let result: Step = 'idle'
      try {
        result = await step()
        if (failures > 0) log.info({ event: 'indexer.recovered', failures })
        failures = 0
      } catch (error) {
        failures += 1
        log.warn({ event: 'indexer.step-failed', failures, error })
      }
      const atOnce = failures === 0 && (result === 'applied' || result === 'rolled-back' || result === 'rebuilding')
      if (!atOnce) await pause(Math.min(pollMs * 2 ** Math.min(failures, 10), LONGEST_PAUSE_MS), stop.signal)
    }
  }

  const running = run()
  return {
    async [Symbol.asyncDispose]() {
      stop.abort()
      await running
    },
  }
}

/** Ends early, without an error, when stopped. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal }).catch(() => undefined)
}
