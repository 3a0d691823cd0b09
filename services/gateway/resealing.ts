import { GranaryError } from '../core/errors.ts'
import type { SealedLedger } from '../core/selling-ledger.ts'
import { ANSWERS } from './repeats.ts'
import { openSeals, type Seals } from './seals.ts'
import { openEscrowSeals } from './vault.ts'
import { DELIVERIES } from './x402/deliveries.ts'

/** Of things of one kind. */
export interface Count {
  resealed: number
  /** Sealed under the first master key already, by an earlier run or by a gateway since, or not needed any more. */
  current: number
  /** Ids of those that none of the master keys opens. */
  failed: string[]
}

export interface Resealed {
  /** By the ids of their API keys. */
  escrowKeys: Count
  /** What was computed for x402 payments under way, by request. */
  deliveries: Count
  /** Stored answers that another master key sealed. They can't be sealed anew without their clients: they are forgotten in time. */
  answersLeft: number
  lastAnswerReservedAt: number | null
}

const PAGE = 200

/**
 * Seals every escrow key and delivery anew under the first of the master keys, opening it with whichever it needs. Each row by
 * itself and only if it is as it was read: it can be interrupted, repeated, and run beside gateways that have both keys.
 */
export async function resealAll(ledger: SealedLedger, masterKeys: readonly Uint8Array[]): Promise<Resealed> {
  const escrowKeys = await reseal(openEscrowSeals(masterKeys), {
    page: async (after) => {
      const rows = await ledger.sealedKeys({ after, limit: PAGE })
      return rows.map(({ keyId, sealed }) => ({ id: keyId, sealed: Buffer.from(sealed, 'base64url') }))
    },
    replace: (keyId, { from, to }) => ledger.resealKey(keyId, { from: from.toString('base64url'), to: to.toString('base64url') }),
  })
  const deliveries = await reseal(openSeals(masterKeys, DELIVERIES), {
    page: async (after) => {
      const rows = await ledger.sealedDeliveries({ after, limit: PAGE })
      return rows.map(({ requestId, sealed }) => ({ id: requestId, sealed: Buffer.from(sealed) }))
    },
    replace: (requestId, change) => ledger.resealDelivery(requestId, change),
  })
  const { count, lastReservedAt } = await ledger.answersNotUnder(openSeals(masterKeys, ANSWERS).prefix)
  return { escrowKeys, deliveries, answersLeft: count, lastAnswerReservedAt: lastReservedAt }
}

/** Rows whose id is also the context that they are sealed for. */
interface SealedRows {
  page(after: string): Promise<{ id: string; sealed: Buffer }[]>
  replace(id: string, change: { from: Buffer; to: Buffer }): Promise<boolean>
}

async function reseal(seals: Seals, rows: SealedRows): Promise<Count> {
  const done: Count = { resealed: 0, current: 0, failed: [] }
  for (let after = ''; ; ) {
    const page = await rows.page(after)
    for (const row of page) {
      const outcome = await resealOne(seals, rows, row)
      if (outcome === 'failed') done.failed.push(row.id)
      else done[outcome] += 1
    }
    const last = page.at(-1)
    if (!last || page.length < PAGE) return done
    after = last.id
  }
}

async function resealOne(
  seals: Seals,
  rows: SealedRows,
  { id, sealed }: { id: string; sealed: Buffer },
): Promise<'resealed' | 'current' | 'failed'> {
  let opened: Buffer
  try {
    opened = seals.open(sealed, { context: id })
  } catch (error) {
    if (error instanceof GranaryError && error.code === 'credential.ended') return 'failed'
    throw error
  }
  if (sealed.subarray(0, seals.prefix.length).equals(seals.prefix)) return 'current'
  // Another run was faster: what it wrote is under the same key.
  return (await rows.replace(id, { from: sealed, to: seals.seal(opened, { context: id }) })) ? 'resealed' : 'current'
}
