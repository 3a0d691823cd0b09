import { randomBytes } from 'node:crypto'
import { readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openLocalPostgres } from '../../scripts/local/postgres.ts'
import { stopOrphan } from '../../scripts/local/postmaster.ts'
import { openLedger } from '../../services/adapters/ledger/prisma-ledger.ts'
import { openLog } from '../../services/adapters/log.ts'
import { CommitRefused } from '../../services/core/commit-refused.ts'
import type { Ledger } from '../../services/core/ports.ts'
import { openTestServer, ownServer, type TestServer } from '../support/postgres.ts'
import { ledgerConformance } from './conformance/ledger.ts'
import {
  type Book,
  chargeOnce,
  closeAs,
  deliver,
  draftAllOptions,
  fund,
  headAfter,
  newAccount,
  order,
  untilLeasing,
} from './conformance/ledger-acts.ts'

describe('the ledger on PostgreSQL', () => {
  const rubbish = new AsyncDisposableStack()
  let server: TestServer
  beforeAll(async () => {
    server = rubbish.use(await openTestServer())
  })
  afterAll(() => rubbish.disposeAsync())

  ledgerConformance(async () => {
    const { url } = rubbish.use(await server.database())
    const ledger = rubbish.use(await openLedger({ url }))
    const pool = new pg.Pool({ connectionString: url })
    rubbish.defer(() => pool.end())
    return { ledger, reopen: () => openLedger({ url }), book: bookOf(pool, ledger) }
  })

  test('services that start at once migrate the database once, in the history that Prisma keeps', async () => {
    await using database = await server.database()
    const ledgers = await Promise.all(Array.from({ length: 4 }, () => openLedger({ url: database.url })))
    for (const ledger of ledgers) await ledger[Symbol.asyncDispose]()
    const rows = await select(
      database.url,
      'SELECT migration_name, applied_steps_count, finished_at IS NOT NULL AS done FROM _prisma_migrations ORDER BY migration_name',
    )
    const names = readdirSync('prisma/migrations', { withFileTypes: true }).flatMap((entry) =>
      entry.isDirectory() ? [entry.name] : [],
    )
    expect(rows).toEqual(names.sort().map((migration_name) => ({ migration_name, applied_steps_count: 1, done: true })))
    await select(database.url, `UPDATE _prisma_migrations SET checksum = 'another'`)
    await expect(openLedger({ url: database.url })).rejects.toMatchObject({ code: 'config.invalid' })
  })

  test('a name whose connection broke is held again, so that its reservations are nobody else’s to release', async () => {
    await using database = await server.database()
    await using ledger = await openLedger({ url: database.url })
    await using _claim = await ledger.claimOwner('one')
    const account = await fund(ledger, newAccount(), { deposit: 9n, ceiling: 9n })
    await ledger.reserve(order(account, { max: 3n, owner: 'one' }), 100)
    const holders = `SELECT pid FROM pg_stat_activity WHERE application_name = 'granary claim' AND datname = current_database()`
    const [broken] = (await select(database.url, holders)) as { pid: number }[]
    await select(database.url, `SELECT pg_terminate_backend(${broken?.pid})`)
    const locks = `SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database
      WHERE l.locktype = 'advisory' AND d.datname = current_database() AND l.pid <> ${broken?.pid}`
    await expect.poll(() => select(database.url, locks), { timeout: 10_000 }).toHaveLength(1)
    expect(await ledger.releaseOrphans({ reservedBefore: 200 })).toBe(0)
    expect(await ledger.standing(account.accountId, account.key)).toMatchObject({ reserved: 3n })
  })

  test('what a dead process leased is free as soon as somebody needs it', async () => {
    await using database = await server.database()
    await using ledger = await openLedger({ url: database.url })
    const account = await fund(ledger, newAccount(), { deposit: 100n, ceiling: 100n })
    await untilLeasing(ledger, account)
    const asked = order(account, { max: 60n, leased: true })
    expect(await ledger.reserve(asked, 100)).toEqual({ ok: true })
    await using other = await openLedger({ url: database.url })
    await untilLeasing(other, account)
    const wanted = order(account, { max: 50n })
    expect(await other.reserve(wanted, 100)).toMatchObject({ limit: 'deposit', available: 40n })
    const listeners = `SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database
      WHERE l.locktype = 'advisory' AND d.datname = current_database() AND l.mode = 'ShareLock' ORDER BY l.pid`
    const [first] = (await select(database.url, listeners)) as { pid: number }[]
    await select(database.url, `SELECT pg_terminate_backend(${first?.pid})`)
    expect(await other.reserve(wanted, 100)).toEqual({ ok: true })
    // It was alive after all: what it delivers has no room any more.
    await expect(ledger.commit(deliver(asked, { charged: 60n }))).rejects.toBeInstanceOf(CommitRefused)
    await expect.poll(() => select(database.url, listeners), { timeout: 10_000 }).toHaveLength(2)
  })

  test('charges wait for no draft and no closing, and two drafts at once have no receipt in common', async () => {
    await using database = await server.database()
    await using ledger = await openLedger({ url: database.url })
    const account = await fund(ledger, newAccount(), { deposit: 100n, ceiling: 100n })
    const { collector } = account.config
    const first = await chargeOnce(ledger, account, { charged: 3n })
    const client = new pg.Client({ connectionString: database.url })
    await client.connect()
    const isWaiting = async () =>
      (
        await select(
          database.url,
          `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
        )
      ).length
    try {
      const hold = `SELECT FROM unsettled WHERE request_id = $1 FOR UPDATE`
      await client.query('BEGIN')
      await client.query(hold, [first.reservation.requestId])
      const drafts = [1, 2].map(() => ledger.draftBatch(draftAllOptions(collector)))
      await expect.poll(isWaiting).toBe(2)
      const second = await chargeOnce(ledger, account, { charged: 4n })
      await client.query('COMMIT')
      const [drafted, none, ...more] = (await Promise.all(drafts)).sort((a) => (a ? -1 : 1))
      expect(none).toBeNull()
      expect(more).toEqual([])
      if (!drafted) throw new Error('neither drafted')
      expect(drafted.rows.flatMap(({ requestIds }) => requestIds)).toEqual([first.reservation.requestId])

      await client.query('BEGIN')
      await client.query(hold, [first.reservation.requestId])
      const closed = ledger.closeBatch(closeAs(drafted))
      await expect.poll(isWaiting).toBe(1)
      await chargeOnce(ledger, account, { charged: 5n })
      await client.query('COMMIT')
      expect(await closed).toEqual({ final: 1, retried: 0, voided: 0 })
      expect((await ledger.request(second.reservation.requestId))?.state).toBe('COMMITTED')
    } finally {
      await client.end()
    }
  })

  test('a database that is not there is ledger.unavailable', async () => {
    await expect(openLedger({ url: 'postgresql://nobody:x@127.0.0.1:1/none' })).rejects.toMatchObject({
      code: 'ledger.unavailable',
    })
  })

  test('a server killed with -9 is ledger.unavailable, loses nothing it acknowledged, and is used again once it is back', async () => {
    const dir = join(tmpdir(), `granary-test-killed-${process.pid}-${randomBytes(4).toString('hex')}`)
    const log = openLog({ process: 'test', level: 'silent' })
    try {
      const first = await openLocalPostgres({ dir, log })
      await using ledger = await openLedger({ url: first.url })
      const account = await fund(ledger, newAccount(), { deposit: 100n, ceiling: 100n })
      const { delivery, committed } = await chargeOnce(ledger, account, { charged: 9n })
      process.kill(first.pid, 'SIGKILL')
      // Its backends notice a moment later.
      await stopOrphan(join(dir, 'data'), log)
      await expect(ledger.ping()).rejects.toMatchObject({ code: 'ledger.unavailable' })
      await expect(ledger.apiKey('any')).rejects.toMatchObject({ code: 'ledger.unavailable' })
      await expect(ledger.commit(delivery)).rejects.toMatchObject({ code: 'ledger.unavailable' })
      await first[Symbol.asyncDispose]()
      await using again = await openLocalPostgres({ dir, log, port: Number(new URL(first.url).port) })
      expect(again.url).toBe(first.url)
      await ledger.ping()
      expect(await ledger.commit(delivery)).toEqual(committed)
      expect(await ledger.apiKey('any')).toBeNull()
      expect(await ledger.standing(account.accountId, account.key)).toMatchObject({ spent: 9n })
    } finally {
      rmSync(dir, { recursive: true, force: true })
    }
  })

  test('fsync and synchronous_commit are on', async () => {
    await using own = await ownServer()
    const rows = await select(
      own.url,
      `SELECT current_setting('fsync') AS fsync, current_setting('synchronous_commit') AS commit`,
    )
    expect(rows).toEqual([{ fsync: 'on', commit: 'on' }])
  })
})

async function select(url: string, sql: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query(sql)).rows
  } finally {
    await client.end()
  }
}

function bookOf(pool: pg.Pool, ledger: Ledger): Book {
  const unbalanced = async (column: 'request_id' | 'batch_id') => {
    const { rows } = await pool.query(
      `SELECT ${column} AS id FROM entries WHERE ${column} IS NOT NULL GROUP BY 1 HAVING sum(amount) <> 0`,
    )
    return rows.map(({ id }) => String(id))
  }
  return {
    sumsOfRequests: () => unbalanced('request_id'),
    sumsOfBatches: () => unbalanced('batch_id'),
    async balance(ledgerAccount) {
      const { rows } = await pool.query('SELECT coalesce(sum(amount), 0) AS sum FROM entries WHERE ledger_account = $1', [
        ledgerAccount,
      ])
      return BigInt(rows[0].sum)
    },
    nextHead: async () => headAfter(await ledger.cursor()),
  }
}
