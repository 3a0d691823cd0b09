/** OIDs of pg_type. */
const TEXT = 25
const BYTEA = 17
const HEADER_BYTES = 20

/** A text[] in PostgreSQL's binary format, which it takes as it is, where it would have to look at each letter of the written one. */
export function textArray(values: readonly (string | null)[]): Buffer {
  return binaryArray(
    values.map((value) => (value === null ? null : Buffer.from(value))),
    TEXT,
  )
}

export function bytesArray(values: readonly (Uint8Array | null)[]): Buffer {
  return binaryArray(values, BYTEA)
}

/** One dimension from 1 on: its size, then each element's length (-1 for NULL) and bytes. */
function binaryArray(values: readonly (Uint8Array | null)[], type: number): Buffer {
  const size = values.reduce((sum, value) => sum + 4 + (value?.length ?? 0), HEADER_BYTES)
  const bytes = Buffer.allocUnsafe(size)
  const header = [1, values.includes(null) ? 1 : 0, type, values.length, 1]
  let at = 0
  for (const word of header) at = bytes.writeInt32BE(word, at)
  for (const value of values) {
    at = bytes.writeInt32BE(value?.length ?? -1, at)
    if (value === null) continue
    bytes.set(value, at)
    at += value.length
  }
  return bytes
}
