import { randomUUID } from 'node:crypto'
import type { Reservation, Voucher } from '../../core/selling-ledger.ts'
import type { Log } from '../log.ts'
import { keepBest } from './accounts.ts'
import { textArray } from './arrays.ts'
import type { Database } from './database.ts'
import { openGroup } from './group.ts'
import { Lease } from './lease.ts'
import { openLeaseRecalls, recallOthers } from './lease-recalls.ts'
import type { Shortfall } from './reserving-alone.ts'

/** So many requests' worth is asked for at once. */
const AHEAD = 64n
/** Recalls come at once; this is for what nobody recalls. */
const LONGEST_MS = 10_000
const IDLE_MS = 10_000
const EVERY_MS = 1000
const MOST = 50_000
const GROUP = { most: 256, waiting: 10_000 }

interface Ask {
  lease: Lease
  reservation: Reservation
  /** Chain time. */
  now: number
}

/** What waits for the database: room for a request, or leases to be given back as far as nothing runs on them. */
type Item = { ask: Ask } | { back: Lease[] }

export interface Leases extends AsyncDisposable {
  /** Of this open ledger, in all its leases. */
  readonly run: string
  /** The lease that the reservation runs on from now on; null when it has to be judged under the account's lock. */
  take(reservation: Reservation, now: number): Promise<Lease | null>
  /** Gives back what nothing runs on, so that the books show what is really reserved. */
  giveBack(accountId: string): Promise<void>
  /**
   * Asks others to do the same. False when that can't be enough: not even with what the books show as leased here, where a charge
   * counts twice until its lease is set anew. A ceiling is sooner raised than waited for.
   */
  recall(accountId: string, refused: Shortfall): Promise<boolean>
}

/**
 * A request takes its place from a lease in memory; the database is asked once for many (lease_batch). Leases are for accounts with
 * a deposit and without limits; as an account comes to its end, they end with it.
 */
export function openLeases({ query, call }: Database, { url, log }: { url: string; log?: Log | undefined }): Leases {
  const run = randomUUID()
  const accounts = new Map<string, Map<string, Lease>>()
  let size = 0
  const inGroup = openGroup<Item, Lease | null>({ ...GROUP, together, alone: async () => null, laneOf: () => run })
  const recalls = openLeaseRecalls({ url, run, log, onRecall, onDeaf: () => accounts.forEach(expire) })
  const timer = setInterval(() => void giveBackIdle(), EVERY_MS)
  timer.unref()

  /** Those that give back go first: they make room. */
  async function together(items: readonly Item[]): Promise<(Lease | null)[]> {
    await setBack(items.flatMap((item) => ('back' in item ? item.back : [])))
    const granted = await ask(items.flatMap((item) => ('ask' in item ? [item.ask] : [])))
    return items.map((item) => ('ask' in item && granted.has(item.ask.lease) ? item.ask.lease : null))
  }

  async function setBack(leases: readonly Lease[]): Promise<void> {
    const backs = [...new Set(leases)].filter(({ isIdle }) => isIdle).map((lease) => ({ lease, asked: lease.ask() }))
    if (backs.length === 0) return
    const of = (column: (back: (typeof backs)[number]) => string) => textArray(backs.map(column))
    await answered(backs, () =>
      query(
        `WITH back AS (
           SELECT u.account_id, u.key, u.kept::numeric AS kept FROM unnest($2::text[], $3::text[], $4::text[]) AS u(account_id, key, kept)
         ), gone AS (
           DELETE FROM leases l USING back b WHERE l.account_id = b.account_id AND l.key = b.key AND l.run = $1 AND b.kept = 0
         )
         UPDATE leases l SET max = b.kept FROM back b
         WHERE l.account_id = b.account_id AND l.key = b.key AND l.run = $1 AND b.kept > 0 AND b.kept < l.max`,
        [run, of(({ lease }) => lease.accountId), of(({ lease }) => lease.key), of(({ asked }) => asked.running.toString())],
      ),
    )
    for (const { lease, asked } of backs) lease.answer(asked, { granted: asked.running })
    for (const { lease } of backs) {
      const { voucher } = lease
      if (voucher) await keepBest(query, voucher)
      lease.keep(voucher)
      if (lease.isOver) forget(lease)
    }
  }

  /** Names the leases that hold what all who asked for them need. */
  async function ask(asks: readonly Ask[]): Promise<Set<Lease>> {
    const granted = new Set<Lease>()
    if (asks.length === 0) return granted
    const wants = [...Map.groupBy(asks, ({ lease }) => lease)].map(([lease, of]) => wantOf(lease, of))
    const now = asks.reduce((latest, one) => Math.max(latest, one.now), 0)
    const { rows } = await answered(wants, () =>
      call<{ granted: (string | null)[] }>('SELECT lease_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) AS granted', [
        run,
        `${now}`,
        ...columnsOf(wants),
      ]),
    )
    const nowMs = performance.now()
    wants.forEach(({ lease, asked, taken, voucher }, index) => {
      const [text, base, ceiling] = [0, 1, 2].map((column) => rows[0]?.granted[column * wants.length + index] ?? null)
      if (text == null || base == null || ceiling == null) lease.answer(asked, { granted: null })
      else {
        const set = { granted: BigInt(text), base: BigInt(base), ceiling: BigInt(ceiling) }
        lease.answer(asked, { ...set, taken, untilMs: nowMs + LONGEST_MS })
        granted.add(lease)
      }
      lease.keep(voucher)
      lease.lastTakenMs = nowMs
      // It was called back while the database was asked, and there was nothing to give yet.
      if (lease.isRecalled) void giveBack(lease.accountId).catch(() => undefined)
    })
    return granted
  }

  async function giveBack(accountId: string): Promise<void> {
    const back = [...(accounts.get(accountId)?.values() ?? [])].filter(({ isIdle }) => isIdle)
    if (back.length > 0) await inGroup({ back })
  }

  function onRecall(accountId: string): void {
    expire(accounts.get(accountId) ?? new Map())
    // What a lost database keeps, its owner's next start or siblings give back.
    giveBack(accountId).catch(() => undefined)
  }

  async function giveBackIdle(): Promise<void> {
    const before = performance.now() - IDLE_MS
    const unused = [...accounts.values()].flatMap((keys) => [...keys.values()].filter(({ lastTakenMs }) => lastTakenMs < before))
    const back = unused.filter(({ isIdle }) => isIdle)
    if (back.length > 0) await inGroup({ back }).catch(() => undefined)
    for (const lease of unused) if (lease.isOver) forget(lease)
  }

  function leaseOf({ accountId, key }: Reservation): Lease | null {
    const keys = accounts.get(accountId)
    const known = keys?.get(key)
    if (known) return known
    if (size >= MOST) return null
    const lease = new Lease({ accountId, key })
    if (keys) keys.set(key, lease)
    else accounts.set(accountId, new Map([[key, lease]]))
    size += 1
    return lease
  }

  function forget(lease: Lease): void {
    const keys = accounts.get(lease.accountId)
    if (!keys?.delete(lease.key)) return
    size -= 1
    if (keys.size === 0) accounts.delete(lease.accountId)
  }

  return {
    run,
    async take(reservation, now) {
      const lease = recalls.isHeard() ? leaseOf(reservation) : null
      if (!lease) return null
      if (reservation.voucher) lease.offer(reservation.voucher)
      if (lease.take(reservation.max, performance.now())) return lease
      lease.waiting += 1
      try {
        return await inGroup({ ask: { lease, reservation, now } })
      } finally {
        lease.waiting -= 1
      }
    },
    giveBack,
    recall(accountId, { limit, required, available }) {
      const here = limit === 'ceiling' ? [] : [...(accounts.get(accountId)?.values() ?? [])]
      const held = here.reduce((sum, { granted }) => sum + granted, 0n)
      return recallOthers(query, { run, accountId, short: required - available - held })
    },
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      await recalls[Symbol.asyncDispose]()
      if (size > 0) await query('DELETE FROM leases WHERE run = $1', [run]).catch(() => undefined)
    },
  }
}

interface Want {
  lease: Lease
  asked: { running: bigint; charged: bigint }
  taken: bigint
  wanted: bigint
  /** Room for whole requests. */
  step: bigint
  owner: string
  voucher: Voucher | null
}

function wantOf(lease: Lease, asks: readonly Ask[]): Want {
  const asked = lease.ask()
  const taken = asks.reduce((sum, { reservation }) => sum + reservation.max, 0n)
  const largest = asks.reduce((most, { reservation }) => (reservation.max > most ? reservation.max : most), 0n)
  const owner = asks[0]?.reservation.owner ?? ''
  return { lease, asked, taken, wanted: asked.running + taken + AHEAD * largest, step: largest, owner, voucher: lease.voucher }
}

/** Whatever happens, each question gets an answer. */
async function answered<T>(questions: readonly { lease: Lease }[], work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    for (const { lease } of questions) lease.lose()
    throw error
  }
}

function columnsOf(wants: readonly Want[]): Buffer[] {
  const of = (column: (want: Want) => string | null) => textArray(wants.map(column))
  return [
    of(({ lease }) => lease.accountId),
    of(({ lease }) => lease.key),
    of(({ owner }) => owner),
    of(({ asked, taken }) => (asked.running + taken).toString()),
    of(({ wanted }) => wanted.toString()),
    of(({ step }) => step.toString()),
    of(({ voucher }) => voucher?.ceiling.toString() ?? null),
    of(({ voucher }) => voucher?.usageHead ?? null),
    of(({ voucher }) => voucher?.signature ?? null),
  ]
}

function expire(keys: Map<string, Lease>): void {
  for (const lease of keys.values()) lease.expire()
}
