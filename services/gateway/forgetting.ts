import type { Log } from '../adapters/log.ts'
import type { Ledger } from '../core/ports.ts'

const PER_STATEMENT = 1000
/** Of one round: what is left waits for the next, so that the job never takes the database for itself. */
const STATEMENTS = 20

/**
 * Forgets stored answers once they are old enough, in small statements. Several gateways may do so at once. `answerSeconds` 0
 * forgets what was kept before keeping was switched off.
 */
export function openForgetting(options: {
  ledger: Pick<Ledger, 'forgetAnswers'>
  answerSeconds: number
  /** Chain time. */
  clock: () => number
  log: Log
  everyMs?: number
}): { round(): Promise<number> } & AsyncDisposable {
  const { ledger, answerSeconds, clock, log, everyMs = 30_000 } = options
  let running: Promise<number> | null = null

  async function forget(): Promise<number> {
    let forgotten = 0
    for (let statement = 0; statement < STATEMENTS; statement++) {
      const count = await ledger.forgetAnswers({ reservedBefore: clock() - answerSeconds, limit: PER_STATEMENT })
      forgotten += count
      if (count < PER_STATEMENT) break
    }
    if (forgotten > 0) log.info({ event: 'answers.forgotten', count: forgotten })
    return forgotten
  }

  function round(): Promise<number> {
    running ??= forget().finally(() => {
      running = null
    })
    return running
  }

  const timer = setInterval(() => {
    round().catch((error: unknown) => log.warn({ event: 'answers.not-forgotten', error }))
  }, everyMs)
  timer.unref()
  return {
    round,
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      await running?.catch(() => 0)
    },
  }
}
