import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import type { Log } from '../log.ts'
import type { Query } from './database.ts'

const CHANNEL = 'granary_leases'
/** Of advisory locks: the first of two numbers; the second is the hash of the run that leases. */
const RUNS = 0x67726c
const CONNECT_TIMEOUT_MS = 4000
const PAUSE_MS = 250

/**
 * Hears of accounts of which less may be sold from now on (prisma/migrations/0011_leases). Nobody may hold a lease who is deaf: the
 * connection that listens holds a lock for its run, so that the leases of others show whether they are alive.
 */
export interface LeaseRecalls extends AsyncDisposable {
  /** Starts listening when first asked. */
  isHeard(): boolean
}

/**
 * Asks others for what they lease of the account and do not use, and frees what the dead lease: nothing can be charged on it any more.
 * False when even all of it is not what is short.
 */
export async function recallOthers(query: Query, asked: { run: string; accountId: string; short: bigint }): Promise<boolean> {
  const { run, accountId, short } = asked
  const { rows } = await query<{ enough: boolean }>(
    `WITH others AS MATERIALIZED (
       SELECT run, sum(max) AS max FROM leases WHERE account_id = $1 AND run <> $2 GROUP BY run
     ), dead AS MATERIALIZED (
       SELECT run FROM others WHERE pg_try_advisory_xact_lock($4, hashtext(run))
     ), freed AS (
       DELETE FROM leases WHERE account_id = $1 AND run IN (SELECT run FROM dead)
     )
     SELECT coalesce(sum(max), 0) >= $3 AS enough, CASE WHEN count(*) > 0 THEN pg_notify('${CHANNEL}', $1) END FROM others`,
    [accountId, run, short, RUNS],
  )
  return rows[0]?.enough === true
}

export function openLeaseRecalls(options: {
  url: string
  run: string
  log?: Log | undefined
  onRecall: (accountId: string) => void
  /** Recalls may have been missed. */
  onDeaf: () => void
}): LeaseRecalls {
  const { url, run, log, onRecall, onDeaf } = options
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
        // Shared: two runs of the same hash are both alive.
        await client.query('SELECT pg_advisory_lock_shared($1, hashtext($2))', [RUNS, run])
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
