import { setTimeout as delay } from 'node:timers/promises'
import { PrismaPg } from '@prisma/adapter-pg'
import pg from 'pg'
import { PrismaClient } from '../../../prisma/generated/client.ts'
import { GranaryError } from '../../core/errors.ts'
import type { Log } from '../log.ts'

const CONNECT_TIMEOUT_MS = 4000
/** The server gives up on a statement first; the client's own limit is for servers that hang. */
const STATEMENT_TIMEOUT_MS = 10_000
const ANSWER_TIMEOUT_MS = 12_000
const TRANSACTION_ATTEMPTS = 4
const SNAPSHOT = 'BEGIN ISOLATION LEVEL REPEATABLE READ; SET LOCAL plan_cache_mode = force_custom_plan'

/** One statement inside a transaction, or on its own; prepared once per connection. */
export type Query = <Row extends pg.QueryResultRow = Record<string, never>>(
  text: string,
  values?: readonly unknown[],
) => Promise<pg.QueryResult<Row>>

export interface Database extends AsyncDisposable {
  query: Query
  /** One statement that is a transaction of its own, repeated when the database chose it as a deadlock's victim. */
  call: Query
  /** Commits what `work` did, durable when this returns; repeats it when the database chose it as a deadlock's victim. */
  transaction<T>(work: (query: Query) => Promise<T>): Promise<T>
  /**
   * The same with one view of the database for all its statements, repeated when what it writes was written meanwhile. Each statement is
   * planned for the tables as they are: a plan that was kept from when `unsettled` was empty reads all of it.
   */
  snapshot<T>(work: (query: Query) => Promise<T>): Promise<T>
  /** Prisma's client on the same connections, for what is not hot. */
  prisma<T>(work: (client: PrismaClient) => Promise<T>): Promise<T>
}

/** Connections are made when needed, so the ledger works again by itself once a lost database is back. */
export function openDatabase({
  url,
  log,
  connections = 16,
}: {
  url: string
  log?: Log | undefined
  connections?: number
}): Database {
  const pool = new pg.Pool({
    connectionString: url,
    max: connections,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    query_timeout: ANSWER_TIMEOUT_MS,
    idle_in_transaction_session_timeout: ANSWER_TIMEOUT_MS,
    application_name: 'granary',
    keepAlive: true,
  })
  // Without a listener the loss of an idle connection would end the process.
  pool.on('error', (error) => log?.warn({ event: 'ledger.connection-lost', error }))
  const client = new PrismaClient({ adapter: new PrismaPg(pool) })
  return {
    query: (text, values) => guarded(() => pool.query(statement(text, values))),
    call: (text, values) => guarded(() => withRetries(() => pool.query(statement(text, values)))),
    transaction: (work) => guarded(() => withRetries(() => inTransaction(pool, { begin: 'BEGIN', work }))),
    snapshot: (work) => guarded(() => withRetries(() => inTransaction(pool, { begin: SNAPSHOT, work }))),
    prisma: (work) => guarded(() => work(client)),
    async [Symbol.asyncDispose]() {
      await client.$disconnect()
      await pool.end()
    },
  }
}

async function inTransaction<T>(
  pool: pg.Pool,
  { begin, work }: { begin: string; work: (query: Query) => Promise<T> },
): Promise<T> {
  const client = await pool.connect()
  let broken: Error | undefined
  // The pool listens only while a connection is idle.
  const onError = (error: Error) => {
    broken = error
  }
  client.on('error', onError)
  try {
    await client.query(begin)
    const result = await work((text, values) => client.query(statement(text, values)))
    await client.query('COMMIT')
    return result
  } catch (error) {
    await client.query('ROLLBACK').catch((cause: Error) => {
      broken = cause
    })
    throw error
  } finally {
    client.off('error', onError)
    client.release(broken)
  }
}

async function withRetries<T>(attempt: () => Promise<T>): Promise<T> {
  for (let left = TRANSACTION_ATTEMPTS - 1; ; left -= 1) {
    try {
      return await attempt()
    } catch (error) {
      const deadlock = error instanceof pg.DatabaseError && (error.code === '40P01' || error.code === '40001')
      if (!deadlock || left === 0) throw error
      await delay(5 * (TRANSACTION_ATTEMPTS - left))
    }
  }
}

const names = new Map<string, string>()

/** All our statements are constants, so there are few names, and each connection plans each statement once. */
function statement(text: string, values: readonly unknown[] = []) {
  let name = names.get(text)
  if (name === undefined) {
    name = `g${names.size}`
    names.set(text, name)
  }
  return { name, text, values: [...values] }
}

async function guarded<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof GranaryError) throw error
    if (isUnavailable(error)) throw new GranaryError('ledger.unavailable', 'The database does not answer.', { cause: error })
    throw new GranaryError('internal', 'The ledger refused a statement.', { cause: error })
  }
}

/** SQLSTATE classes and codes: connection, resources, shutdown, timeouts; then Node's and Prisma's own. */
const unavailableCodes = [
  /^(08|53|58)...$/,
  /^(57P0[1-5]|57014|55P03|25P03|40P01|40001)$/,
  /^(ECONN\w+|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_AGAIN)$/,
  /^(P1001|P1002|P1008|P1017|P2024)$/,
]
const unavailableMessages =
  /^(Connection terminated|timeout exceeded when trying to connect|Query read timeout|timeout expired|Client has encountered a connection error)/

function isUnavailable(error: unknown, depth = 0): boolean {
  if (typeof error !== 'object' || error === null || depth > 5) return false
  const { code, originalCode, message, cause, errors, meta, driverAdapterError } = error as Record<string, unknown>
  if ([code, originalCode].some((text) => typeof text === 'string' && unavailableCodes.some((pattern) => pattern.test(text))))
    return true
  if (typeof message === 'string' && unavailableMessages.test(message)) return true
  const nested = [cause, meta, driverAdapterError, ...(Array.isArray(errors) ? errors : [])]
  return nested.some((inner) => isUnavailable(inner, depth + 1))
}
