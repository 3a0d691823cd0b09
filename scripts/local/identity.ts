import { rmSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { GranaryError } from '../../services/core/errors.ts'
import { forgetDeployment } from './deployment.ts'
import { readJsonFile, writeWhole } from './files.ts'

/**
 * Chain and database belong together: a database that mirrors another chain, or promises another chain's money, is worse
 * than none. Each start checks that both are those of the last one, and says what it resets and why.
 */
export async function reconcile(options: {
  dir: string
  genesisHash: string
  /** What the chain said of its own reset. */
  chainReset: string | null
  databaseUrl: string
  /** The database is not ours to empty. */
  external: boolean
}): Promise<string[]> {
  const { dir, genesisHash, databaseUrl, external } = options
  const file = join(dir, 'identity.json')
  const { databaseId, used } = await inspectDatabase(databaseUrl)
  const known = readJsonFile(file)
  const notes: string[] = []
  const chainIsOther = known !== null && known.genesisHash !== genesisHash
  if (used && (known === null || chainIsOther)) {
    if (external) {
      throw new GranaryError('config.invalid', 'DATABASE_URL names a database of another chain: empty it, or name another.')
    }
    await emptyDatabase(databaseUrl)
    if (known === null) notes.push('The database held the records of another chain; it was emptied.')
  }
  if (chainIsOther) {
    forgetDeployment(dir)
    rmSync(seedFolder(dir), { recursive: true, force: true })
    const why = options.chainReset ?? 'the files of the last one are gone'
    notes.push(`The chain starts anew: ${why}. Contracts, database and seeded models are made again with it.`)
  } else if (known !== null && known.databaseId !== databaseId) {
    rmSync(seedFolder(dir), { recursive: true, force: true })
    notes.push('The database is a new one: API keys and receipts that were not settled yet are gone; the chain goes on.')
  }
  if (notes.length > 0 || known === null) writeWhole(file, JSON.stringify({ genesisHash, databaseId }))
  return notes
}

/** What scripts/seed.ts remembers between two starts. */
export function seedFolder(dir: string): string {
  return join(dir, 'seed')
}

async function inspectDatabase(url: string): Promise<{ databaseId: string; used: boolean }> {
  return query(url, async (client) => {
    const { rows } = await client.query(
      'SELECT system_identifier::text AS cluster, current_database() AS name FROM pg_control_system()',
    )
    const tables = await client.query("SELECT 1 FROM pg_tables WHERE schemaname = 'public' LIMIT 1")
    return { databaseId: `${rows[0].cluster}/${rows[0].name}`, used: (tables.rowCount ?? 0) > 0 }
  })
}

async function emptyDatabase(url: string): Promise<void> {
  await query(url, async (client) => {
    await client.query('DROP SCHEMA public CASCADE')
    await client.query('CREATE SCHEMA public')
  })
}

async function query<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000, query_timeout: 30_000 })
  try {
    await client.connect()
    return await work(client)
  } catch (cause) {
    throw new GranaryError(
      'ledger.unavailable',
      `The database does not answer: ${cause instanceof Error ? cause.message : cause}`,
      {
        cause,
      },
    )
  } finally {
    await client.end().catch(() => undefined)
  }
}
