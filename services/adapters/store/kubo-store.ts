import { create, type KuboRPCClient } from 'kubo-rpc-client'
import type { CID } from 'multiformats/cid'
import { GranaryError } from '../../core/errors.ts'
import type { ContentStore } from '../../core/ports.ts'
import type { Log } from '../log.ts'
import {
  CHUNK_BYTES,
  cidOfBytes,
  granaryErrorIn,
  knownCid,
  LINKS_PER_NODE,
  matchesCid,
  mismatch,
  type ReadableBlocks,
  readContent,
} from './unixfs.ts'

const CALL_TIMEOUT_MS = 10_000
const PUT_TIMEOUT_MS = 120_000

/** A Kubo node by the URL of its RPC API. It is not trusted: every block that it hands out is hashed here. */
export async function openKuboStore(options: { url: string; log?: Log }): Promise<ContentStore> {
  const { url, log } = options
  const client = create({ url })
  const { id, addresses } = await client.id({ signal: AbortSignal.timeout(CALL_TIMEOUT_MS) }).catch((cause) => {
    throw new GranaryError('content.unavailable', `The IPFS node at ${withoutSecrets(url)} does not answer.`, { cause })
  })
  log?.info({ event: 'content.kubo-connected', peer: id.toString() })
  return {
    put: (bytes) => addTo(client, bytes),
    get: async (text, limits) => fetchFrom(client, { cid: knownCid(text), ...limits }),
    addresses: () => addresses.map(String),
    connect: (others) => connectTo(client, { others, log }),
    // Requests end by themselves, and the node is not ours to stop.
    async [Symbol.asyncDispose]() {},
  }
}

async function addTo(client: KuboRPCClient, bytes: Uint8Array): Promise<string> {
  const expected = await cidOfBytes(bytes)
  const settings = { 'max-file-links': LINKS_PER_NODE }
  const { cid } = await client
    .add(bytes, {
      cidVersion: 1,
      rawLeaves: true,
      chunker: `size-${CHUNK_BYTES}`,
      pin: true,
      signal: AbortSignal.timeout(PUT_TIMEOUT_MS),
      ...settings,
    })
    .catch((cause) => {
      throw new GranaryError('content.unavailable', 'The IPFS node did not take the bytes.', { cause })
    })
  if (cid.toString() !== expected.toString()) {
    throw new GranaryError('content.mismatch', 'The IPFS node stored the bytes under another CID than they have.', {
      expected: expected.toString(),
      actual: cid.toString(),
    })
  }
  return expected.toString()
}

async function fetchFrom(
  client: KuboRPCClient,
  { cid, maxBytes, timeoutMs }: { cid: CID; maxBytes: number; timeoutMs: number },
): Promise<Uint8Array> {
  const blocks: ReadableBlocks = {
    async *get(block, { signal } = {}) {
      const bytes = await client.block.get(block, signal ? { signal } : {})
      if (!matchesCid(block, bytes)) throw mismatch(block)
      yield bytes
    },
  }
  try {
    return await readContent({ cid, blocks, maxBytes, signal: AbortSignal.timeout(timeoutMs) })
  } catch (cause) {
    throw (
      granaryErrorIn(cause) ??
      new GranaryError('content.not-found', `The IPFS node could not provide ${cid}.`, { cause, cid: cid.toString() })
    )
  }
}

/** Kubo keeps its own connections; a node that cannot be reached now is no error, since content may come from others. */
async function connectTo(client: KuboRPCClient, { others, log }: { others: readonly string[]; log: Log | undefined }) {
  await Promise.all(
    others.slice(0, 64).map(async (address) => {
      try {
        // The client's type wants a multiaddr object of its own version, but only sends its text.
        await client.swarm.connect(address as never, { signal: AbortSignal.timeout(CALL_TIMEOUT_MS) })
      } catch (error) {
        log?.warn({ event: 'content.peer-unreachable', address, error })
      }
    }),
  )
}

function withoutSecrets(url: string): string {
  return URL.parse(url)?.host ?? 'the given URL'
}
