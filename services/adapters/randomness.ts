import { randomFillSync } from 'node:crypto'

const POOL_BYTES = 8192

/** Asking the system for each few bytes takes longer than using them. */
const pool = Buffer.alloc(POOL_BYTES)
let used = POOL_BYTES

/** Random bytes for keys, salts and ids; none is given out twice or kept. */
export function randomOf(bytes: number): Buffer {
  return taken(bytes, (drawn) => Buffer.from(drawn))
}

/** The same as hexadecimal digits, two for each byte. */
export function randomHexOf(bytes: number): string {
  return taken(bytes, (drawn) => drawn.toString('hex'))
}

function taken<Copy>(bytes: number, copy: (drawn: Buffer) => Copy): Copy {
  if (bytes > POOL_BYTES) throw new RangeError(`${bytes} random bytes at once are more than ${POOL_BYTES}`)
  if (used + bytes > POOL_BYTES) {
    randomFillSync(pool)
    used = 0
  }
  const given = copy(pool.subarray(used, used + bytes))
  pool.fill(0, used, used + bytes)
  used += bytes
  return given
}
