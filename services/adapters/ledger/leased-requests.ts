import type { RequestState, Reservation, Reserved, StoredRequest } from '../../core/selling-ledger.ts'
import type { Lease } from './lease.ts'

/** Keys of requests that this process has reserved, which the database may know: in two halves, of which the older is dropped whole. */
const HALF_OF_KEYS = 50_000
/** That run at the same time; others are written before they run. */
const MOST_RUNNING = 100_000
const MOST_REPEATERS = 10_000
const REPEATER_MS = 600_000

/** A request that runs on a lease: the database hears of it when it is charged. */
export interface LeasedRequest {
  reservation: Reservation
  /** Chain time. */
  reservedAt: number
  lease: Lease
}

export interface LeasedRequests {
  readonly isFull: boolean
  add(request: LeasedRequest): void
  find(requestId: string): LeasedRequest | null
  /** As the ledger shows it. */
  stored(requestId: string): StoredRequest | null
  /** What runs under the same key already. */
  before(of: { accountId: string; idempotencyKey: string }): StoredRequest | null
  end(requestId: string): void
  /** Another one under this key has to be looked up. */
  knowKey(idempotencyKey: string): void
  isKeyKnown(idempotencyKey: string): boolean
  /** Its keys are looked up from now on, for a while: one of them was used again, and a provider worked for nothing. */
  knowRepeater(accountId: string): void
  isRepeater(accountId: string): boolean
}

export function openLeasedRequests(): LeasedRequests {
  const requests = new Map<string, LeasedRequest>()
  const byKey = new Map<string, LeasedRequest>()
  let [young, old] = [new Set<string>(), new Set<string>()]
  const repeaters = new Map<string, number>()
  const nameOf = ({ accountId, idempotencyKey }: { accountId: string; idempotencyKey: string }) =>
    `${accountId} ${idempotencyKey}`

  return {
    get isFull() {
      return requests.size >= MOST_RUNNING
    },
    add(request) {
      requests.set(request.reservation.requestId, request)
      byKey.set(nameOf(request.reservation), request)
    },
    find: (requestId) => requests.get(requestId) ?? null,
    stored: (requestId) => storedOf(requests.get(requestId)),
    before: (of) => storedOf(byKey.get(nameOf(of))),
    end(requestId) {
      const request = requests.get(requestId)
      if (!request) return
      requests.delete(requestId)
      byKey.delete(nameOf(request.reservation))
    },
    knowKey(idempotencyKey) {
      if (young.size >= HALF_OF_KEYS) [young, old] = [new Set(), young]
      young.add(idempotencyKey)
    },
    isKeyKnown: (idempotencyKey) => young.has(idempotencyKey) || old.has(idempotencyKey),
    knowRepeater(accountId) {
      const oldest = repeaters.keys().next()
      if (repeaters.size >= MOST_REPEATERS && !oldest.done) repeaters.delete(oldest.value)
      repeaters.set(accountId, performance.now() + REPEATER_MS)
    },
    isRepeater(accountId) {
      if (repeaters.size === 0) return false
      const untilMs = repeaters.get(accountId)
      if (untilMs !== undefined && untilMs <= performance.now()) repeaters.delete(accountId)
      return repeaters.has(accountId)
    },
  }
}

/** Refuses a repeat of `before` with another body. */
export function repeatOf(before: StoredRequest, bodyHash: string): Exclude<Reserved, { ok: true }> {
  if (before.bodyHash !== bodyHash) return { ok: false, reason: 'conflict', requestId: before.requestId }
  return { ok: false, reason: 'repeated', request: before }
}

function storedOf(request: LeasedRequest | undefined): StoredRequest | null {
  if (!request) return null
  const { requestId, bodyHash, dispatched } = request.reservation
  const state: RequestState = dispatched ? 'DISPATCHED' : 'RESERVED'
  return { requestId, state, bodyHash, charged: 0n, answer: null, reason: null }
}
