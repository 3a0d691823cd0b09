import { keccak256 } from './keccak.ts'

export interface Field {
  name: string
  type: string
}

const WORD = 32
const LARGEST = 16
/** Of one struct: the type's hash and its fields. Hashing is synchronous, so one is enough for all. */
const words = new Uint8Array(WORD * (LARGEST + 1))

/** What a digest is of: 0x1901 and two words. */
const digested = new Uint8Array(2 + 2 * WORD)
digested.set([0x19, 0x01])

/** Writes a value as the word that begins at `at`, which is zero; false for what does not fit its type. */
type Write = (value: unknown, at: number) => boolean

/** What of a type does not change. */
interface Layout {
  typeHash: Uint8Array
  writes: { field: string; type: string; write: Write }[]
}
const layouts = new WeakMap<readonly Field[], Layout>()

/** EIP-712's hashStruct for the types that our messages have: address, bytes32, bool, string and uintN. Throws what does not fit its type. */
export function hashStruct(name: string, fields: readonly Field[], value: Readonly<Record<string, unknown>>): Uint8Array {
  if (fields.length > LARGEST) throw new RangeError(`${name} has more than ${LARGEST} fields`)
  const { typeHash, writes } = layoutOf(name, fields)
  const end = WORD * (fields.length + 1)
  words.set(typeHash, 0)
  words.fill(0, WORD, end)
  let at = WORD
  for (const { field, type, write } of writes) {
    if (!write(value[field], at)) throw new TypeError(`${field} is no ${type}`)
    at += WORD
  }
  return keccak256(words.subarray(0, end))
}

/** The digest that is signed: keccak256(0x1901 ‖ domain separator ‖ struct hash). */
export function digestOfHashes(domainSeparator: Uint8Array, structHash: Uint8Array): Uint8Array {
  digested.set(domainSeparator, 2)
  digested.set(structHash, 2 + WORD)
  return keccak256(digested)
}

export function hashText(text: string): Uint8Array {
  return keccak256(new TextEncoder().encode(text))
}

function layoutOf(name: string, fields: readonly Field[]): Layout {
  const known = layouts.get(fields)
  if (known) return known
  const typeHash = hashText(`${name}(${fields.map((field) => `${field.type} ${field.name}`).join(',')})`)
  const writes = fields.map(({ name: field, type }) => ({ field, type, write: writerOf(type) }))
  const layout = { typeHash, writes }
  layouts.set(fields, layout)
  return layout
}

function writerOf(type: string): Write {
  if (type === 'bytes32') return (value, at) => typeof value === 'string' && writeHex(value, { at, bytes: WORD })
  if (type === 'address') return (value, at) => typeof value === 'string' && writeHex(value, { at: at + WORD - 20, bytes: 20 })
  if (type === 'string') return writeText
  if (type === 'bool') return writeBool
  const bits = Number(/^uint([0-9]+)$/.exec(type)?.[1] ?? 0)
  const limit = 1n << BigInt(bits)
  const safeLimit = Math.min(2 ** bits, MOST_SAFE + 1)
  return (value, at) => {
    const whole = wholeOf(value)
    // A number where it is exact, since arithmetic of bigints takes several times as long.
    if (typeof whole === 'number') return whole >= 0 && whole < safeLimit && writeNumber(whole, at)
    return whole !== null && whole >= 0n && whole < limit && writeBigInt(whole, at)
  }
}

function writeText(value: unknown, at: number): boolean {
  if (typeof value !== 'string' || !value.isWellFormed()) return false
  words.set(hashText(value), at)
  return true
}

function writeBool(value: unknown, at: number): boolean {
  words[at + WORD - 1] = value === true ? 1 : 0
  return typeof value === 'boolean'
}

const MOST_SAFE = Number.MAX_SAFE_INTEGER

/** Of a number, a bigint, or a string that writes one in decimal or hexadecimal digits; null of anything else. */
function wholeOf(value: unknown): number | bigint | null {
  if (typeof value === 'number') return Number.isSafeInteger(value) ? value : null
  if (typeof value === 'bigint') return value >= 0n && value <= MOST_SAFE ? Number(value) : value
  if (typeof value !== 'string' || !/^(0x[0-9a-fA-F]+|[0-9]+)$/.test(value)) return null
  return wholeOf(BigInt(value))
}

function writeNumber(value: number, at: number): true {
  writeUint32(value % 2 ** 32, at + WORD - 4)
  writeUint32(Math.floor(value / 2 ** 32), at + WORD - 8)
  return true
}

function writeBigInt(value: bigint, at: number): true {
  let left = value
  for (let word = at + WORD - 4; left > 0n; word -= 4, left >>= 32n) writeUint32(Number(left & 0xffffffffn), word)
  return true
}

function writeUint32(value: number, at: number): void {
  words[at] = value >>> 24
  words[at + 1] = value >>> 16
  words[at + 2] = value >>> 8
  words[at + 3] = value
}

function writeHex(text: string, { at, bytes }: { at: number; bytes: number }): boolean {
  if (text.length !== 2 + 2 * bytes || text.charCodeAt(0) !== 0x30 || text.charCodeAt(1) !== 0x78) return false
  for (let index = 0; index < bytes; index++) {
    const high = nibbles[text.charCodeAt(2 + 2 * index)] ?? 255
    const low = nibbles[text.charCodeAt(3 + 2 * index)] ?? 255
    if (high > 15 || low > 15) return false
    words[at + index] = (high << 4) | low
  }
  return true
}

const nibbles = Uint8Array.from({ length: 128 }, (_, code) => {
  const digit = '0123456789abcdef'.indexOf(String.fromCharCode(code).toLowerCase())
  return digit < 0 ? 255 : digit
})
