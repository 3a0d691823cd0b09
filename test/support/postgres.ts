import { randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { type LocalPostgres, openLocalPostgres } from '../../scripts/local/postgres.ts'
import { stopOrphan } from '../../scripts/local/postmaster.ts'
import { openLog } from '../../services/adapters/log.ts'

const PREFIX = 'granary-test-postgres-'
const log = openLog({ process: 'test-postgres', level: 'error' })

export interface TestDatabase extends AsyncDisposable {
  url: string
}

export interface TestServer extends AsyncDisposable {
  /** A fresh, empty database; its disposal drops it. */
  database(): Promise<TestDatabase>
}

/**
 * A PostgreSQL for one test file. GRANARY_TEST_POSTGRES names a running server to share (a URL whose user may create
 * databases, as `npm test` starts one for the whole run); otherwise a server of this process, gone with its disposal.
 */
export async function openTestServer(): Promise<TestServer> {
  const shared = process.env.GRANARY_TEST_POSTGRES
  const server = shared ? null : await ownServer()
  const url = shared ?? server?.url ?? ''
  return {
    database: () => createDatabase(url),
    async [Symbol.asyncDispose]() {
      await server?.[Symbol.asyncDispose]()
    },
  }
}

/** A server of our own in a throw-away folder; what killed test runs left in theirs is cleared first. */
export async function ownServer(): Promise<LocalPostgres> {
  await clearLeftovers()
  const dir = join(tmpdir(), `${PREFIX}${process.pid}-${randomBytes(4).toString('hex')}`)
  mkdirSync(dir, { mode: 0o755 })
  const server = await openLocalPostgres({ dir, log })
  return {
    ...server,
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]()
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

async function createDatabase(server: string): Promise<TestDatabase> {
  const name = `test_${randomBytes(8).toString('hex')}`
  await run(server, `CREATE DATABASE ${name}`)
  const url = new URL(server)
  url.pathname = `/${name}`
  return {
    url: url.toString(),
    async [Symbol.asyncDispose]() {
      await run(server, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`)
    },
  }
}

async function run(url: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000, query_timeout: 30_000 })
  await client.connect()
  try {
    await client.query(sql)
  } finally {
    await client.end()
  }
}

async function clearLeftovers(): Promise<void> {
  const folders = readdirSync(tmpdir()).filter((name) => name.startsWith(PREFIX))
  for (const name of folders) {
    const pid = Number(name.slice(PREFIX.length).split('-')[0])
    if (pid === process.pid || isRunning(pid)) continue
    const dir = join(tmpdir(), name)
    if (!isOurs(dir)) continue
    await stopOrphan(join(dir, 'data'), log).catch(() => undefined)
    rmSync(dir, { recursive: true, force: true })
  }
}

/** What another user left in a shared folder is theirs to clear; root's servers run as another user, so root clears all. */
function isOurs(dir: string): boolean {
  const user = process.getuid?.() ?? 0
  return user === 0 || statSync(dir, { throwIfNoEntry: false })?.uid === user
}

/** A number that was given to another program since counts as running until that ends: clearing can wait. */
function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
