// Plain JavaScript: bootstrap.mjs needs it before anything is installed, on any Node from 18 on.
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

/**
 * One holder at a time, by a file that names its process. The kernel's start time tells a recycled pid from the holder, so a
 * lock that a kill -9 left behind is taken over.
 * @param {string} path
 * @param {Record<string, unknown>} [facts] kept beside the pid, for whoever finds the lock taken
 * @returns {{ ok: true, release: () => void } | { ok: false, holder: { pid: number } & Record<string, unknown> }}
 */
export function acquireLock(path, facts = {}) {
  mkdirSync(dirname(path), { recursive: true })
  const mine = JSON.stringify({ ...facts, pid: process.pid, ticks: startTicks(process.pid) })
  for (let attempt = 0; attempt < 50; attempt++) {
    if (createWhole(path, mine)) return { ok: true, release: () => removeIfEqual(path, mine) }
    const text = readOrNull(path)
    if (text === null) continue
    const holder = parse(text)
    if (holder && processAlive(holder)) return { ok: false, holder }
    removeIfEqual(path, text)
  }
  return { ok: false, holder: parse(readOrNull(path) ?? '') ?? { pid: 0 } }
}

/**
 * @param {{ pid: number, ticks?: unknown }} holder
 * @returns {boolean}
 */
export function processAlive({ pid, ticks }) {
  try {
    process.kill(pid, 0)
  } catch (error) {
    if (error?.code !== 'EPERM') return false
  }
  return typeof ticks !== 'string' || ticks === '' || startTicks(pid) === ticks
}

/**
 * When the process started, in the kernel's ticks; empty where there is no /proc or no such process.
 * @param {number} pid
 * @returns {string}
 */
export function startTicks(pid) {
  const stat = readOrNull(`/proc/${pid}/stat`)
  // The command, in brackets, may hold blanks; the start time is the 20th field after it.
  return stat === null ? '' : (stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '')
}

/** A link is atomic and refuses an existing name, so that nobody ever reads half a lock. */
function createWhole(path, text) {
  const draft = `${path}.${process.pid}.${Math.random().toString(36).slice(2)}`
  writeFileSync(draft, text, { mode: 0o600 })
  try {
    linkSync(draft, path)
    return true
  } catch (error) {
    if (error?.code === 'EEXIST') return false
    return createExclusive(path, text)
  } finally {
    rmSync(draft, { force: true })
  }
}

/** For file systems without hard links. */
function createExclusive(path, text) {
  try {
    writeFileSync(path, text, { flag: 'wx', mode: 0o600 })
    return true
  } catch (error) {
    if (error?.code === 'EEXIST') return false
    throw error
  }
}

/** Renaming first means that of two processes that saw the same dead lock only one removes it. */
function removeIfEqual(path, expected) {
  const aside = `${path}.${process.pid}.aside`
  try {
    renameSync(path, aside)
  } catch {
    return
  }
  if (readOrNull(aside) !== expected) {
    try {
      linkSync(aside, path)
    } catch {
      // Somebody holds a newer lock already.
    }
  }
  rmSync(aside, { force: true })
}

function readOrNull(path) {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return null
  }
}

function parse(text) {
  try {
    const holder = JSON.parse(text)
    return Number.isInteger(holder?.pid) && holder.pid > 0 ? holder : null
  } catch {
    return null
  }
}
