import type { Stage } from './stage.ts'

const CHUNK = 50_000

/** Settled requests with receipts, spread over the known accounts, until the ledger holds `total` requests. */
export async function fillHistory(stage: Stage, total: number): Promise<void> {
  await stage.select(
    `INSERT INTO batches (batch_id, collector, state, lanes, rows, leaves, cid) VALUES ('bench', '', 'FINAL', '[]', '[]', '[]', 'bench')
     ON CONFLICT (batch_id) DO NOTHING`,
  )
  const [counted] = await stage.select<{ count: string }>('SELECT count(*) FROM requests')
  const [lowest] = await stage.select<{ low: string }>('SELECT least(0, coalesce(min(sequence), 0)) AS low FROM receipts')
  let missing = total - Number(counted?.count)
  // Below zero, where no receipt of the gateway's stands.
  for (let start = -Number(lowest?.low); missing > 0; start += CHUNK, missing -= CHUNK) {
    await stage.select(INSERT_CHUNK, [start + 1, start + Math.min(CHUNK, missing)])
  }
  await stage.select('VACUUM ANALYZE')
  await stage.select('CHECKPOINT')
}

const INSERT_CHUNK = `
WITH known AS (
  SELECT account_id, payer, row_number() OVER (ORDER BY account_id) - 1 AS number, count(*) OVER () AS total FROM accounts
), made AS (
  SELECT '0x' || encode(sha256(('bench ' || n)::bytea), 'hex') AS id, k.account_id, k.payer, n
  FROM generate_series($1::int, $2::int) AS n JOIN known k ON k.number = n % k.total
), requested AS (
  INSERT INTO requests (request_id, account_id, key, idempotency_key, body_hash, model_id, provider, purpose, units, unit_price, max,
    charged, state, owner, reserved_at, batch_id)
  SELECT id, account_id, payer, 'bench ' || n, id, id, payer, 1, 1, 1, 1, 1, 'FINAL', 'bench', 0, 'bench' FROM made
)
INSERT INTO receipts (request_id, account_id, sequence, previous_head, head, served_at, receipt, provider_signature)
SELECT id, account_id, -n, id, id, 0, json_build_object('jobId', id, 'units', '1', 'unitPrice', '1'), id FROM made`
