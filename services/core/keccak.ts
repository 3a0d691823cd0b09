import { keccak_256 } from '@noble/hashes/sha3.js'

/**
 * Keccak-256 as Ethereum uses it. Every voucher, receipt and session hashes several blocks of it, and in JavaScript, which has
 * no 64-bit words, that is the dearest step of a paid request: 13 µs a block. The permutation is therefore assembled here as
 * WebAssembly, where a block takes less than 1 µs; where that is forbidden, the JavaScript one does.
 */
const RATE_BYTES = 136
const STATE_BYTES = 200
const ROUNDS = 24
const CONSTANTS_AT = 256

function assembled(): ((bytes: Uint8Array) => Uint8Array) | null {
  let exported: WebAssembly.Exports
  try {
    exported = new WebAssembly.Instance(new WebAssembly.Module(permutationModule())).exports
  } catch {
    return null
  }
  const memory = (exported.m as WebAssembly.Memory).buffer
  const permute = exported.p as () => void
  new BigUint64Array(memory, CONSTANTS_AT, ROUNDS).set(roundConstants())
  const state = new Uint8Array(memory, 0, STATE_BYTES)
  const stateWords = new Uint32Array(memory, 0, STATE_BYTES / 4)

  /** XORs at most a block of the message into the state. */
  function absorb(bytes: Uint8Array, offset: number, size: number): void {
    const start = bytes.byteOffset + offset
    const whole = start % 4 === 0 ? size >> 2 : 0
    const words = new Uint32Array(bytes.buffer, whole > 0 ? start : 0, whole)
    for (let index = 0; index < whole; index++) stateWords[index] = (stateWords[index] ?? 0) ^ (words[index] ?? 0)
    for (let index = whole << 2; index < size; index++) state[index] = (state[index] ?? 0) ^ (bytes[offset + index] ?? 0)
  }

  return (bytes) => {
    state.fill(0)
    let offset = 0
    for (; offset + RATE_BYTES <= bytes.length; offset += RATE_BYTES) {
      absorb(bytes, offset, RATE_BYTES)
      permute()
    }
    const rest = bytes.length - offset
    absorb(bytes, offset, rest)
    state[rest] = (state[rest] ?? 0) ^ 0x01
    state[RATE_BYTES - 1] = (state[RATE_BYTES - 1] ?? 0) ^ 0x80
    permute()
    return state.slice(0, 32)
  }
}

/** Bits of an 8-bit shift register, at the powers of two less one. */
function roundConstants(): bigint[] {
  let register = 1
  return Array.from({ length: ROUNDS }, () => {
    let constant = 0n
    for (let bit = 0n; bit < 7n; bit++) {
      if (register & 1) constant ^= 1n << ((1n << bit) - 1n)
      register = ((register << 1) ^ ((register >> 7) * 0x171)) & 0xff
    }
    return constant
  })
}

const I64_XOR = 0x85
const I64_AND = 0x83
const I64_ROTL = 0x89
const [A, B, C, D, ROUND] = [0, 25, 50, 55, 56]

const get = (local: number) => [0x20, local]
const set = (local: number) => [0x21, local]
const rotated = (local: number, by: number) => [...get(local), 0x42, ...leb(by), I64_ROTL]

/** A module with one page of memory `m` and a function `p` that permutes the 25 words at its beginning. */
function permutationModule(): Uint8Array<ArrayBuffer> {
  const words = Array.from({ length: 25 }, (_, word) => word)
  const load = words.flatMap((word) => [0x41, 0, 0x29, 3, ...leb(8 * word), ...set(A + word)])
  const store = words.flatMap((word) => [0x41, 0, ...get(A + word), 0x37, 3, ...leb(8 * word)])
  const next = [...get(ROUND), 0x41, 8, 0x6a, 0x22, ROUND, 0x41, ...leb(8 * ROUNDS), 0x49, 0x0d, 0]
  const body = [...load, 0x03, 0x40, ...round(), ...next, 0x0b, ...store, 0x0b]
  const locals = [2, 56, 0x7e, 1, 0x7f]
  const size = locals.length + body.length
  const code = [1, ...leb(size), ...locals, ...body]
  return new Uint8Array([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, 0x60, 0, 0]),
    ...section(3, [1, 0]),
    ...section(5, [1, 0, 1]),
    ...section(7, [2, 1, 0x6d, 2, 0, 1, 0x70, 0, 0]),
    ...section(10, code),
  ])
}

/** Theta, rho with pi, chi and iota, on locals: A is the state, B the state after pi, C the columns' parities. */
function round(): number[] {
  const code: number[] = []
  for (let x = 0; x < 5; x++) {
    code.push(...get(A + x))
    for (let y = 1; y < 5; y++) code.push(...get(A + x + 5 * y), I64_XOR)
    code.push(...set(C + x))
  }
  for (let x = 0; x < 5; x++) {
    code.push(...get(C + ((x + 4) % 5)), ...rotated(C + ((x + 1) % 5), 1), I64_XOR, ...set(D))
    for (let y = 0; y < 5; y++) code.push(...get(A + x + 5 * y), ...get(D), I64_XOR, ...set(A + x + 5 * y))
  }
  code.push(...get(A), ...set(B))
  let [x, y] = [1, 0]
  for (let step = 0; step < 24; step++) {
    const moved = y + 5 * ((2 * x + 3 * y) % 5)
    code.push(...rotated(A + x + 5 * y, (((step + 1) * (step + 2)) / 2) % 64), ...set(B + moved))
    ;[x, y] = [y, (2 * x + 3 * y) % 5]
  }
  for (let word = 0; word < 25; word++) {
    const row = word - (word % 5)
    const [first, second] = [B + row + ((word + 1) % 5), B + row + ((word + 2) % 5)]
    code.push(...get(B + word), ...get(first), 0x42, 0x7f, I64_XOR, ...get(second), I64_AND, I64_XOR, ...set(A + word))
  }
  return [...code, ...get(A), ...get(ROUND), 0x29, 3, ...leb(CONSTANTS_AT), I64_XOR, ...set(A)]
}

function section(id: number, content: number[]): number[] {
  return [id, ...leb(content.length), ...content]
}

/** Positive numbers only; a seventh bit that is set would be read as a sign by instructions that take one, so it gets a byte more. */
function leb(value: number): number[] {
  const bytes: number[] = []
  let left = value
  do {
    const low = left & 0x7f
    left >>>= 7
    bytes.push(left > 0 || low > 0x3f ? low | 0x80 : low)
    if (left === 0 && low > 0x3f) bytes.push(0)
  } while (left > 0)
  return bytes
}

// Last, because it needs everything above.
export const keccak256: (bytes: Uint8Array) => Uint8Array = assembled() ?? ((bytes) => keccak_256(bytes))
