import type { Head } from '../../core/chain-records.ts'
import type { NewPayment, Payment, PaymentId, PaymentLedger, PaymentState } from '../../core/payment-ledger.ts'
import type { RequestState } from '../../core/selling-ledger.ts'
import { learnAccount } from './accounts.ts'
import type { Database, Query } from './database.ts'
import { claimMirror } from './mirror.ts'

interface PaymentRow {
  payer: string
  nonce: string
  router: string
  value: string
  valid_after: string
  valid_before: string
  signature: string
  request_id: string
  body_hash: string
  owner: string
  state: PaymentState
  raw: string | null
  transaction_hash: string | null
  transaction_nonce: string | null
  settled_in: string | null
  delivery: Uint8Array | null
  reason: string | null
  request_state: RequestState | null
  request_identity: string | null
  charged: string | null
}

const PAYMENTS = `SELECT p.*, q.state AS request_state, q.idempotency_key AS request_identity, q.charged FROM payments p LEFT JOIN requests q USING (request_id)`

/** x402 payments: their requests' money goes through reserve, commit and batches like any other; here is how it came. */
export function openPayments(database: Database): PaymentLedger {
  const { query, transaction } = database
  const one = async (where: string, values: readonly unknown[]) => {
    const { rows } = await query<PaymentRow>(`${PAYMENTS} WHERE ${where} LIMIT 1`, values)
    return rows[0] ? paymentOf(rows[0]) : null
  }
  return {
    ...openChanges(database),
    openHouse: (accountId, config) =>
      transaction(async (under) => {
        await learnAccount(under, accountId, config)
        await under('UPDATE accounts SET house = true WHERE account_id = $1', [accountId])
      }),

    openPayment: (payment, funds) => transaction((under) => openPayment(under, payment, funds)),

    payment: ({ payer, nonce }) => one('p.payer = $1 AND p.nonce = $2', [payer, nonce]),

    paymentOf: (requestId) => one('p.request_id = $1', [requestId]),

    paymentFor: (accountId, identity) =>
      one(
        `q.account_id = $1 AND q.idempotency_key = $2 AND q.idempotency_key <> q.request_id AND q.state <> 'RELEASED' AND p.state <> 'RELEASED'`,
        [accountId, identity],
      ),

    async openPayments(owner, limit) {
      const { rows } = await query<PaymentRow>(
        `${PAYMENTS} WHERE p.owner = $1 AND (p.state IN ('RESERVED', 'SENT') OR p.delivery IS NOT NULL) ORDER BY p.valid_before LIMIT $2`,
        [owner, limit],
      )
      return rows.map(paymentOf)
    },

    // What is done leaves the index of what is held, so that looking through it does not grow with history.
    async closePayments(router, least) {
      const { rowCount } = await query(
        `UPDATE payments p SET state = 'RETURNED' FROM requests q WHERE q.request_id = p.request_id AND p.router = $1
           AND p.state = 'SETTLED' AND p.delivery IS NULL AND q.state = 'FINAL' AND p.value - q.charged < $2`,
        [router, least],
      )
      return rowCount ?? 0
    },

    async returnable(router, { endedBefore, least, limit }) {
      const { rows } = await query<PaymentRow>(
        `${PAYMENTS} WHERE p.router = $1 AND p.delivery IS NULL AND (
           (p.state = 'RELEASED' AND p.valid_before < $2) OR p.state = 'RETURNING' OR (p.state = 'SETTLED' AND (
             (q.state IN ('VOIDED', 'RELEASED') AND p.value >= $3) OR (q.state = 'FINAL' AND p.value - q.charged >= $3)))
         ) ORDER BY p.valid_before LIMIT $4`,
        [router, endedBefore, least, limit],
      )
      return rows.map(paymentOf)
    },

    async unplacedPayments(router, { upTo, limit }) {
      const { rows } = await query<PaymentRow>(
        `${PAYMENTS} WHERE p.router = $1 AND p.unplaced AND p.settled_block <= $2 ORDER BY p.settled_block LIMIT $3`,
        [router, upTo, limit],
      )
      return rows.map(paymentOf)
    },
  }
}

function openChanges({ query, transaction }: Database) {
  const change = async (set: string, { payer, nonce }: PaymentId, values: readonly unknown[] = []): Promise<boolean> => {
    const { rowCount } = await query(`UPDATE payments SET ${set} AND payer = $1 AND nonce = $2`, [payer, nonce, ...values])
    return rowCount === 1
  }
  return {
    async paymentDelivered(id: PaymentId, delivery: Uint8Array) {
      await change(`delivery = $3 WHERE state = 'RESERVED'`, id, [delivery])
    },
    async paymentSent(id: PaymentId, transaction: { raw: string; hash: string; nonce: number }) {
      const { raw, hash, nonce } = transaction
      const set = `state = 'SENT', raw = $3, transaction_hash = $4, transaction_nonce = $5 WHERE state IN ('RESERVED', 'SENT')`
      await change(set, id, [raw, hash, nonce])
    },
    async paymentSettled(id: PaymentId, { transaction, block }: { transaction: string; block: number }) {
      const set = `state = 'SETTLED', settled_in = $3, settled_block = $4, unplaced = true WHERE state IN ('RESERVED', 'SENT')`
      await change(set, id, [transaction, block])
    },
    placePayment: ({ payer, nonce }: PaymentId, placed: { transaction: string; head: Head } | null) =>
      transaction(async (under) => {
        // No reorganisation comes in between.
        await claimMirror(under)
        await under(
          `UPDATE payments SET unplaced = false, settled_in = coalesce($3, settled_in), settled_block = $4
           WHERE payer = $1 AND nonce = $2 AND unplaced AND ($4::int IS NULL OR EXISTS (SELECT FROM blocks WHERE number = $4 AND hash = $5))`,
          [payer, nonce, placed?.transaction ?? null, placed?.head.number ?? null, placed?.head.hash ?? null],
        )
      }),
    async paymentAnswered(id: PaymentId) {
      await change(`delivery = NULL WHERE state = 'SETTLED'`, id)
    },
    async releasePayment(id: PaymentId, reason: string) {
      await change(`state = 'RELEASED', delivery = NULL, reason = $3 WHERE state IN ('RESERVED', 'SENT')`, id, [reason])
    },
    movePayment(id: PaymentId, { from, to, settledIn, block }: Parameters<PaymentLedger['movePayment']>[1]) {
      const set = `state = $3::payment_state, settled_in = coalesce($4, settled_in), settled_block = coalesce($5, settled_block),
        unplaced = unplaced OR $5 IS NOT NULL WHERE state = $6::payment_state`
      return change(set, id, [to, settledIn ?? null, block ?? null, from])
    },
  }
}

/** All that a payer has open is promised to us, not yet ours: together it must be there, or a few coins would buy many jobs. */
async function openPayment(query: Query, payment: NewPayment, funds: { balance: bigint; block: number } | null) {
  const { payer, nonce, router, value, validAfter, validBefore, signature, requestId, bodyHash, owner } = payment
  await query('SELECT pg_advisory_xact_lock(hashtextextended($1, 402))', [payer])
  if (funds !== null) {
    const { rows } = await query<{ open: string }>(
      `SELECT coalesce(sum(value), 0) AS open FROM payments
       WHERE payer = $1 AND nonce <> $2 AND (state IN ('RESERVED', 'SENT') OR settled_block > $3)`,
      [payer, nonce, funds.block],
    )
    const open = BigInt(rows[0]?.open ?? 0)
    if (open + value > funds.balance) return { ok: false, reason: 'insufficient', open } as const
  }
  const { rowCount } = await query(
    `INSERT INTO payments (payer, nonce, router, value, valid_after, valid_before, signature, request_id, body_hash, owner)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
     ON CONFLICT (payer, nonce) DO UPDATE SET router = excluded.router, value = excluded.value, valid_after = excluded.valid_after,
       valid_before = excluded.valid_before, signature = excluded.signature, request_id = excluded.request_id,
       body_hash = excluded.body_hash, owner = excluded.owner, state = 'RESERVED', raw = NULL, transaction_hash = NULL,
       transaction_nonce = NULL, reason = NULL
     WHERE payments.state = 'RELEASED'`,
    [payer, nonce, router, value, validAfter, validBefore, signature, requestId, bodyHash, owner],
  )
  return rowCount === 1 ? ({ ok: true } as const) : ({ ok: false, reason: 'taken' } as const)
}

function paymentOf(row: PaymentRow): Payment {
  const { raw, transaction_hash: hash, transaction_nonce: nonce } = row
  return {
    payer: row.payer,
    nonce: row.nonce,
    router: row.router,
    value: BigInt(row.value),
    validAfter: Number(row.valid_after),
    validBefore: Number(row.valid_before),
    signature: row.signature,
    requestId: row.request_id,
    bodyHash: row.body_hash,
    owner: row.owner,
    state: row.state,
    transaction: raw === null || hash === null || nonce === null ? null : { raw, hash, nonce: Number(nonce) },
    settledIn: row.settled_in,
    delivery: row.delivery ? new Uint8Array(row.delivery) : null,
    requestState: row.request_state,
    requestIdentity: row.request_identity,
    charged: BigInt(row.charged ?? 0),
    reason: row.reason,
  }
}
