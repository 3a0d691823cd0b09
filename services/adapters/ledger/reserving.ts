import { setTimeout as delay } from 'node:timers/promises'
import { GranaryError } from '../../core/errors.ts'
import type { Reservation, Reserved, SellingLedger } from '../../core/selling-ledger.ts'
import { STATE, UNSETTLED } from './batched.ts'
import type { Database } from './database.ts'
import { ALONE_AT_ONCE } from './group.ts'
import { openLanes } from './lanes.ts'
import { type LeasedRequests, repeatOf } from './leased-requests.ts'
import type { Leases } from './leases.ts'
import { insertRequest, ofIdempotencyKey, reserve, type StoredRow, storedOf } from './reserving-alone.ts'
import type { RunningRequests } from './running-requests.ts'

const WAITING = 10_000
/** Others' leases come back within this, when they are not in use. */
const RECALL_MS = [25, 50, 100, 200]

export interface Reserving {
  running: RunningRequests
  leased: LeasedRequests
  leases: Leases
}

const OK: Reserved = { ok: true }

interface Asked {
  reservation: Reservation
  now: number
}

/** Chapter 4, the ledger's side: what is promised before a job leaves, and what becomes of the promise. */
export function openReservations(
  database: Database,
  { running, leased, leases }: Reserving,
): Pick<SellingLedger, 'reserve' | 'dispatched' | 'release' | 'releaseLeftovers' | 'request' | 'requestBefore'> {
  const { query, call, transaction } = database
  /** Being reserved, by key: a repeat waits for the first. */
  const reservingNow = new Map<string, Promise<Reserved>>()
  const alone = openLanes({
    work: ({ reservation, now }: Asked) => transaction((under) => reserve(under, reservation, now)),
    atOnce: ALONE_AT_ONCE,
    waiting: WAITING,
  })

  async function reserveNew(asked: Asked): Promise<Reserved> {
    const { reservation, now } = asked
    const { accountId, idempotencyKey, requestId } = reservation
    const isLookedUp = leased.isFull || leased.isKeyKnown(idempotencyKey) || leased.isRepeater(accountId)
    const lease = reservation.leased && !isLookedUp ? await leases.take(reservation, now) : null
    if (lease) leased.add({ reservation, reservedAt: now, lease })
    const reserved = lease ? OK : await reserveAlone(asked)
    if (reserved.ok && !lease) running.add(requestId, reservation)
    const isInUse = reserved.ok || reserved.reason === 'repeated' || reserved.reason === 'conflict'
    if (isInUse && idempotencyKey !== requestId) leased.knowKey(idempotencyKey)
    return reserved
  }

  /** Under the account's lock, with all room that nobody uses. */
  function reserveAlone(asked: Asked): Promise<Reserved> {
    const { accountId } = asked.reservation
    return withRoom(leases, { accountId, attempt: () => alone.add(accountId, asked) })
  }

  return {
    async reserve(reservation, now) {
      const name = `${reservation.accountId} ${reservation.idempotencyKey}`
      while (reservingNow.has(name)) await reservingNow.get(name)?.catch(() => undefined)
      const before = leased.before(reservation)
      if (before) return repeatOf(before, reservation.bodyHash)
      const reserved = reserveNew({ reservation, now })
      reservingNow.set(name, reserved)
      try {
        return await reserved
      } finally {
        reservingNow.delete(name)
      }
    },

    async dispatched(requestId, provider) {
      if (leased.find(requestId)) return
      const { rowCount } = await query(
        `UPDATE requests SET state = 'DISPATCHED', provider = $2 WHERE request_id = $1 AND state IN ('RESERVED', 'DISPATCHED')`,
        [requestId, provider],
      )
      if (rowCount !== 1) throw new GranaryError('internal', 'Only a reserved request can be dispatched.', { requestId })
    },

    // What was committed in the meantime stays charged.
    async release(requestId, reason) {
      running.end(requestId)
      const request = leased.find(requestId)
      if (!request) {
        await call('SELECT release_requests($1, $2)', [[requestId], reason])
        return
      }
      // With its row there, a commit that is still under way can't happen any more.
      const { reservation, reservedAt, lease } = request
      const written = await insertRequest(query, { reservation, now: reservedAt, state: 'RELEASED', reason })
      if (!leased.find(requestId)) return
      leased.end(requestId)
      if (written) lease.free(reservation.max)
      else lease.charge(reservation.max)
    },

    async releaseLeftovers(owner) {
      await query('DELETE FROM leases WHERE owner = $1 AND run <> $2', [owner, leases.run])
      const { rows } = await query<{ released: number }>(
        `SELECT release_requests(array_agg(request_id), 'gateway.restarted') AS released FROM reservations WHERE owner = $1`,
        [owner],
      )
      return rows[0]?.released ?? 0
    },

    async request(requestId) {
      const running = leased.stored(requestId)
      if (running) return running
      const { rows } = await query<StoredRow>(
        `SELECT q.request_id, ${STATE}, q.body_hash, q.charged, answer, q.reason FROM requests q LEFT JOIN answers USING (request_id)
         ${UNSETTLED} WHERE q.request_id = $1`,
        [requestId],
      )
      return rows[0] ? storedOf(rows[0]) : null
    },

    async requestBefore({ accountId, idempotencyKey }) {
      const running = leased.before({ accountId, idempotencyKey })
      if (running) return running
      const { rows } = await query<StoredRow>(ofIdempotencyKey('$2'), [accountId, idempotencyKey])
      return rows[0] ? storedOf(rows[0]) : null
    },
  }
}

type Attempt = { ok: true } | Exclude<Reserved, { ok: true }> | { ok: false; reason: 'ended' }

/** Gives back what this process leases and doesn't use, and when that is not enough, calls back what others lease. */
export async function withRoom<T extends Attempt>(
  leases: Pick<Leases, 'giveBack' | 'recall'>,
  { accountId, attempt }: { accountId: string; attempt: () => Promise<T> },
): Promise<T> {
  for (const waitMs of RECALL_MS) {
    await leases.giveBack(accountId)
    const result = await attempt()
    if (result.ok || result.reason !== 'insufficient') return result
    if (!(await leases.recall(accountId, result))) return result
    await delay(waitMs)
  }
  await leases.giveBack(accountId)
  return attempt()
}
