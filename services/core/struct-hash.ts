import { keccak256 } from './keccak.ts'

export interface Field {
  name: string
  type: string
}

const WORD = 32
const LARGEST = 16
/** Of one struct: the type's hash and its fields. Hashing is synchronous, so one is enough for all. */
const words = new Uint8Array(WORD * (LARGEST + 1))
const typeHashes = new WeakMap<readonly Field[], Uint8Array>()

/** EIP-712's hashStruct for the types that our messages have: address, bytes32, bool, string and uintN. Throws what does not fit its type. */
export function hashStruct(name: string, fields: readonly Field[], value: Readonly<Record<string, unknown>>): Uint8Array {
  if (fields.length > LARGEST) throw new RangeError(`${name} has more than ${LARGEST} fields`)
  words.set(typeHashOf(name, fields), 0)
  fields.forEach(({ name: field, type }, index) => {
    encode(type, value[field], { at: WORD * (index + 1), field })
  })
  return keccak256(words.subarray(0, WORD * (fields.length + 1)))
}

/** The digest that is signed: keccak256(0x1901 ‖ domain separator ‖ struct hash). */
export function digestOfHashes(domainSeparator: Uint8Array, structHash: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(2 + 2 * WORD)
  bytes[0] = 0x19
  bytes[1] = 0x01
  bytes.set(domainSeparator, 2)
  bytes.set(structHash, 2 + WORD)
  return keccak256(bytes)
}

export function hashText(text: string): Uint8Array {
  return keccak256(new TextEncoder().encode(text))
}

function typeHashOf(name: string, fields: readonly Field[]): Uint8Array {
  const known = typeHashes.get(fields)
  if (known) return known
  const hash = hashText(`${name}(${fields.map((field) => `${field.type} ${field.name}`).join(',')})`)
  typeHashes.set(fields, hash)
  return hash
}

function encode(type: string, value: unknown, { at, field }: { at: number; field: string }): void {
  const refuse = () => new TypeError(`${field} is no ${type}`)
  if (type === 'bytes32' || type === 'address') {
    const bytes = type === 'bytes32' ? WORD : 20
    words.fill(0, at, at + WORD - bytes)
    if (typeof value !== 'string' || !writeHex(value, { at: at + WORD - bytes, bytes })) throw refuse()
    return
  }
  if (type === 'string') {
    if (typeof value !== 'string' || !value.isWellFormed()) throw refuse()
    words.set(hashText(value), at)
    return
  }
  if (type === 'bool') {
    if (typeof value !== 'boolean') throw refuse()
    words.fill(0, at, at + WORD)
    words[at + WORD - 1] = value ? 1 : 0
    return
  }
  const bits = /^uint([0-9]+)$/.exec(type)?.[1]
  if (bits === undefined || !isWhole(value) || !writeWhole(BigInt(value), { at, bits: Number(bits) })) throw refuse()
}

function isWhole(value: unknown): value is bigint | number | string {
  if (typeof value === 'number') return Number.isSafeInteger(value)
  return typeof value === 'bigint' || (typeof value === 'string' && /^(0x[0-9a-fA-F]+|[0-9]+)$/.test(value))
}

function writeWhole(value: bigint, { at, bits }: { at: number; bits: number }): boolean {
  if (value < 0n || value >> BigInt(bits) !== 0n) return false
  words.fill(0, at, at + WORD)
  let left = value
  for (let end = at + WORD; left > 0n; end -= 4, left >>= 32n) {
    const low = Number(left & 0xffffffffn)
    words[end - 1] = low
    words[end - 2] = low >>> 8
    words[end - 3] = low >>> 16
    words[end - 4] = low >>> 24
  }
  return true
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
