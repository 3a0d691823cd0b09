import { randomBytes } from 'node:crypto'
import { toUtf8Bytes } from 'ethers'
import type { Head } from '../../../services/core/chain-records.ts'
import type { Mirror } from '../../../services/core/mirror-ledger.ts'
import type { Ledger } from '../../../services/core/ports.ts'
import type { AccountConfig, Committed, Delivery, Reservation } from '../../../services/core/selling-ledger.ts'
import type { BatchDraft, BatchOutcome } from '../../../services/core/settlement-ledger.ts'

export interface TestAccount {
  accountId: string
  config: AccountConfig
  key: string
}

/** Reads beside the port: what it promises but does not show. */
export interface Book {
  /** Requests and batches whose entries do not add up to zero. */
  sumsOfRequests(): Promise<string[]>
  sumsOfBatches(): Promise<string[]>
  balance(ledgerAccount: string): Promise<bigint>
  nextHead(): Promise<Head>
}

/** A ledger under test; `reopen` gives another on the same state, as after a kill or beside the first. */
export interface OpenLedger {
  ledger: Ledger
  reopen: () => Promise<Ledger>
  book: Book
}

export const PROVIDER = `0x${'22'.repeat(20)}`

export function hex(bytes: number): string {
  return `0x${randomBytes(bytes).toString('hex')}`
}

export function newAccount(): TestAccount {
  const payer = hex(20)
  return { accountId: hex(32), config: { payer, collector: hex(20), thawSeconds: 600, salt: hex(32) }, key: payer }
}

export function headAfter(cursor: Head | null): Head {
  const number = (cursor?.number ?? 0) + 1
  return { number, hash: hex(32), parentHash: cursor?.hash ?? hex(32), timestamp: 1_700_000_000 + number }
}

/** Mirrors the account (and its key, when that was granted) as the chain would show it, and signs a ceiling. */
export async function fund(
  ledger: Ledger,
  account: TestAccount,
  chain: {
    deposit: bigint
    charged?: bigint
    thawing?: bigint
    ceiling?: bigint
    cap?: bigint
    spent?: bigint
    notAfter?: number
    revokedAt?: number
  },
): Promise<TestAccount> {
  const { accountId, config, key } = account
  const { deposit, charged = 0n, thawing = 0n, ceiling = 0n, cap, spent = 0n, notAfter = 2 ** 32, revokedAt = 0 } = chain
  const head = headAfter(await ledger.cursor())
  const own = cap === undefined ? charged : charged - spent
  const state = {
    ...config,
    deposit: `${deposit}`,
    charged: `${charged}`,
    ownSpent: `${own}`,
    thawing: `${thawing}`,
    thawEndsAt: 0,
  }
  const mirrors: Mirror[] = [{ kind: 'account', id: accountId, block: head.number, state }]
  if (cap !== undefined) {
    const granted = { cap: `${cap}`, spent: `${spent}`, notAfter, revokedAt, nonce: 1 }
    mirrors.push({ kind: 'key', id: `${accountId}:${key}`, block: head.number, state: granted })
  }
  await ledger.apply({ head, events: [], mirrors })
  if (ceiling > 0n) await ledger.acceptVoucher({ accountId, key, ceiling, usageHead: hex(32), signature: hex(65) })
  return account
}

export function order(
  { accountId, key }: Pick<TestAccount, 'accountId' | 'key'>,
  overrides: Partial<Reservation> = {},
): Reservation {
  return {
    requestId: hex(32),
    accountId,
    key,
    idempotencyKey: hex(8),
    bodyHash: hex(32),
    modelId: hex(32),
    provider: PROVIDER,
    purpose: 1,
    units: 1n,
    unitPrice: overrides.max ?? 1n,
    max: 1n,
    owner: 'gateway-1',
    ...overrides,
  }
}

/** A ledger that has just been opened leases nothing before it can hear recalls. Charges nothing. */
export async function untilLeasing(ledger: Ledger, account: Pick<TestAccount, 'accountId' | 'key'>): Promise<void> {
  for (let turn = 0; turn < 500; turn += 1) {
    const asked = order(account, { max: 0n, leased: true })
    await ledger.reserve(asked, 1000)
    // Only what has a row of its own can grow.
    const grown = await ledger.extend({ requestId: asked.requestId, max: 0n }, 1000)
    await ledger.release(asked.requestId, 'test')
    // Which gives the lease back.
    await ledger.standing(account.accountId, account.key)
    if (!grown.ok) return
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  throw new Error('nothing is leased')
}

/** The commitments follow from the request, so that delivering the same twice is the same delivery. */
export function deliver(
  reservation: Reservation,
  { charged, servedAt = 1000 }: { charged: bigint; servedAt?: number },
): Delivery {
  const { requestId, modelId, provider, purpose } = reservation
  return {
    requestId,
    charged,
    receipt: {
      jobId: requestId,
      modelId,
      provider,
      purpose,
      consentBlock: 1,
      inputCommitment: requestId,
      outputCommitment: requestId,
      units: 1n,
      unitPrice: charged,
      servedAt,
      computeMicros: 5,
    },
    providerSignature: `0x${'11'.repeat(65)}`,
    answerOf: ({ sequence }) => toUtf8Bytes(`answer ${sequence}`),
    sealAnswer: null,
  }
}

export async function chargeOnce(
  ledger: Ledger,
  account: TestAccount,
  { charged, servedAt, ...overrides }: { charged: bigint; servedAt?: number } & Partial<Reservation>,
): Promise<{ reservation: Reservation; delivery: Delivery; committed: Committed }> {
  const reservation = order(account, { max: charged, ...overrides })
  const reserved = await ledger.reserve(reservation, 1000)
  if (!reserved.ok) throw new Error(`not reserved: ${reserved.reason}`)
  await ledger.dispatched(reservation.requestId, reservation.provider)
  const delivery = deliver(reservation, { charged, ...(servedAt === undefined ? {} : { servedAt }) })
  return { reservation, delivery, committed: await ledger.commit(delivery) }
}

/** All rows and lanes applied: 3 % protocol, 2 % collector, 20 % royalties, each rounded down. */
export function closeAs(draft: BatchDraft, applied: (row: number, lane: number) => boolean = () => true): BatchOutcome {
  const gross = draft.lanes.map((_, lane) =>
    draft.rows.reduce((sum, row, index) => {
      const part = row.parts.find((one) => one.lane === lane)
      return part && applied(index, lane) ? sum + part.amount : sum
    }, 0n),
  )
  const lanes = draft.lanes.map(({ modelId, provider }, lane) => {
    const amount = gross[lane] ?? 0n
    return {
      modelId,
      provider,
      gross: amount,
      protocolFee: (amount * 3n) / 100n,
      collectorFee: (amount * 2n) / 100n,
      royalties: (amount * 20n) / 100n,
    }
  })
  return {
    batchId: draft.batchId,
    transaction: hex(32),
    block: 1,
    blockHash: hex(32),
    skippedRows: [],
    refusedLanes: [],
    lanes: lanes.filter((lane) => lane.gross > 0n),
  }
}

/** One batch with everything that a collector has waiting. */
export function draftAllOptions(collector: string) {
  return { batchId: hex(32), collector, minGross: 0n, servedBefore: 10_000, maxRows: 512, maxLanes: 64 }
}

export async function draftAll(ledger: Ledger, collector: string): Promise<BatchDraft> {
  const draft = await ledger.draftBatch(draftAllOptions(collector))
  if (!draft) throw new Error('There is nothing to draft.')
  return draft
}
