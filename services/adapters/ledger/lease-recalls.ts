import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import type { Log } from '../log.ts'

const CHANNEL = 'granary_leases'
const CONNECT_TIMEOUT_MS = 4000
const PAUSE_MS = 250

/** Hears of accounts of which less may be sold from now on (prisma/migrations/0011_leases). Nobody may hold a lease who is deaf. */
export interface LeaseRecalls extends AsyncDisposable {
  /** Starts listening when first asked. */
  isHeard(): boolean
}

export function openLeaseRecalls(options: {
  url: string
  log?: Log | undefined
  onRecall: (accountId: string) => void
  /** Recalls may have been missed. */
  onDeaf: () => void
}): LeaseRecalls {
  const { url, log, onRecall, onDeaf } = options
  const stop = new AbortController()
  let listening: pg.Client | null = null
  let running: Promise<void> | null = null

  async function listen(): Promise<void> {
    while (!stop.signal.aborted) {
      const client = new pg.Client({
        connectionString: url,
        connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
        application_name: 'granary leases',
        keepAlive: true,
      })
      const ended = Promise.withResolvers<void>()
      // Without a listener the loss of the connection would end the process; `end` follows.
      client.on('error', () => undefined)
      client.once('end', ended.resolve)
      client.on('notification', ({ payload }) => onRecall(payload ?? ''))
      try {
        await client.connect()
        await client.query(`LISTEN ${CHANNEL}`)
        listening = client
        if (!stop.signal.aborted) await ended.promise
      } catch {
        // It is tried again.
      }
      if (stop.signal.aborted) break
      if (listening) log?.warn({ event: 'ledger.recalls-lost' })
      listening = null
      onDeaf()
      await client.end().catch(() => undefined)
      await delay(PAUSE_MS, undefined, { signal: stop.signal }).catch(() => undefined)
    }
  }

  return {
    isHeard() {
      running ??= listen()
      return listening !== null
    },
    async [Symbol.asyncDispose]() {
      stop.abort()
      await listening?.end().catch(() => undefined)
      await running
    },
  }
}
