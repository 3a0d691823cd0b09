import type { Log } from '../adapters/log.ts'
import type { Ledger } from '../core/ports.ts'
import { commitDelivered } from './streams/leftovers.ts'

/** Beyond the longest job: for what comes before and after it. */
const MARGIN_SECONDS = 60
const EVERY_MS = 15_000

/**
 * Ends what gateways of this database left reserved that died and were not started again: what their streams had delivered is
 * charged, and all else of their payers' money is free, once no answer of theirs can still be under way. A gateway that is started again ends its own at once.
 */
export function openOrphans(options: {
  ledger: Pick<Ledger, 'orphanedProgress' | 'releaseOrphans' | 'commit'>
  jobTimeoutMs: number
  /** Chain time. */
  clock: () => number
  log: Log
  everyMs?: number
}): AsyncDisposable {
  const { ledger, jobTimeoutMs, clock, log, everyMs = EVERY_MS } = options
  const longest = Math.ceil(jobTimeoutMs / 1000) + MARGIN_SECONDS
  let running: Promise<void> | null = null

  async function round(): Promise<void> {
    try {
      const reservedBefore = clock() - longest
      await commitDelivered(ledger, { read: (limit) => ledger.orphanedProgress({ reservedBefore, limit }), log })
      const count = await ledger.releaseOrphans({ reservedBefore })
      if (count > 0) log.warn({ event: 'reservations.released', count, why: 'left by a gateway that is gone' })
    } catch (error) {
      log.warn({ event: 'orphans.not-released', error })
    }
  }

  const timer = setInterval(() => {
    running ??= round().finally(() => {
      running = null
    })
  }, everyMs)
  timer.unref()
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      await running
    },
  }
}
