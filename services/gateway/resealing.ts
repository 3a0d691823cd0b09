import type { SealedLedger } from '../core/ports.ts'
import { ANSWERS } from './repeats.ts'
import { openSeals, type Seals } from './seals.ts'
import { openEscrowSeals } from './vault.ts'

export interface Resealed {
  resealed: number
  /** Sealed under the first master key already: by an earlier run, or by a gateway since. */
  current: number
  /** API keys that none of the master keys opens. */
  failed: string[]
  /** Stored answers that another master key sealed. They can't be sealed anew without their clients: they are forgotten in time. */
  answersLeft: number
  lastAnswerReservedAt: number | null
}

const PAGE = 200

/**
 * Seals every escrow key anew under the first of the master keys, opening it with whichever it needs. Each row by itself and
 * only if it is as it was read: it can be interrupted, repeated, and run beside gateways that have both keys.
 */
export async function resealAll(ledger: SealedLedger, masterKeys: readonly Uint8Array[]): Promise<Resealed> {
  const seals = openEscrowSeals(masterKeys)
  const done = { resealed: 0, current: 0, failed: [] as string[] }
  for (let after = ''; ; ) {
    const page = await ledger.sealedKeys({ after, limit: PAGE })
    for (const row of page) {
      const outcome = await resealOne(ledger, seals, row)
      if (outcome === 'failed') done.failed.push(row.keyId)
      else done[outcome] += 1
    }
    const last = page.at(-1)
    if (!last || page.length < PAGE) break
    after = last.keyId
  }
  const { count, lastReservedAt } = await ledger.answersNotUnder(openSeals(masterKeys, ANSWERS).prefix)
  return { ...done, answersLeft: count, lastAnswerReservedAt: lastReservedAt }
}

async function resealOne(
  ledger: SealedLedger,
  seals: Seals,
  { keyId, sealed }: { keyId: string; sealed: string },
): Promise<'resealed' | 'current' | 'failed'> {
  const bytes = Buffer.from(sealed, 'base64url')
  const isCurrent = bytes.subarray(0, seals.prefix.length).equals(seals.prefix)
  let opened: Buffer
  try {
    opened = seals.open(bytes, { context: keyId })
  } catch {
    return 'failed'
  }
  if (isCurrent) return 'current'
  const to = seals.seal(opened, { context: keyId }).toString('base64url')
  // Another run was faster: what it wrote is under the same key.
  return (await ledger.resealKey(keyId, { from: sealed, to })) ? 'resealed' : 'current'
}
