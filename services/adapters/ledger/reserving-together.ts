import type { Reservation, Reserved } from '../../core/selling-ledger.ts'
import { textArray } from './arrays.ts'
import type { Query } from './database.ts'

export interface Asked {
  reservation: Reservation
  /** Chain time. */
  now: number
}

const OK: Reserved = { ok: true }

/** Reserves what certainly fits, in one call (prisma/migrations/0009_fewer_writes); undefined for what has to be judged alone. */
export async function reserveTogether(query: Query, asked: readonly Asked[]): Promise<(Reserved | undefined)[]> {
  const { rows } = await query<{ reserved: string[] | null }>(
    'SELECT reserve_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) AS reserved',
    columnsOf(asked),
  )
  const only = rows[0]?.reserved
  if (!only) return asked.map(() => OK)
  const reserved = new Set(only)
  return asked.map(({ reservation }) => (reserved.delete(reservation.requestId) ? OK : undefined))
}

function columnsOf(asked: readonly Asked[]): Buffer[] {
  const of = (column: (reservation: Reservation) => string | null) =>
    textArray(asked.map(({ reservation }) => column(reservation)))
  return [
    of(({ requestId }) => requestId),
    of(({ accountId }) => accountId),
    of(({ key }) => key),
    of(({ idempotencyKey }) => idempotencyKey),
    of(({ bodyHash }) => bodyHash),
    of(({ modelId }) => modelId),
    of(({ provider }) => provider),
    of(({ purpose }) => `${purpose}`),
    of(({ units }) => units.toString()),
    of(({ unitPrice }) => unitPrice.toString()),
    of(({ max }) => max.toString()),
    of(({ owner }) => owner),
    of(({ dispatched }) => (dispatched ? 'DISPATCHED' : 'RESERVED')),
    textArray(asked.map(({ now }) => `${now}`)),
    of(({ voucher }) => voucher?.ceiling.toString() ?? null),
    of(({ voucher }) => voucher?.usageHead ?? null),
    of(({ voucher }) => voucher?.signature ?? null),
  ]
}
