import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Log } from '../../services/adapters/log.ts'
import { GranaryError } from '../../services/core/errors.ts'

const POLL_MS = 25
const FAST_STOP_MS = 15_000
const IMMEDIATE_STOP_MS = 10_000

/** Marks the folder as ours while we live; a mark of a process that is gone does not count. */
export function claimFolder(folder: string): void {
  const path = join(folder, 'owner')
  const mark = `${process.pid} ${bornAt(process.pid)}\n`
  try {
    // Of two that start at once one creates the file.
    writeFileSync(path, mark, { flag: 'wx' })
    return
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
  }
  const [pid = '', born = ''] = readFileSync(path, 'utf8').trim().split(' ')
  if (Number(pid) > 0 && isAlive(Number(pid)) && bornAt(Number(pid)) === born) {
    throw new GranaryError('start.already-running', `The database in ${folder} is in use by process ${pid}.`, {
      pid: Number(pid),
    })
  }
  writeFileSync(path, mark)
}

export function releaseFolder(folder: string): void {
  rmSync(join(folder, 'owner'), { force: true })
}

/**
 * Stops the postmaster that a killed owner left behind. A pid file whose process is somebody else's (numbers are reused,
 * most of all after a container restart) is removed; with a dead process PostgreSQL itself clears it, once it has seen
 * that no backend holds the shared memory any more.
 */
export async function stopOrphan(data: string, log: Log): Promise<void> {
  const path = join(data, 'postmaster.pid')
  const pid = existsSync(path) ? Number(readFileSync(path, 'utf8').split('\n')[0]) : 0
  if (pid > 0 && isAlive(pid)) {
    if (isPostmaster(pid, data)) {
      log.info({ event: 'postgres.orphan', pid })
      await stopPostmaster(pid)
    } else {
      rmSync(path, { force: true })
    }
  }
  await until(() => backendsOf(data).length === 0, IMMEDIATE_STOP_MS)
}

/** Fast shutdown, then the immediate one, which recovery makes good at the next start. */
export async function stopPostmaster(pid: number): Promise<void> {
  signal(pid, 'SIGINT')
  if (await until(() => !isAlive(pid), FAST_STOP_MS)) return
  signal(pid, 'SIGQUIT')
  if (await until(() => !isAlive(pid), IMMEDIATE_STOP_MS)) return
  throw new GranaryError('ledger.unavailable', `PostgreSQL (process ${pid}) does not stop.`, { pid })
}

/** A postmaster works inside its data folder; where there is no /proc its command line names it. */
export function isPostmaster(pid: number, data: string): boolean {
  try {
    if (process.platform === 'linux') return readlinkSync(`/proc/${pid}/cwd`) === data && commandOf(pid).startsWith('postgres')
    return execFileSync('ps', ['-o', 'command=', '-p', String(pid)], { encoding: 'utf8', timeout: 5000 }).includes(`-D ${data} `)
  } catch {
    return false
  }
}

/** Backends outlive a killed postmaster for a moment. */
function backendsOf(data: string): number[] {
  if (process.platform !== 'linux') return []
  const pids = readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name))
  return pids.map(Number).filter((pid) => isPostmaster(pid, data))
}

function commandOf(pid: number): string {
  return basename(readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')[0]?.split(':')[0] ?? '')
}

/** Tells a process from a later one with the same number. */
function bornAt(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? ''
  } catch {
    return ''
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return !isZombie(pid)
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}

/** Dead, but its parent (in a container often a plain program as process 1) has not noticed. */
function isZombie(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).startsWith('Z')
  } catch {
    return false
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error
  }
}

async function until(holds: () => boolean, timeoutMs: number): Promise<boolean> {
  const rounds = Math.ceil(timeoutMs / POLL_MS)
  for (let round = 0; round < rounds; round += 1) {
    if (holds()) return true
    await delay(POLL_MS)
  }
  return holds()
}
