import { CommitRefused } from '../../core/commit-refused.ts'
import { GranaryError } from '../../core/errors.ts'
import { structHashOf } from '../../core/messages.ts'
import type { Committed, Delivery, RequestState, Reserved, SellingLedger, StatementLine } from '../../core/selling-ledger.ts'
import type { AccountRow } from './accounts.ts'
import { BATCH, STATE, UNSETTLED } from './batched.ts'
import { becomeReserved } from './committing-leased.ts'
import { type Charged, commitTogether, endLeased, receiptJson, storedAnswerOf } from './committing-together.ts'
import type { Database, Query } from './database.ts'
import { forgetProgress } from './extending.ts'
import { openGroup } from './group.ts'
import { countSpending } from './limits.ts'
import { openReceiptHeads } from './receipt-heads.ts'
import type { Reserving } from './reserving.ts'

const GROUP = { most: 256, waiting: 10_000, gather: { items: 32, ms: 5 } }

type Refusal = Exclude<Reserved, { ok: true }>

interface OpenRequest {
  key: string
  model_id: string
  purpose: number
  max: string
  charged: string
  state: RequestState
  reserved_at: string
  sequence: string | null
  previous_head: string | null
  head: string | null
  provider_signature: string | null
}

/** Ledger accounts of the double entry. A lane's leaves out the purpose, as the chain's own event does. */
export const ledgerAccount = {
  payer: (accountId: string) => `account:${accountId}`,
  lane: (modelId: string, provider: string) => `lane:${modelId}:${provider}`,
  provider: (provider: string) => `provider:${provider}`,
  royalties: (modelId: string) => `royalties:${modelId}`,
  collector: (collector: string) => `collector:${collector}`,
  protocol: 'protocol',
}

/** Chapter 4, the last step: a delivered job gets its place in the account's receipts and is charged, once. */
export function openCommits(
  { query, call, transaction }: Database,
  { running, leased, leases }: Reserving,
): Pick<SellingLedger, 'commit' | 'statement'> {
  const charging = { query: call, run: leases.run, leased, heads: openReceiptHeads(query) }
  const commitInGroup = openGroup<Delivery, Charged>({
    ...GROUP,
    together: (deliveries) => commitTogether(charging, deliveries),
    alone: commitAlone,
    laneOf: (delivery) => accountOf(delivery) ?? delivery.requestId,
  })

  function accountOf({ requestId }: Delivery): string | undefined {
    return leased.find(requestId)?.reservation.accountId ?? running.find(requestId)?.accountId
  }

  async function commitAlone(delivery: Delivery): Promise<Charged> {
    const request = leased.find(delivery.requestId)
    const accountId = accountOf(delivery)
    const voucher = request?.lease.voucher ?? null
    const done = await transaction(async (under): Promise<{ charged: Charged } | { refused: Refusal }> => {
      const reserved = request && (await becomeReserved(under, { request, delivery, run: leases.run }))
      return reserved && !reserved.ok ? { refused: reserved } : { charged: await commit(under, delivery) }
    })
    request?.lease.keep(voucher)
    if ('refused' in done) {
      if (request) leased.knowRepeater(request.reservation.accountId)
      throw new CommitRefused(done.refused)
    }
    if (request) endLeased(leased, request)
    running.end(delivery.requestId)
    if (accountId) charging.heads.keep(accountId, done.charged)
    return done.charged
  }

  return {
    async commit(delivery) {
      if (!delivery.inSteps) return commitInGroup(delivery)
      const committed = await transaction(async (under) => {
        const charged = await commit(under, delivery)
        await forgetProgress(under, delivery.requestId)
        return charged
      })
      running.end(delivery.requestId)
      return committed
    },

    async statement(accountId, { limit, before, key }) {
      const { rows } = await query<StatementRow>(
        `SELECT c.sequence, c.request_id, q.model_id, q.provider, q.purpose, c.receipt->>'units' AS units, q.charged,
           c.receipt->>'unitPrice' AS receipt_price, ${STATE}, c.served_at, ${BATCH}
         FROM receipts c JOIN requests q USING (request_id) ${UNSETTLED}
         WHERE c.account_id = $1 AND ($2::bigint IS NULL OR c.sequence < $2) AND ($4::text IS NULL OR q.key = $4)
         ORDER BY c.sequence DESC LIMIT $3`,
        [accountId, before ?? null, limit, key ?? null],
      )
      return rows.map(lineOf)
    },
  }
}

async function commit(query: Query, delivery: Delivery): Promise<Charged> {
  const { requestId, charged, receipt, answerOf } = delivery
  const account = await lockAccountOf(query, requestId)
  const request = await lockRequest(query, requestId)
  const jobHash = structHashOf('InferenceEscrow', 'JobReceipt', { ...receipt })
  const headOf = (sequence: bigint, previousHead: string) =>
    structHashOf('InferenceEscrow', 'Receipt', {
      jobHash,
      accountId: account.account_id,
      key: request.key,
      sequence,
      charged,
      previousHead,
    })

  const { sequence: before, previous_head, head: earlierHead } = request
  if (before !== null && previous_head !== null && earlierHead !== null) {
    const committed = { sequence: BigInt(before), previousHead: previous_head, head: earlierHead }
    if (
      headOf(committed.sequence, committed.previousHead) !== earlierHead ||
      request.provider_signature !== delivery.providerSignature
    ) {
      throw new GranaryError('internal', 'The request was committed with another receipt.', { requestId })
    }
    return { ...committed, answer: answerOf({ ...committed, group: [committed.head] }) }
  }
  checkDelivery(request, delivery)
  const sequence = BigInt(account.sequence) + 1n
  const committed = { sequence, previousHead: account.head, head: headOf(sequence, account.head) }
  const answer = answerOf({ ...committed, group: [committed.head] })
  await write(query, { account, request, delivery, committed, answer: storedAnswerOf(delivery, answer) })
  if (account.limited) {
    await countSpending(query, {
      accountId: account.account_id,
      key: request.key,
      charged,
      reservedAt: Number(request.reserved_at),
    })
  }
  return { ...committed, answer }
}

async function lockAccountOf(query: Query, requestId: string): Promise<AccountRow> {
  const { rows } = await query<AccountRow>(
    'SELECT * FROM accounts WHERE account_id = (SELECT account_id FROM requests WHERE request_id = $1) FOR NO KEY UPDATE',
    [requestId],
  )
  if (!rows[0]) throw new GranaryError('internal', 'A delivery for an unknown request.', { requestId })
  return rows[0]
}

/** The row's own lock keeps a release, which takes no account lock, from slipping in. */
async function lockRequest(query: Query, requestId: string): Promise<OpenRequest> {
  const { rows } = await query<OpenRequest>(
    `SELECT q.key, q.model_id, q.purpose, q.max, q.charged, q.state, q.reserved_at, c.sequence, c.previous_head, c.head, c.provider_signature
     FROM requests q LEFT JOIN receipts c USING (request_id) WHERE q.request_id = $1 FOR UPDATE OF q`,
    [requestId],
  )
  if (!rows[0]) throw new GranaryError('internal', 'A delivery for an unknown request.', { requestId })
  return rows[0]
}

function checkDelivery(request: OpenRequest, { requestId, charged, receipt }: Delivery): void {
  if (request.state !== 'RESERVED' && request.state !== 'DISPATCHED') {
    throw new GranaryError('internal', `A ${request.state} request cannot be committed.`, { requestId, state: request.state })
  }
  if (charged < 0n || charged > BigInt(request.max)) {
    throw new GranaryError('internal', 'A request may cost at most what was reserved.', {
      charged: `${charged}`,
      max: request.max,
    })
  }
  if (receipt.modelId !== request.model_id || receipt.purpose !== request.purpose) {
    throw new GranaryError('internal', 'The receipt is for another model or purpose than the reservation.', { requestId })
  }
}

/** Receipt, charge and the account's new head, in one statement. The charged request is the double entry (view `entries`). */
async function write(
  query: Query,
  done: { account: AccountRow; request: OpenRequest; delivery: Delivery; committed: Committed; answer: Uint8Array | null },
): Promise<void> {
  const { account, request, delivery, committed, answer } = done
  const { requestId, charged, receipt, providerSignature } = delivery
  const { account_id: accountId } = account
  await query(
    `WITH charge AS (
       UPDATE requests SET state = 'COMMITTED', charged = $2, provider = $3, reason = NULL WHERE request_id = $1 RETURNING reserved_at
     ), ended AS (
       DELETE FROM reservations WHERE account_id = $5 AND request_id = $1
     ), owed AS (
       INSERT INTO unsettled (request_id, account_id, key, sequence, head, model_id, provider, purpose, charged, served_at)
       VALUES ($1, $5, $12, $6, $8, $14, $3, $15, $2, $9)
     ), answer AS (
       INSERT INTO answers (request_id, reserved_at, answer) SELECT $1, reserved_at, $4::bytea FROM charge WHERE $4::bytea IS NOT NULL
     ), receipt AS (
       INSERT INTO receipts (request_id, account_id, sequence, previous_head, head, served_at, receipt, provider_signature)
       VALUES ($1, $5, $6, $7, $8, $9, $10::jsonb, $11)
     ), spending AS (
       INSERT INTO keys (account_id, key, spent) VALUES ($5, $12, $2 + $13)
       ON CONFLICT (account_id, key) DO UPDATE SET spent = greatest(keys.spent, keys.chain_spent, $13) + $2
     )
     UPDATE accounts SET charged = greatest(charged, chain_charged) + $2, sequence = $6, head = $8 WHERE account_id = $5`,
    [
      requestId,
      charged,
      receipt.provider,
      answer,
      accountId,
      committed.sequence,
      committed.previousHead,
      committed.head,
      receipt.servedAt,
      receiptJson(receipt),
      providerSignature,
      request.key,
      request.key === account.payer ? account.chain_own_spent : '0',
      receipt.modelId,
      receipt.purpose,
    ],
  )
}

interface StatementRow {
  sequence: string
  request_id: string
  model_id: string
  provider: string
  purpose: number
  units: string
  receipt_price: string
  charged: string
  state: RequestState
  served_at: string
  batch_id: string | null
}

function lineOf(row: StatementRow): StatementLine {
  return {
    sequence: BigInt(row.sequence),
    requestId: row.request_id,
    modelId: row.model_id,
    provider: row.provider,
    purpose: row.purpose,
    units: BigInt(row.units),
    unitPrice: BigInt(row.receipt_price),
    charged: BigInt(row.charged),
    state: row.state,
    servedAt: Number(row.served_at),
    batchId: row.batch_id,
  }
}
