import {
  closeSync,
  existsSync,
  fdatasyncSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'

/**
 * What survives a kill -9: a snapshot of the engine's state and the log of everything since. `chain.json` names both and is
 * replaced atomically, so that a crash at any point leaves either the old pair or the new one.
 * A line of the log is its CRC, a blank and the record.
 */
export type LogRecord = { tx: string } | { block: number; timestamp: number; parent: string }

interface Pointer {
  format: 1
  genesisSeconds: number
  snapshot: string | null
  log: string
}

export interface ChainFiles {
  genesisSeconds: number
  snapshotPath: string | null
  /** What was logged after the snapshot. */
  records: LogRecord[]
  /** Why the end of the log was cut off; null when it was whole. */
  repaired: string | null
  /** Durable when it returns. */
  append(records: readonly LogRecord[]): void
  /** Makes `state` the new starting point, followed by `carried` (transactions that wait in the pool). */
  replaceSnapshot(state: Uint8Array, options: { head: number; carried: readonly LogRecord[] }): void
  close(): void
}

const POINTER = 'chain.json'

/** Throws when the files cannot be understood; a torn end of the log is cut off instead. */
export function openChainFiles(dir: string, nowSeconds: number): ChainFiles {
  mkdirSync(dir, { recursive: true })
  let pointer = readPointer(dir) ?? createPointer(dir, nowSeconds)
  removeStrays(dir, pointer)
  const { records, repaired } = readLog(join(dir, pointer.log))
  let log = openSync(join(dir, pointer.log), 'a')
  return {
    genesisSeconds: pointer.genesisSeconds,
    snapshotPath: pointer.snapshot === null ? null : join(dir, pointer.snapshot),
    records,
    repaired,
    append(added) {
      writeAll(log, Buffer.from(added.map(line).join('')))
      fdatasyncSync(log)
    },
    replaceSnapshot(state, { head, carried }) {
      const next: Pointer = { ...pointer, snapshot: `snapshot-${head}.json`, log: `log-${head}.txt` }
      if (next.log === pointer.log) return
      writeDurably(join(dir, String(next.snapshot)), state)
      writeDurably(join(dir, next.log), Buffer.from(carried.map(line).join('')))
      writePointer(dir, next)
      closeSync(log)
      log = openSync(join(dir, next.log), 'a')
      pointer = next
      removeStrays(dir, pointer)
    },
    close: () => closeSync(log),
  }
}

/** Puts an unreadable chain out of the way, for whoever wants to look at it; keeps the latest one only. */
export function setAside(dir: string): string {
  const aside = `${dir}-unreadable`
  rmSync(aside, { recursive: true, force: true })
  renameSync(dir, aside)
  return aside
}

function readPointer(dir: string): Pointer | null {
  if (!existsSync(join(dir, POINTER))) return null
  const pointer = JSON.parse(readFileSync(join(dir, POINTER), 'utf8'))
  if (pointer.format !== 1 || !Number.isInteger(pointer.genesisSeconds)) throw new Error(`${POINTER} has an unknown format`)
  const named = [pointer.log, ...(pointer.snapshot === null ? [] : [pointer.snapshot])]
  for (const file of named) if (!existsSync(join(dir, String(file)))) throw new Error(`${file} is missing`)
  return pointer
}

function createPointer(dir: string, nowSeconds: number): Pointer {
  const pointer: Pointer = { format: 1, genesisSeconds: nowSeconds, snapshot: null, log: 'log-0.txt' }
  writeDurably(join(dir, pointer.log), Buffer.alloc(0))
  writePointer(dir, pointer)
  return pointer
}

function writePointer(dir: string, pointer: Pointer): void {
  writeDurably(join(dir, `${POINTER}.tmp`), Buffer.from(JSON.stringify(pointer)))
  renameSync(join(dir, `${POINTER}.tmp`), join(dir, POINTER))
  const folder = openSync(dir, 'r')
  fsyncSync(folder)
  closeSync(folder)
}

/** What a crash between writing and naming, or between naming and removing, left. */
function removeStrays(dir: string, pointer: Pointer): void {
  for (const name of readdirSync(dir)) {
    if (/^(snapshot|log)-\d+\.(json|txt)$/.test(name) && name !== pointer.snapshot && name !== pointer.log)
      rmSync(join(dir, name))
  }
}

function readLog(path: string): { records: LogRecord[]; repaired: string | null } {
  const bytes = readFileSync(path)
  const records: LogRecord[] = []
  let start = 0
  for (let end = bytes.indexOf(10, start); end >= 0; end = bytes.indexOf(10, start)) {
    const record = parseLine(bytes.subarray(start, end))
    if (record === null) break
    records.push(record)
    start = end + 1
  }
  if (start === bytes.length) return { records, repaired: null }
  truncateSync(path, start)
  return { records, repaired: `the last ${bytes.length - start} bytes of the log were unfinished and were cut off` }
}

function line(record: LogRecord): string {
  const text = JSON.stringify(record)
  return `${crc32(text).toString(16)} ${text}\n`
}

function parseLine(bytes: Buffer): LogRecord | null {
  const blank = bytes.indexOf(32)
  const text = bytes.subarray(blank + 1)
  if (blank < 1 || crc32(text).toString(16) !== bytes.subarray(0, blank).toString()) return null
  return JSON.parse(text.toString())
}

function writeDurably(path: string, bytes: Uint8Array): void {
  const file = openSync(path, 'w')
  writeAll(file, bytes)
  fsyncSync(file)
  closeSync(file)
}

function writeAll(file: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done)
}
