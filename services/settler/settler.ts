import { setTimeout as delay } from 'node:timers/promises'
import type { Head } from '../core/chain-records.ts'
import { openTicker, type SettlerOptions } from './batches.ts'
import { openLagReport } from './lag.ts'

const LONGEST_PAUSE_MS = 5000

/** Ticks and syncs until disposed, one thing at a time: all of them sign with one key, in the order of its nonces. */
export function openSettler(
  options: SettlerOptions & { pollMs: number; syncModels: (head: Head) => Promise<number> },
): AsyncDisposable {
  const { chain, log, pollMs, syncModels } = options
  const stop = new AbortController()
  const tick = openTicker(options)
  const reportLag = openLagReport(options)

  async function run(): Promise<void> {
    let failures = 0
    while (!stop.signal.aborted) {
      try {
        const head = await chain.head()
        const result = await tick(head)
        if (result !== 'waiting' && result !== 'sent') await syncModels(head)
        await reportLag()
        if (failures > 0) log.info({ event: 'settler.recovered', failures })
        failures = 0
      } catch (error) {
        failures += 1
        log.warn({ event: 'settler.tick-failed', failures, error })
      }
      const pauseMs = Math.min(pollMs * 2 ** Math.min(failures, 10), Math.max(pollMs, LONGEST_PAUSE_MS))
      await delay(pauseMs, undefined, { signal: stop.signal }).catch(() => undefined)
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
