import { GranaryError } from './errors.ts'

/** Chapter 5: a batch's rows as bytes. contracts/libraries/Rows.sol has the table of what is where. */

export interface Row {
  payer: string
  thawSeconds: number
  salt: string
  /** The payer, or a granted key. */
  key: string
  from: bigint
  ceiling: bigint
  usageHead: string
  /** EIP-2098. */
  r: string
  vs: string
  parts: { lane: number; amount: bigint }[]
}

const HEAD_BYTES = 179
const ADDRESS_BYTES = 20
const MONEY_BYTES = 10
const PART_BYTES = MONEY_BYTES + 1
const MAX_PARTS = 64
/** Added to the count of parts where a granted key signed. */
const GRANTED = 128

/** One hex string of all rows; a field that does not fit its place throws `internal`. */
export function encodeRows(rows: readonly Row[]): string {
  return `0x${rows.map(encodeRow).join('')}`
}

function encodeRow({ payer, thawSeconds, salt, key, from, ceiling, usageHead, r, vs, parts }: Row): string {
  if (parts.length > MAX_PARTS) throw new GranaryError('internal', `A row has ${parts.length} parts.`)
  const payerBytes = hex(payer, ADDRESS_BYTES)
  const keyBytes = hex(key, ADDRESS_BYTES)
  const granted = keyBytes !== payerBytes
  return [
    payerBytes,
    number(BigInt(thawSeconds), 4),
    hex(salt, 32),
    number(from, MONEY_BYTES),
    number(ceiling, 16),
    hex(usageHead, 32),
    hex(r, 32),
    hex(vs, 32),
    number(BigInt(parts.length + (granted ? GRANTED : 0)), 1),
    granted ? keyBytes : '',
    ...parts.map(({ lane, amount }) => number(amount, MONEY_BYTES) + number(BigInt(lane), 1)),
  ].join('')
}

/** Null for bytes that the escrow would refuse as malformed. */
export function decodeRows(encoded: string): Row[] | null {
  if (!/^0x([0-9a-f]{2})*$/i.test(encoded)) return null
  const bytes = encoded.slice(2).toLowerCase()
  const rows: Row[] = []
  for (let at = 0; at < bytes.length / 2; ) {
    const decoded = decodeRow(bytes, at)
    if (decoded === null) return null
    rows.push(decoded.row)
    at = decoded.next
  }
  return rows
}

function decodeRow(bytes: string, at: number): { row: Row; next: number } | null {
  let position = at
  const take = (length: number) => {
    const taken = bytes.slice(position * 2, (position + length) * 2)
    position += length
    return taken
  }
  const takeHex = (length: number) => `0x${take(length)}`
  const takeNumber = (length: number) => BigInt(takeHex(length))
  if ((at + HEAD_BYTES) * 2 > bytes.length) return null
  const payer = takeHex(ADDRESS_BYTES)
  const head = {
    payer,
    thawSeconds: Number(takeNumber(4)),
    salt: takeHex(32),
    from: takeNumber(MONEY_BYTES),
    ceiling: takeNumber(16),
  }
  const voucher = { usageHead: takeHex(32), r: takeHex(32), vs: takeHex(32) }
  const tail = Number(takeNumber(1))
  const count = tail % GRANTED
  const key = tail >= GRANTED ? takeHex(ADDRESS_BYTES) : payer
  const next = position + count * PART_BYTES
  if (count > MAX_PARTS || next * 2 > bytes.length) return null
  const parts = Array.from({ length: count }, () => ({ amount: takeNumber(MONEY_BYTES), lane: Number(takeNumber(1)) }))
  return { row: { ...head, ...voucher, key, parts }, next }
}

function hex(value: string, length: number): string {
  const digits = value.slice(2).toLowerCase()
  if (digits.length !== length * 2) throw new GranaryError('internal', `${value} does not have ${length} bytes.`)
  return digits
}

function number(value: bigint, length: number): string {
  if (value < 0n || value >> BigInt(length * 8) > 0n) throw new GranaryError('internal', `${value} does not fit ${length} bytes.`)
  return value.toString(16).padStart(length * 2, '0')
}
