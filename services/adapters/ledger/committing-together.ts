import type { JobReceipt } from '../../core/jobs.ts'
import { structHashOf } from '../../core/messages.ts'
import type { Committed, Delivery } from '../../core/selling-ledger.ts'
import { bytesArray, textArray } from './arrays.ts'
import type { Query } from './database.ts'
import type { LeasedRequest, LeasedRequests } from './leased-requests.ts'
import type { ReceiptHead, ReceiptHeads } from './receipt-heads.ts'

export type Charged = Committed & { answer: Uint8Array }

/** A delivery with its place in its account's receipts, if the account's head is what this process believes. */
interface Placed {
  index: number
  delivery: Delivery
  request: LeasedRequest
  accountId: string
  key: string
  committed: Charged
}

export interface Charging {
  query: Query
  /** Under which this process leases. */
  run: string
  heads: ReceiptHeads
  leased: LeasedRequests
}

/** A head that another process has moved is read again this often before its requests are committed one by one. */
const ATTEMPTS = 2

/**
 * Commits in one call (prisma/migrations/0011_leases) what ran on leases. Receipts are chained and signed before any lock is taken, on the
 * heads that this process knows; undefined for what has to be done alone.
 */
export async function commitTogether(charging: Charging, deliveries: readonly Delivery[]): Promise<(Charged | undefined)[]> {
  const done: (Charged | undefined)[] = deliveries.map(() => undefined)
  let left = knownOf(charging, deliveries)
  for (let attempt = 0; attempt < ATTEMPTS && left.length > 0; attempt += 1) {
    const heads = await charging.heads.of([...new Set(left.map(({ accountId }) => accountId))])
    const placed = placeAll(left, heads)
    if (placed.length === 0) break
    const accounts = await write(charging, placed)
    for (const { index, accountId, request, committed } of placed) {
      if (accounts.has(accountId)) {
        done[index] = committed
        charging.heads.keep(accountId, { sequence: committed.sequence, head: committed.head })
        endLeased(charging.leased, request)
      } else charging.heads.forget(accountId)
    }
    left = left.filter(({ index }) => done[index] === undefined)
  }
  return done
}

/** Charged, the request takes its room with it. */
export function endLeased(leased: LeasedRequests, { reservation, lease }: LeasedRequest): void {
  if (!leased.find(reservation.requestId)) return
  leased.end(reservation.requestId)
  lease.charge(reservation.max)
}

/** The same request twice is no case for a common call, and neither is one that was not reserved like this. */
function knownOf({ leased }: Charging, deliveries: readonly Delivery[]): Known[] {
  const seen = new Set<string>()
  return deliveries.flatMap((delivery, index) => {
    const request = leased.find(delivery.requestId)
    if (!request || seen.has(delivery.requestId) || !isAsReserved(request, delivery)) return []
    seen.add(delivery.requestId)
    const { accountId, key } = request.reservation
    const jobHash = structHashOf('InferenceEscrow', 'JobReceipt', { ...delivery.receipt })
    return [{ index, delivery, request, accountId, key, jobHash }]
  })
}

/** What is not is refused with its reason when it is done alone. */
function isAsReserved({ reservation }: LeasedRequest, { charged, receipt }: Delivery): boolean {
  const { max, modelId, purpose } = reservation
  return charged >= 0n && charged <= max && receipt.modelId === modelId && receipt.purpose === purpose
}

type Known = Omit<Placed, 'committed'> & { jobHash: string }

/** The answers are made once all heads are known. A delivery whose answer can't be made is left out, and the chains go on without it. */
function placeAll(all: readonly Known[], heads: ReadonlyMap<string, ReceiptHead>): Placed[] {
  const chained = chainOf(all, new Map(heads))
  const group = chained.map(({ committed }) => committed.head)
  const placed = chained.flatMap(({ known, committed }) => {
    try {
      return [{ ...known, committed: { ...committed, answer: known.delivery.answerOf({ ...committed, group }) } }]
    } catch {
      return []
    }
  })
  if (placed.length === chained.length) return placed
  const answered = new Set(placed.map(({ index }) => index))
  return placeAll(
    all.filter(({ index }) => answered.has(index)),
    heads,
  )
}

/** Moves the accounts' heads on; accounts without one are left out. */
function chainOf(all: readonly Known[], heads: Map<string, ReceiptHead>): { known: Known; committed: Committed }[] {
  return all.flatMap((known) => {
    const { accountId, key, delivery, jobHash } = known
    const before = heads.get(accountId)
    if (!before) return []
    const sequence = before.sequence + 1n
    const value = { jobHash, accountId, key, sequence, charged: delivery.charged, previousHead: before.head }
    const committed = { sequence, previousHead: before.head, head: structHashOf('InferenceEscrow', 'Receipt', value) }
    heads.set(accountId, { sequence, head: committed.head })
    return [{ known, committed }]
  })
}

/** Names the accounts whose deliveries are charged, which are all of theirs. */
async function write({ query, run }: Charging, placed: readonly Placed[]): Promise<Set<string>> {
  const { rows } = await query<{ accounts: string[] }>(
    `SELECT commit_leased($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
       $25, $26, $27, $28, $29, $30, $31) AS accounts`,
    [run, ...columnsOf(placed), ...totalColumnsOf(placed), ...spendingColumnsOf(placed)],
  )
  return new Set(rows[0]?.accounts)
}

function columnsOf(placed: readonly Placed[]): Buffer[] {
  const of = (column: (one: Placed) => string) => textArray(placed.map(column))
  return [
    of(({ delivery }) => delivery.requestId),
    of(({ accountId }) => accountId),
    of(({ key }) => key),
    of(({ request }) => request.reservation.idempotencyKey),
    of(({ request }) => request.reservation.bodyHash),
    of(({ delivery }) => delivery.receipt.modelId),
    of(({ delivery }) => delivery.receipt.provider),
    of(({ delivery }) => `${delivery.receipt.purpose}`),
    of(({ request }) => request.reservation.units.toString()),
    of(({ request }) => request.reservation.unitPrice.toString()),
    of(({ request }) => request.reservation.max.toString()),
    of(({ request }) => request.reservation.owner),
    of(({ request }) => `${request.reservedAt}`),
    of(({ committed }) => committed.sequence.toString()),
    of(({ committed }) => committed.previousHead),
    of(({ committed }) => committed.head),
    of(({ delivery }) => delivery.charged.toString()),
    of(({ delivery }) => `${delivery.receipt.servedAt}`),
    of(({ delivery }) => receiptJson(delivery.receipt)),
    of(({ delivery }) => delivery.providerSignature),
    bytesArray(placed.map(({ delivery, committed }) => storedAnswerOf(delivery, committed.answer))),
  ]
}

interface Total {
  accountId: string
  charged: bigint
  first: Committed
  last: Committed
}

/** In id order, in which all who lock accounts lock them. */
function totalColumnsOf(placed: readonly Placed[]): Buffer[] {
  const totals = new Map<string, Total>()
  for (const { accountId, delivery, committed } of placed) {
    const total = totals.get(accountId)
    if (!total) totals.set(accountId, { accountId, charged: delivery.charged, first: committed, last: committed })
    else Object.assign(total, { charged: total.charged + delivery.charged, last: committed })
  }
  const sorted = [...totals.values()].sort((a, b) => (a.accountId < b.accountId ? -1 : 1))
  const of = (column: (one: Total) => string) => textArray(sorted.map(column))
  return [
    of(({ accountId }) => accountId),
    of(({ charged }) => charged.toString()),
    of(({ first }) => (first.sequence - 1n).toString()),
    of(({ last }) => last.sequence.toString()),
    of(({ first }) => first.previousHead),
    of(({ last }) => last.head),
  ]
}

function spendingColumnsOf(placed: readonly Placed[]): Buffer[] {
  const spending = new Map<string, { accountId: string; key: string; charged: bigint }>()
  for (const { accountId, key, delivery } of placed) {
    const id = `${accountId}:${key}`
    const charged = (spending.get(id)?.charged ?? 0n) + delivery.charged
    spending.set(id, { accountId, key, charged })
  }
  const all = [...spending.values()]
  return [
    textArray(all.map(({ accountId }) => accountId)),
    textArray(all.map(({ key }) => key)),
    textArray(all.map(({ charged }) => charged.toString())),
  ]
}

/** What a repeat of the request will be answered with. */
export function storedAnswerOf({ sealAnswer }: Delivery, answer: Uint8Array): Uint8Array | null {
  return sealAnswer ? sealAnswer(answer) : null
}

export function receiptJson(receipt: JobReceipt): string {
  return JSON.stringify({ ...receipt, units: receipt.units.toString(), unitPrice: receipt.unitPrice.toString() })
}
