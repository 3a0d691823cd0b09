import { joinBytes } from '../../core/tensors.ts'
import { CHUNK_BYTES } from './frames.ts'

/** A transfer that has not left yet. */
export interface Outgoing {
  stream: number
  header: unknown
  bodyBytes: number
  parts: Uint8Array[]
  offset: number
  /** Bytes that may leave now; none before the transfer is opened. */
  credit: number
}

/** The end of the line, or the place before a transfer that waits for this one on the same stream. */
export function placeBefore(line: readonly Outgoing[], stream: number): number {
  const waiting = line.findIndex((outgoing) => outgoing.stream === stream)
  return waiting < 0 ? line.length : waiting
}

export function takeChunk(outgoing: Outgoing): Uint8Array {
  const chunk: Uint8Array[] = []
  let room = Math.min(CHUNK_BYTES, outgoing.credit)
  while (room > 0) {
    const part = outgoing.parts[0]
    if (!part) break
    const piece = part.subarray(outgoing.offset, outgoing.offset + room)
    chunk.push(piece)
    room -= piece.length
    outgoing.credit -= piece.length
    outgoing.offset += piece.length
    if (outgoing.offset === part.length) {
      outgoing.parts.shift()
      outgoing.offset = 0
    }
  }
  return joinBytes(chunk)
}
