import { hash } from 'node:crypto'

/**
 * HMAC-SHA256 (RFC 2104) from two of Node's one-shot digests. An Hmac object costs four times as much where requests are many:
 * each is native memory that the collector has to be told of and to come back for.
 */
export interface HmacKey {
  /** The key against RFC 2104's inner and outer pad, a block each. */
  readonly pads: Uint8Array
}

const BLOCK_BYTES = 64
const DIGEST_BYTES = 32
const INNER_PAD = 0x36
const OUTER_PAD = 0x5c
/** Hashing is synchronous, so one of each is enough for all; what is longer gets its own. */
const inner = Buffer.alloc(BLOCK_BYTES + 8192)
const outer = Buffer.alloc(BLOCK_BYTES + DIGEST_BYTES)

/** Of at most 64 bytes; RFC 2104 hashes longer ones, which nobody here has. */
export function hmacKey(key: Uint8Array): HmacKey {
  if (key.length > BLOCK_BYTES) throw new RangeError(`an HMAC key of ${key.length} bytes is longer than ${BLOCK_BYTES}`)
  const pads = new Uint8Array(2 * BLOCK_BYTES).fill(INNER_PAD, 0, BLOCK_BYTES).fill(OUTER_PAD, BLOCK_BYTES)
  for (const [index, byte] of key.entries()) {
    pads[index] = byte ^ INNER_PAD
    pads[BLOCK_BYTES + index] = byte ^ OUTER_PAD
  }
  return { pads }
}

/** `binary`: a letter for each byte. */
export function hmacOf({ pads }: HmacKey, text: string, encoding: 'hex' | 'binary'): string {
  // UTF-8 has at most three bytes for each of a string's units.
  const message = 3 * text.length <= inner.length - BLOCK_BYTES ? inner : Buffer.alloc(BLOCK_BYTES + 3 * text.length)
  message.set(pads.subarray(0, BLOCK_BYTES))
  const end = BLOCK_BYTES + message.write(text, BLOCK_BYTES, 'utf8')
  outer.set(pads.subarray(BLOCK_BYTES))
  outer.write(hash('sha256', message.subarray(0, end), 'binary'), BLOCK_BYTES, 'latin1')
  return hash('sha256', outer, encoding)
}
