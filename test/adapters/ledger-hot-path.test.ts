import { readdirSync, readFileSync } from 'node:fs'
import fc from 'fast-check'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bytesArray, textArray } from '../../services/adapters/ledger/arrays.ts'
import { openDatabase } from '../../services/adapters/ledger/database.ts'
import { openLedger } from '../../services/adapters/ledger/prisma-ledger.ts'
import { openTestServer, type TestServer } from '../support/postgres.ts'
import { chargeOnce, closeAs, draftAll, fund, newAccount } from './conformance/ledger-acts.ts'

const HOT_PATH = '0008_hot_path'
const SETTLING = '0012_settling'

describe('the hot path of the ledger', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await openTestServer()
  })
  afterAll(() => server[Symbol.asyncDispose]())

  it('reads any text and any bytes from binary arrays as they were, NULL too', async () => {
    await using database = await server.database()
    await using client = openDatabase({ url: database.url })
    const text = fc.string({ unit: 'binary' }).filter((some) => !some.includes('\0') && some.isWellFormed())
    const values = fc.array(fc.record({ text: fc.option(text), bytes: fc.option(fc.uint8Array()) }))
    await fc.assert(
      fc.asyncProperty(values, async (sent) => {
        const { rows } = await client.query('SELECT t, b FROM unnest($1::text[], $2::bytea[]) AS u(t, b)', [
          textArray(sent.map((one) => one.text)),
          bytesArray(sent.map((one) => one.bytes)),
        ])
        expect(rows).toEqual(sent.map((one) => ({ t: one.text, b: one.bytes && Buffer.from(one.bytes) })))
      }),
      { numRuns: 50 },
    )
  })

  it('no index looks at what changes in the life of a request, so that a change touches none', async () => {
    await using database = await server.database()
    await using _ledger = await openLedger({ url: database.url })
    const rows = await select(database.url, `SELECT indexdef FROM pg_indexes WHERE tablename = 'requests'`)
    expect(rows).toHaveLength(2)
    for (const { indexdef } of rows) expect(indexdef).not.toMatch(/state|batch_id|charged|provider|reason/)
  })

  it('a request is written when it is charged and when that is final, and not for the batches in between', async () => {
    await using database = await server.database()
    await using ledger = await openLedger({ url: database.url })
    const account = await fund(ledger, newAccount(), { deposit: 100n, ceiling: 100n })
    const { reservation } = await chargeOnce(ledger, account, { charged: 7n, servedAt: 5 })
    const row = () => select(database.url, 'SELECT ctid, state, batch_id FROM requests')
    const shown = async () => {
      const [[line], request] = [
        await ledger.statement(account.accountId, { limit: 1 }),
        await ledger.request(reservation.requestId),
      ]
      const [receipt] = await ledger.receipts(account.accountId, { limit: 1 })
      expect([line?.state, receipt?.state]).toEqual([request?.state, request?.state])
      expect(receipt?.batchId).toBe(line?.batchId)
      return [line?.state, line?.batchId]
    }
    const charged = await row()
    const first = await draftAll(ledger, account.config.collector)
    expect([await row(), await shown()]).toEqual([charged, ['BATCHED', first.batchId]])
    await ledger.dropBatch(first.batchId)
    expect(await shown()).toEqual(['COMMITTED', null])
    const dropped = await row()
    const second = await draftAll(ledger, account.config.collector)
    expect([await row(), await shown()]).toEqual([dropped, ['BATCHED', second.batchId]])
    await ledger.closeBatch(closeAs(second))
    expect(await shown()).toEqual(['FINAL', second.batchId])
    await ledger.reopenBatch(second.batchId)
    expect(await shown()).toEqual(['BATCHED', second.batchId])
    await expect(select(database.url, `UPDATE requests SET state = 'BATCHED'`)).rejects.toThrow('requests_batch')
  })

  it('what an earlier version had written as BATCHED is COMMITTED, and still in its batch', async () => {
    await using database = await server.database()
    const names = readdirSync('prisma/migrations', { withFileTypes: true }).filter((entry) => entry.isDirectory())
    const migrate = (name: string) => select(database.url, readFileSync(`prisma/migrations/${name}/migration.sql`, 'utf8'))
    for (const { name } of names.sort()) if (name < SETTLING) await migrate(name)
    await select(database.url, BATCHED_BEFORE)
    await migrate(SETTLING)
    expect(
      await select(
        database.url,
        'SELECT state, q.batch_id, u.batch_id AS of FROM requests q JOIN unsettled u USING (request_id)',
      ),
    ).toEqual([{ state: 'COMMITTED', batch_id: null, of: 'batch' }])
  })

  it('a ledger from before keeps its books: reservations, what is unsettled, answers, entries, released keys', async () => {
    await using database = await server.database()
    const names = readdirSync('prisma/migrations', { withFileTypes: true }).filter((entry) => entry.isDirectory())
    const migrate = (name: string) => select(database.url, readFileSync(`prisma/migrations/${name}/migration.sql`, 'utf8'))
    for (const { name } of names.sort()) if (name < HOT_PATH) await migrate(name)
    await select(database.url, BEFORE)
    await migrate(HOT_PATH)
    expect(await select(database.url, 'SELECT request_id FROM reservations')).toEqual([{ request_id: 'running' }])
    expect(await select(database.url, 'SELECT request_id, batch_id, sequence FROM unsettled')).toEqual([
      { request_id: 'charged', batch_id: null, sequence: '1' },
    ])
    expect(await select(database.url, 'SELECT request_id FROM answers')).toEqual([{ request_id: 'charged' }])
    const balances = 'SELECT ledger_account, sum(amount)::int AS sum FROM entries WHERE request_id = $1 GROUP BY 1 ORDER BY 1'
    expect(await select(database.url, balances.replace('$1', `'charged'`))).toEqual([
      { ledger_account: 'account:a', sum: -5 },
      { ledger_account: 'lane:m:p', sum: 5 },
    ])
    expect(await select(database.url, balances.replace('$1', `'voided'`))).toEqual([
      { ledger_account: 'account:a', sum: 0 },
      { ledger_account: 'lane:m:p', sum: 0 },
    ])
    expect(await select(database.url, `SELECT released FROM requests WHERE state = 'RELEASED'`)).toEqual([
      { released: 'released' },
    ])
  })
})

/** One request in each state that matters, as the schema before wrote them. */
const BEFORE = `
INSERT INTO accounts (account_id, payer, collector, thaw_seconds, salt, head) VALUES ('a', 'k', 'c', 1, 's', 'h');
INSERT INTO requests (request_id, account_id, key, idempotency_key, body_hash, model_id, provider, purpose, units, unit_price, max, charged,
  owner, reserved_at, state, answer)
SELECT r.id, 'a', 'k', r.idempotency_key, 'b', 'm', 'p', 1, 1, 5, 5, r.charged, 'me', 1, r.state::request_state, r.answer
FROM (VALUES ('running', '1', 0, 'DISPATCHED', NULL::bytea), ('charged', '2', 5, 'COMMITTED', 'sealed'), ('voided', '3', 5, 'VOIDED', NULL),
  ('released', '4', 0, 'RELEASED', NULL)) AS r(id, idempotency_key, charged, state, answer);
INSERT INTO receipts (request_id, account_id, sequence, previous_head, head, served_at, receipt, provider_signature)
VALUES ('charged', 'a', 1, 'h', 'h1', 1, '{}', '0x'), ('voided', 'a', 2, 'h1', 'h2', 1, '{}', '0x');
INSERT INTO entries (request_id, ledger_account, amount)
VALUES ('charged', 'account:a', -5), ('charged', 'lane:m:p', 5), ('voided', 'account:a', -5), ('voided', 'lane:m:p', 5),
  ('voided', 'account:a', 5), ('voided', 'lane:m:p', -5);`

const BATCHED_BEFORE = `
INSERT INTO requests (request_id, account_id, key, idempotency_key, body_hash, model_id, provider, purpose, units, unit_price, max, charged,
  owner, reserved_at, state, batch_id) VALUES ('q', 'a', 'k', 'q', 'b', 'm', 'p', 1, 1, 5, 5, 5, 'me', 1, 'BATCHED', 'batch');
INSERT INTO unsettled (request_id, account_id, key, sequence, head, model_id, provider, purpose, charged, served_at, batch_id)
VALUES ('q', 'a', 'k', 1, 'h1', 'm', 'p', 1, 5, 1, 'batch');`

async function select(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query(sql)).rows
  } finally {
    await client.end()
  }
}
