import pg from 'pg'
import { identityOf } from '../../services/gateway/repeats.ts'
import type { World } from '../story/world.ts'
import type { Bought } from './buyers.ts'
import type { Coins } from './coin-buyers.ts'

/** What a run must end with: the ledger, the chain and the buyers tell the same story, to the unit. */
export interface Audit {
  final: number
  released: number
  /** By reason. */
  voided: Record<string, number>
  findings: string[]
}

/** Requests that have not come to an end yet, and leases that nobody uses any more. */
export async function unfinished(databaseUrl: string): Promise<number> {
  const [row] = await ask<{ count: string }>(
    databaseUrl,
    `SELECT (SELECT count(*) FROM requests WHERE state NOT IN ('FINAL', 'RELEASED', 'VOIDED')) + (SELECT count(*) FROM leases) AS count`,
  )
  return Number(row?.count)
}

/** Payments of which something may still come or go. */
export async function openPayments(databaseUrl: string): Promise<number> {
  const [row] = await ask<{ count: string }>(
    databaseUrl,
    `SELECT count(*) FROM payments WHERE unplaced OR state NOT IN ('RETURNED', 'CLOSED')`,
  )
  return Number(row?.count)
}

interface Told {
  databaseUrl: string
  world: World
  bought: readonly Bought[]
  coins: readonly Coins[]
}

export async function auditBooks(options: Told): Promise<Audit> {
  const { databaseUrl } = options
  const states = await ask<{ state: string; reason: string | null; count: string }>(
    databaseUrl,
    'SELECT state, reason, count(*) FROM requests GROUP BY state, reason',
  )
  const count = (state: string) => states.filter((row) => row.state === state).reduce((sum, row) => sum + Number(row.count), 0)
  const voided = Object.fromEntries(
    states.filter(({ state }) => state === 'VOIDED').map(({ reason, count }) => [String(reason), Number(count)]),
  )
  const findings = [
    ...(await findRows(databaseUrl)),
    ...(await findCharges(options)),
    ...(await findCoins(options)),
    ...(await findDifferences(options)),
  ]
  return { final: count('FINAL'), released: count('RELEASED'), voided, findings }
}

/** Each statement names rows that must not exist. */
const impossible: Record<string, string> = {
  'a request that has not ended': `SELECT request_id FROM requests WHERE state NOT IN ('FINAL', 'RELEASED', 'VOIDED')`,
  'a voided request without a reason': `SELECT request_id FROM requests WHERE state = 'VOIDED' AND reason IS NULL`,
  'an idempotency key charged twice': `SELECT idempotency_key FROM requests WHERE state <> 'RELEASED'
    GROUP BY account_id, idempotency_key HAVING count(*) > 1`,
  'a final request outside a final batch': `SELECT request_id FROM requests q LEFT JOIN batches b USING (batch_id)
    WHERE q.state = 'FINAL' AND b.state IS DISTINCT FROM 'FINAL'`,
  'a charge without a receipt': `SELECT request_id FROM requests q LEFT JOIN receipts c USING (request_id)
    WHERE q.state IN ('FINAL', 'VOIDED') AND c.request_id IS NULL`,
  'a released request with a receipt': `SELECT request_id FROM requests JOIN receipts USING (request_id) WHERE state = 'RELEASED'`,
  'a request whose entries do not add up to zero': `SELECT request_id FROM entries WHERE request_id IS NOT NULL
    GROUP BY request_id HAVING sum(amount) <> 0`,
  'a batch whose entries do not add up to zero': `SELECT batch_id FROM entries WHERE batch_id IS NOT NULL
    GROUP BY batch_id HAVING sum(amount) <> 0`,
  'a voided request that somebody still owes': `SELECT request_id FROM entries JOIN requests USING (request_id) WHERE state = 'VOIDED'
    GROUP BY request_id, ledger_account HAVING sum(amount) <> 0`,
  'a reservation of a request that does not run': `SELECT request_id FROM reservations`,
  'a lease that nothing runs on': `SELECT account_id FROM leases`,
  'a charge that waits for the chain and has ended': `SELECT request_id FROM unsettled`,
  'an account whose receipts have a gap': `SELECT account_id FROM receipts GROUP BY account_id HAVING max(sequence) <> count(*)`,
  'an account that owes another sum than its requests': `SELECT a.account_id FROM accounts a LEFT JOIN requests q
    ON q.account_id = a.account_id AND q.state = 'FINAL' GROUP BY a.account_id, a.charged HAVING a.charged <> coalesce(sum(q.charged), 0)`,
}

async function findRows(databaseUrl: string): Promise<string[]> {
  const findings: string[] = []
  for (const [what, statement] of Object.entries(impossible)) {
    const rows = await ask<Record<string, unknown>>(databaseUrl, `${statement} LIMIT 5`)
    if (rows.length > 0) findings.push(`${what}: ${rows.map((row) => Object.values(row)[0]).join(', ')}`)
  }
  return findings
}

interface Charge {
  request_id: string
  key: string
  idempotency_key: string
  charged: string
}

/** Each buyer was charged once for each key, as much as it was told, and for nothing that it did not ask for. */
async function findCharges({ databaseUrl, bought }: Told): Promise<string[]> {
  const findings: string[] = []
  for (const buyer of bought) {
    const rows = await ask<Charge>(
      databaseUrl,
      `SELECT request_id, key, idempotency_key, charged FROM requests WHERE account_id = $1 AND state <> 'RELEASED'`,
      [buyer.accountId],
    )
    const { wrong, left } = answersIn(rows, buyer)
    findings.push(...wrong, ...left.flatMap((row) => whatIsWrongWithStream(row, buyer) ?? []))
  }
  return findings
}

/** `left`: charges for which no whole answer came. */
function answersIn(rows: readonly Charge[], { accountId, charges }: Bought): { wrong: string[]; left: Charge[] } {
  const wrong: string[] = []
  const booked = new Map(rows.map((row) => [row.idempotency_key, row]))
  const keys = [...new Set(rows.map(({ key }) => key))]
  for (const [idempotencyKey, charged] of charges) {
    // The books know a request by the digest of what its buyer calls it.
    const digest = keys.map((key) => identityOf({ accountId, key, idempotencyKey }).digest).find((one) => booked.has(one)) ?? ''
    const found = booked.get(digest)?.charged
    if (found !== charged.toString())
      wrong.push(`${accountId} was told ${charged} for ${idempotencyKey}, the books have ${found}`)
    booked.delete(digest)
  }
  return { wrong, left: [...booked.values()] }
}

/** With a receipt a stream costs what that says; cut short without one, at most what came, unless its buyer hung up. */
function whatIsWrongWithStream({ request_id, charged }: Charge, { accountId, streams }: Bought): string | null {
  const stream = streams.get(request_id)
  if (!stream) return `${accountId} was charged ${charged} for ${request_id}, and has no answer`
  const { told, came, left } = stream
  if (told !== null)
    return told === BigInt(charged) ? null : `${accountId} was told ${told} for ${request_id}, the books have ${charged}`
  return left || BigInt(charged) <= came ? null : `${accountId} was charged ${charged} for ${request_id}, of which ${came} came`
}

/** Who paid by x402 has lost exactly what its final requests were charged, and each answer that came is one of them, or was given back. */
async function findCoins({ databaseUrl, world, coins }: Told): Promise<string[]> {
  const findings: string[] = []
  for (const { payer, funds, charges } of coins) {
    const rows = await ask<{ request_id: string; state: string; charged: string }>(
      databaseUrl,
      'SELECT q.request_id, q.state, q.charged FROM payments p JOIN requests q USING (request_id) WHERE p.payer = $1',
      [payer],
    )
    const booked = new Map(rows.map((row) => [row.request_id, row]))
    for (const [requestId, charged] of charges) {
      const row = booked.get(requestId)
      const holds = row?.charged === charged.toString() && (row.state === 'FINAL' || row.state === 'VOIDED')
      if (!holds) findings.push(`${payer} was told ${charged} for ${requestId}, which is ${row?.state} at ${row?.charged}`)
    }
    const final = rows.filter(({ state }) => state === 'FINAL').reduce((sum, row) => sum + BigInt(row.charged), 0n)
    const spent = funds - (await world.balanceOf(payer))
    if (spent !== final) findings.push(`${payer} has spent ${spent}, and its final requests cost ${final}`)
  }
  return findings
}

/** What the chain charged each account is what the books call final, and every credit is where the books have it. */
async function findDifferences({ databaseUrl, world }: Told): Promise<string[]> {
  const findings: string[] = []
  const accounts = await ask<{ account_id: string; final: string }>(
    databaseUrl,
    `SELECT a.account_id, coalesce(sum(q.charged) FILTER (WHERE q.state = 'FINAL'), 0) AS final
     FROM accounts a LEFT JOIN requests q USING (account_id) GROUP BY a.account_id`,
  )
  for (const { account_id, final } of accounts) {
    const { charged } = await world.read<{ charged: bigint }>('InferenceEscrow', 'balance', account_id)
    if (charged !== BigInt(final)) findings.push(`${account_id}: the chain charged ${charged}, the ledger ${final}`)
  }
  const credits = await ask<{ ledger_account: string; amount: string }>(
    databaseUrl,
    `SELECT ledger_account, sum(amount) AS amount FROM entries
     WHERE ledger_account LIKE 'provider:%' OR ledger_account LIKE 'collector:%' GROUP BY ledger_account`,
  )
  for (const { ledger_account, amount } of credits) {
    const credit = await world.read<bigint>('InferenceEscrow', 'credit', ledger_account.split(':')[1])
    if (credit !== BigInt(amount)) findings.push(`${ledger_account}: the chain has ${credit}, the ledger ${amount}`)
  }
  const [held, owed] = [
    await world.balanceOf(world.options.contracts.InferenceEscrow ?? ''),
    await world.read<bigint>('InferenceEscrow', 'owed'),
  ]
  if (held !== owed) findings.push(`the escrow holds ${held} and owes ${owed}`)
  return findings
}

async function ask<T extends pg.QueryResultRow>(url: string, text: string, values: unknown[] = []): Promise<T[]> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000, query_timeout: 60_000 })
  await client.connect()
  try {
    return (await client.query<T>(text, values)).rows
  } finally {
    await client.end()
  }
}
