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
  /** Called when models were mirrored: their manifests may not be known yet. */
  onModels?: () => void
}

/**
 * `applied`: up to the head; `catching-up`: there is more; `moved`: the chain changed while it was read, nothing was applied; `behind`:
 * the node has not reached the cursor again.
 */
export type Step = 'idle' | 'applied' | 'catching-up' | 'moved' | 'behind' | 'rolled-back' | 'rebuilding'

/** What is remembered between steps. */
interface Indexing extends IndexerOptions {
  /** Mirrors that an earlier process left stale were read again. */
  isRepaired: boolean
  /** The ledger's cursor, which is on the chain; null after a step that may have left it otherwise. */
  known: Head | null
  /** Between the last two blocks; 0 where it is not known. */
  blockSeconds: number
}

/** Where the ledger is, and where the chain is. */
interface Position<Cursor> {
  cursor: Cursor
  head: Head
}

/** One step of chain → ledger: the next range of blocks, or the way back to where the chain left what was applied. */
export function openStepper(options: IndexerOptions): () => Promise<Step> {
  const indexing = openIndexing(options)
  return () => step(indexing)
}

function openIndexing(options: IndexerOptions): Indexing {
  return { ...options, isRepaired: false, known: null, blockSeconds: 0 }
}

async function step(indexing: Indexing): Promise<Step> {
  const { chain, ledger, deployBlock, known } = indexing
  const head = await chain.head()
  // Most looks find the block of the last one.
  if (known?.hash === head.hash) return 'idle'
  indexing.known = null
  const cursor = known ?? (await ledger.cursor())
  if (cursor === null) return head.number < deployBlock ? 'idle' : apply(indexing, { cursor, head })
  if (!(await leadsTo(chain, { cursor, head }))) return leaveFork(indexing, { cursor, head })
  // A crash between a rollback and its reading leaves mirrors stale: rolling back to the cursor names them again.
  if (!indexing.isRepaired) await reread(indexing, { cursor, head })
  indexing.isRepaired = true
  if (cursor.number < head.number) return apply(indexing, { cursor, head })
  indexing.known = cursor
  return 'idle'
}

/** Whether the chain of this head has the cursor. */
async function leadsTo(chain: Chain, { cursor, head }: Position<Head>): Promise<boolean> {
  return isChild(head, cursor) || head.hash === cursor.hash || isOnChain(chain, cursor)
}

function isChild(head: Head, parent: Head): boolean {
  return head.number === parent.number + 1 && head.parentHash === parent.hash
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
  await ledger.apply({ head: target, events, mirrors, after: cursor })
  indexing.known = target
  if (mirrors.some(({ kind }) => kind === 'model')) indexing.onModels?.()
  indexing.blockSeconds = cursor !== null && isChild(target, cursor) ? target.timestamp - cursor.timestamp : 0
  if (events.length > 0) {
    log.debug({ event: 'blocks.applied', from, to, events: events.length, mirrors: mirrors.length, behind: head.number - to })
  }
  return to === head.number ? 'applied' : 'catching-up'
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
  await ledger.apply({ head: cursor, events: [], mirrors, after: cursor })
}

async function isOnChain(chain: Chain, head: Head): Promise<boolean> {
  return (await chain.block(head.number))?.hash === head.hash
}

async function follows(chain: Chain, { cursor, head }: Position<Head>): Promise<boolean> {
  return head.number === cursor.number + 1 ? isChild(head, cursor) : isOnChain(chain, cursor)
}

/** During a backfill, state is read near the head: it is newer than its events, and later events only repeat it. */
function stateBlock(block: number, head: Head): number {
  return Math.max(block, head.number - STATE_DEPTH_BLOCKS)
}

/**
 * Steps until disposed; waits `pollMs` at the head, longer while chain or database do not answer, and while the next block can't be there:
 * for three quarters of the time that lay between the last two, three times `pollMs` at most.
 */
export function openIndexer(options: IndexerOptions & { pollMs: number }): AsyncDisposable {
  const { log, pollMs } = options
  const stop = new AbortController()
  const indexing = openIndexing(options)

  async function run(): Promise<void> {
    let failures = 0
    while (!stop.signal.aborted) {
      let result: Step = 'idle'
      try {
        result = await step(indexing)
        if (failures > 0) log.info({ event: 'indexer.recovered', failures })
        failures = 0
      } catch (error) {
        failures += 1
        log.warn({ event: 'indexer.step-failed', failures, error })
      }
      const atOnce = failures === 0 && (result === 'catching-up' || result === 'rolled-back' || result === 'rebuilding')
      const restMs = result === 'applied' ? Math.min(750 * indexing.blockSeconds, 3 * pollMs) : 0
      if (!atOnce) await pause(Math.max(restMs, Math.min(pollMs * 2 ** Math.min(failures, 10), LONGEST_PAUSE_MS)), stop.signal)
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
