import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { GranaryError } from '../../core/errors.ts'
import type { Progress, SellingLedger } from '../../core/selling-ledger.ts'
import type { Log } from '../log.ts'
import type { Database, Query } from './database.ts'
import { progressLeftBy } from './extending.ts'

/** Of advisory locks: the first of two numbers; the second is the owner's hash. */
const OWNERS = 0x67726e
const CONNECT_TIMEOUT_MS = 4000
const STATEMENT_TIMEOUT_MS = 10_000
/** PostgreSQL lets go of what a killed process held once it sees its connection closed. */
const PATIENCE_MS = 5000
const PAUSE_MS = 250
const MOST_OWNERS = 100
/** What a payment on chain has bought ends with that payment, which may have been made: only the rail that took it knows. */
const PAYMENTS = 'x402:'

/**
 * A gateway holds a lock of its name for as long as it lives: so there are no two of one name, and what a dead one left reserved
 * can be told from what a living one works on.
 */
export function openOwnership(
  { query, transaction }: Database,
  { url, log }: { url: string; log?: Log | undefined },
): Pick<SellingLedger, 'claimOwner' | 'orphanedProgress' | 'releaseOrphans'> {
  return {
    async claimOwner(owner) {
      const stop = new AbortController()
      let held = await untilLocked({ url, owner, untilMs: performance.now() + PATIENCE_MS })
      if (held === null)
        throw new GranaryError('start.already-running', `Another gateway is called ${owner}: set GRANARY_GATEWAY_NAME.`, {
          owner,
        })
      const lost = async () => {
        log?.warn({ event: 'ledger.claim-lost', owner })
        held = null
        while (!stop.signal.aborted && held === null) {
          await delay(PAUSE_MS, undefined, { signal: stop.signal }).catch(() => undefined)
          held = await untilLocked({ url, owner, untilMs: 0 }).catch(() => null)
        }
        if (stop.signal.aborted) await held?.end()
        else held?.once('end', lost)
      }
      held.once('end', lost)
      return {
        async [Symbol.asyncDispose]() {
          stop.abort()
          held?.off('end', lost)
          await held?.end()
        },
      }
    },

    async orphanedProgress({ reservedBefore, limit }) {
      const left: Progress[] = []
      for (const owner of await ownersBefore(reservedBefore)) {
        const room = limit - left.length
        if (room <= 0) break
        left.push(...((await ofTheDead(owner, (under) => progressLeftBy(under, { owner, reservedBefore, limit: room }))) ?? []))
      }
      return left
    },

    async releaseOrphans({ reservedBefore }) {
      let released = 0
      for (const owner of await ownersBefore(reservedBefore)) {
        const left = await ofTheDead(owner, (under) =>
          under<{ released: number }>(
            `SELECT release_requests(array_agg(request_id), 'gateway.gone') AS released
             FROM reservations r JOIN requests q USING (request_id) WHERE r.owner = $1 AND q.reserved_at < $2`,
            [owner, reservedBefore],
          ),
        )
        await ofTheDead(owner, (under) => under('DELETE FROM leases WHERE owner = $1 AND taken_at < $2', [owner, reservedBefore]))
        released += left?.rows[0]?.released ?? 0
      }
      return released
    },
  }

  async function ownersBefore(reservedBefore: number): Promise<string[]> {
    const { rows } = await query<{ owner: string }>(
      `SELECT owner FROM reservations r JOIN requests q USING (request_id, owner)
       WHERE q.reserved_at < $1 AND NOT starts_with(owner, '${PAYMENTS}')
       UNION SELECT owner FROM leases WHERE taken_at < $1 LIMIT ${MOST_OWNERS}`,
      [reservedBefore],
    )
    return rows.map(({ owner }) => owner)
  }

  /** null: it lives. */
  function ofTheDead<T>(owner: string, work: (under: Query) => Promise<T>): Promise<T | null> {
    return transaction(async (under) => {
      const { rows } = await under<{ dead: boolean }>('SELECT pg_try_advisory_xact_lock($1, hashtext($2)) AS dead', [
        OWNERS,
        owner,
      ])
      return rows[0]?.dead === true ? work(under) : null
    })
  }
}

/** A connection that holds the lock; null if another one does. */
async function untilLocked(claim: { url: string; owner: string; untilMs: number }): Promise<pg.Client | null> {
  const { url, owner, untilMs } = claim
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    query_timeout: STATEMENT_TIMEOUT_MS,
    application_name: 'granary claim',
    keepAlive: true,
  })
  // Without a listener the loss of the connection would end the process; `end` follows.
  client.on('error', () => undefined)
  try {
    await client.connect()
    for (;;) {
      const { rows } = await client.query('SELECT pg_try_advisory_lock($1, hashtext($2)) AS held', [OWNERS, owner])
      if (rows[0]?.held === true) return client
      if (performance.now() > untilMs) break
      await delay(PAUSE_MS)
    }
  } catch (cause) {
    await client.end().catch(() => undefined)
    throw new GranaryError('ledger.unavailable', 'The database does not answer.', { cause })
  }
  await client.end()
  return null
}
