import { closeSync, fdatasyncSync, openSync, readdirSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { cpus, platform, totalmem } from 'node:os'
import { join } from 'node:path'

/** Linux counts processor time in hundredths of a second. */
const TICKS_PER_SECOND = 100
const PAGE_BYTES = 8192

interface Stat {
  pid: number
  name: string
  parent: number
  /** Its own, user and system, all threads. */
  ownTicks: number
  /** Of children that ended and were waited for. */
  endedTicks: number
  residentBytes: number
}

export function machineOf(): string {
  const model = cpus()[0]?.model ?? 'unknown'
  const memory = Math.round(totalmem() / 2 ** 30)
  return `${cpus().length} × ${model}, ${memory} GiB, ${platform()} ${process.arch}, Node ${process.versions.node}`
}

/** Processor seconds that these processes have used, with everything that they started and that has ended. */
export function cpuSecondsOf(pids: readonly number[]): number {
  const ticks = pids.flatMap((pid) => statOf(pid) ?? []).reduce((sum, stat) => sum + stat.ownTicks + stat.endedTicks, 0)
  return ticks / TICKS_PER_SECOND
}

export function residentBytesOf(pid: number): number {
  return statOf(pid)?.residentBytes ?? 0
}

/** The process and all below it. */
export function treeOf(pid: number): number[] {
  const all = allStats()
  const found = [pid]
  for (const parent of found) found.push(...all.filter((stat) => stat.parent === parent).map((stat) => stat.pid))
  return found
}

export function namedIn(pids: readonly number[], name: string): number[] {
  return pids.filter((pid) => statOf(pid)?.name.startsWith(name))
}

/** How long the disk below `dir` takes to make a page durable, in milliseconds: what one commit can't be faster than. */
export function openDiskProbe(dir: string): Disposable & { sync(): number } {
  const path = join(dir, 'fdatasync-probe')
  const file = openSync(path, 'w')
  const page = Buffer.alloc(PAGE_BYTES, 1)
  return {
    sync() {
      writeSync(file, page)
      const started = performance.now()
      fdatasyncSync(file)
      return performance.now() - started
    },
    [Symbol.dispose]() {
      closeSync(file)
      rmSync(path, { force: true })
    },
  }
}

function allStats(): Stat[] {
  return readdirSync('/proc').flatMap((entry) => (/^[0-9]+$/.test(entry) ? (statOf(Number(entry)) ?? []) : []))
}

/** proc(5): the name stands in parentheses and may itself hold any character. */
function statOf(pid: number): Stat | null {
  let text: string
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch {
    return null
  }
  const end = text.lastIndexOf(')')
  const fields = text.slice(end + 2).split(' ')
  const field = (number: number) => Number(fields[number - 3] ?? 0)
  return {
    pid,
    name: text.slice(text.indexOf('(') + 1, end),
    parent: field(4),
    ownTicks: field(14) + field(15),
    endedTicks: field(16) + field(17),
    residentBytes: field(24) * 4096,
  }
}
