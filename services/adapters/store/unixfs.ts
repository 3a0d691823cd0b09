import { createHash } from 'node:crypto'
import { exporter } from 'ipfs-unixfs-exporter'
import { importFile } from 'ipfs-unixfs-importer'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced } from 'ipfs-unixfs-importer/layout'
import type { CID } from 'multiformats/cid'
import { parseCid } from '../../core/cid.ts'
import { GranaryError } from '../../core/errors.ts'
import { joinBytes } from '../../core/tensors.ts'

/**
 * How bytes become blocks here, spelled out because every node has defaults of its own: CIDv1, raw leaves of 1 MiB, a
 * balanced tree of 174 links a node. What fits one block is that raw block itself.
 */
export const CHUNK_BYTES = 1024 * 1024
export const LINKS_PER_NODE = 174
const SHA2_256 = 0x12
/** Bitswap's limit for a block, and a little more than any block made here. */
export const MAX_BLOCK_BYTES = 2 * 1024 * 1024
const READ_AHEAD_BLOCKS = 8

export interface WritableBlocks {
  put(cid: CID, bytes: Uint8Array): Promise<CID>
}

export interface ReadableBlocks {
  get(cid: CID, options?: { signal?: AbortSignal }): Generator<Uint8Array> | AsyncGenerator<Uint8Array>
}

/** Cuts bytes into blocks and puts each; the root's CID comes back. */
export async function importBytes(bytes: Uint8Array, blocks: WritableBlocks): Promise<CID> {
  const { cid } = await importFile(
    { content: bytes },
    { put: async (cid, block) => blocks.put(cid, await gather(block)) },
    {
      cidVersion: 1,
      rawLeaves: true,
      reduceSingleLeafToSelf: true,
      chunker: fixedSize({ chunkSize: CHUNK_BYTES }),
      layout: balanced({ maxChildrenPerNode: LINKS_PER_NODE }),
    },
  )
  return cid
}

/** The CID that `importBytes` gives, without keeping anything. */
export function cidOfBytes(bytes: Uint8Array): Promise<CID> {
  return importBytes(bytes, { put: async (cid) => cid })
}

/** Reads a file from blocks that were checked one by one; never holds more than `maxBytes` of it. */
export async function readContent(options: {
  cid: CID
  blocks: ReadableBlocks
  maxBytes: number
  signal: AbortSignal
}): Promise<Uint8Array> {
  const { cid, blocks, maxBytes, signal } = options
  const entry = await exporter(cid, blocks, { signal })
  if (entry.type !== 'file' && entry.type !== 'raw') {
    throw new GranaryError('content.mismatch', `CID ${cid} names a ${entry.type}, not a file.`, { cid: cid.toString() })
  }
  // What the root claims saves fetching the rest; what arrives is counted all the same.
  if (entry.size > BigInt(maxBytes)) throw tooLarge(cid, maxBytes)
  const parts: Uint8Array[] = []
  let size = 0
  for await (const part of entry.content({ signal, blockReadConcurrency: READ_AHEAD_BLOCKS })) {
    size += part.length
    if (size > maxBytes) throw tooLarge(cid, maxBytes)
    parts.push(part)
  }
  return joinBytes(parts)
}

export function matchesCid(cid: CID, bytes: Uint8Array): boolean {
  if (cid.multihash.code !== SHA2_256) return false
  return createHash('sha256').update(bytes).digest().equals(cid.multihash.digest)
}

export function mismatch(cid: CID): GranaryError {
  return new GranaryError('content.mismatch', `The bytes do not hash to CID ${cid} and were discarded.`, { cid: cid.toString() })
}

export function knownCid(text: string): CID {
  const cid = parseCid(text)
  if (!cid) throw new GranaryError('request.malformed', `"${text.slice(0, 128)}" is no CIDv1.`)
  return cid
}

/** Our own error somewhere inside what a library threw; null if there is none. */
export function granaryErrorIn(error: unknown): GranaryError | null {
  let found = error
  for (let depth = 0; depth < 8 && found instanceof Error; depth++) {
    if (found instanceof GranaryError) return found
    found = found instanceof AggregateError ? found.errors[0] : found.cause
  }
  return null
}

export async function gather(block: Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  if (block instanceof Uint8Array) return block
  const parts: Uint8Array[] = []
  let size = 0
  for await (const part of block) {
    size += part.length
    if (size > MAX_BLOCK_BYTES) {
      throw new GranaryError('request.too-large', 'A block is larger than blocks may be.', { limit: MAX_BLOCK_BYTES })
    }
    parts.push(part)
  }
  return parts.length === 1 && parts[0] ? parts[0] : joinBytes(parts)
}

function tooLarge(cid: CID, limit: number): GranaryError {
  return new GranaryError('request.too-large', `The content of ${cid} is larger than ${limit} bytes.`, {
    cid: cid.toString(),
    limit,
  })
}
