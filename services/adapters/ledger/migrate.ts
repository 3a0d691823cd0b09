import { createHash, randomUUID } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { GranaryError } from '../../core/errors.ts'

const MIGRATIONS = fileURLToPath(new URL('../../../prisma/migrations/', import.meta.url))
/** The advisory lock that Prisma's own engine takes, so that the CLI and all services wait for each other. */
const PRISMA_LOCK = 72707369
const CONNECT_TIMEOUT_MS = 10_000
const MIGRATION_TIMEOUT_MS = 300_000

const HISTORY = `CREATE TABLE IF NOT EXISTS "_prisma_migrations" (
  "id" VARCHAR(36) PRIMARY KEY NOT NULL,
  "checksum" VARCHAR(64) NOT NULL,
  "finished_at" TIMESTAMPTZ,
  "migration_name" VARCHAR(255) NOT NULL,
  "logs" TEXT,
  "rolled_back_at" TIMESTAMPTZ,
  "started_at" TIMESTAMPTZ NOT NULL DEFAULT now(),
  "applied_steps_count" INTEGER NOT NULL DEFAULT 0
)`

interface Applied {
  migration_name: string
  checksum: string
  finished_at: Date | null
}

/**
 * Brings the database to the newest migration and returns the names that were applied. The history is the one that
 * `prisma migrate deploy` keeps, so both can be used. A migration and its row are one transaction: a kill leaves neither.
 */
export async function migrate(url: string): Promise<string[]> {
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    statement_timeout: MIGRATION_TIMEOUT_MS,
    query_timeout: MIGRATION_TIMEOUT_MS,
  })
  client.on('error', () => {
    // The statement that was running reports it.
  })
  try {
    await client.connect()
  } catch (cause) {
    throw new GranaryError('ledger.unavailable', 'The database does not answer.', { cause })
  }
  try {
    await client.query('SELECT pg_advisory_lock($1)', [PRISMA_LOCK])
    await client.query(HISTORY)
    const { rows } = await client.query<Applied>(
      'SELECT migration_name, checksum, finished_at FROM "_prisma_migrations" WHERE rolled_back_at IS NULL',
    )
    const history = new Map(rows.map((row) => [row.migration_name, row]))
    const applied: string[] = []
    for (const name of migrationNames()) {
      if (await applyOne(client, name, history.get(name))) applied.push(name)
    }
    return applied
  } finally {
    // Ends the session, and with it the lock.
    await client.end()
  }
}

function migrationNames(): string[] {
  const folders = readdirSync(MIGRATIONS, { withFileTypes: true }).filter((entry) => entry.isDirectory())
  return folders.map(({ name }) => name).sort()
}

async function applyOne(client: pg.Client, name: string, earlier: Applied | undefined): Promise<boolean> {
  const sql = readFileSync(join(MIGRATIONS, name, 'migration.sql'), 'utf8')
  const checksum = createHash('sha256').update(sql).digest('hex')
  if (earlier) {
    if (earlier.finished_at === null) {
      throw new GranaryError('config.invalid', `Migration ${name} failed half way; mend it with prisma migrate resolve.`, {
        name,
      })
    }
    if (earlier.checksum !== checksum) {
      throw new GranaryError('config.invalid', `Migration ${name} is not the one that this database was made with.`, { name })
    }
    return false
  }
  try {
    await client.query('BEGIN')
    await client.query(sql)
    await client.query(
      `INSERT INTO "_prisma_migrations" (id, checksum, migration_name, finished_at, applied_steps_count)
       VALUES ($1, $2, $3, clock_timestamp(), 1)`,
      [randomUUID(), checksum, name],
    )
    await client.query('COMMIT')
    return true
  } catch (cause) {
    await client.query('ROLLBACK').catch(() => undefined)
    throw new GranaryError('config.invalid', `Migration ${name} failed; nothing of it was kept.`, { cause, name })
  }
}
