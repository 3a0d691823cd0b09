import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { withBitswap } from '@helia/bitswap'
import { withLibp2pLight } from '@helia/libp2p'
import { identify } from '@libp2p/identify'
import { tcp } from '@libp2p/tcp'
import { FsDatastore } from 'datastore-fs'
import { createHeliaLight } from 'helia'
import type { CID } from 'multiformats/cid'
import { GranaryError } from '../../core/errors.ts'
import type { ContentStore } from '../../core/ports.ts'
import type { Log } from '../log.ts'
import { KnownPeers } from './known-peers.ts'
import { gather, granaryErrorIn, importBytes, knownCid, type ReadableBlocks, readContent } from './unixfs.ts'
import { VerifiedBlockstore } from './verified-blockstore.ts'

const MAX_CONNECTIONS = 256
const FIRST_WAIT_MS = 1_000
const LONGEST_WAIT_MS = 16_000
/** Longer than bitswap takes to drop a cancelled want. */
const SETTLE_MS = 50

/** An IPFS node inside this process: no bootstrap list, no discovery; it only talks to nodes that it is told of or that dial it. */
export async function openHeliaStore(options: { dir: string; listen?: readonly string[]; log?: Log }): Promise<ContentStore> {
  const { dir, listen = ['/ip4/127.0.0.1/tcp/0'], log } = options
  const blockstore = new VerifiedBlockstore(join(dir, 'blocks'), log)
  const light = createHeliaLight({ blockstore, datastore: new FsDatastore(join(dir, 'data')) })
  const helia = withBitswap(
    withLibp2pLight(light, {
      addresses: { listen: [...listen] },
      transports: [tcp()],
      connectionEncrypters: [noise()],
      streamMuxers: [yamux()],
      connectionManager: { maxConnections: MAX_CONNECTIONS },
      services: { identify: identify() },
    }),
    // With a window, a node that lost a block and asks for it again gets no answer.
    { doNotResendBlockWindow: 0 },
  )
  await blockstore.open()
  await helia.start().catch((cause) => {
    throw cannotListen(listen, cause)
  })
  const peers = new KnownPeers(helia.libp2p, log)

  return {
    put: async (bytes) => (await importBytes(bytes, { put: async (cid, block) => helia.blockstore.put(cid, block) })).toString(),
    get: async (text, limits) => fetchContent({ cid: knownCid(text), blocks: helia.blockstore, ...limits }),
    addresses: () => helia.libp2p.getMultiaddrs().map(String),
    connect: (addresses) => peers.connect(addresses),
    async [Symbol.asyncDispose]() {
      peers.close()
      await helia.stop()
    },
  }
}

function cannotListen(listen: readonly string[], cause: unknown): unknown {
  if (!(cause instanceof Error) || cause.name !== 'UnsupportedListenAddressesError') return cause
  const inUse = cause.message.includes('EADDRINUSE')
  const why = inUse ? 'something else uses the port' : 'the addresses cannot be listened on'
  return new GranaryError(inUse ? 'start.port-in-use' : 'config.invalid', `IPFS cannot listen on ${listen.join(', ')}: ${why}.`, {
    cause,
  })
}

async function fetchContent(options: {
  cid: CID
  blocks: ReadableBlocks
  maxBytes: number
  timeoutMs: number
}): Promise<Uint8Array> {
  const { cid, blocks, maxBytes, timeoutMs } = options
  const signal = AbortSignal.timeout(timeoutMs)
  try {
    return await readContent({ cid, blocks: insisting(blocks, signal), maxBytes, signal })
  } catch (cause) {
    throw (
      granaryErrorIn(cause) ??
      new GranaryError('content.not-found', `No reachable IPFS node has ${cid}.`, { cause, cid: cid.toString() })
    )
  }
}

/**
 * Asks again for a block that does not come, since a want may get lost: bitswap forgets one that meets its own
 * cancellation, or that follows a block sent before. A block damaged on disk was thrown away when it was read, so the
 * next try asks the other nodes for it.
 */
function insisting(blocks: ReadableBlocks, signal: AbortSignal): ReadableBlocks {
  return {
    async *get(cid) {
      let damage: GranaryError | null = null
      for (let waitMs = FIRST_WAIT_MS; ; waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS)) {
        try {
          yield await gather(blocks.get(cid, { signal: AbortSignal.any([signal, AbortSignal.timeout(waitMs)]) }))
          return
        } catch (error) {
          const known = granaryErrorIn(error)
          if (known && known.code !== 'content.mismatch') throw known
          damage ??= known
          if (signal.aborted) throw damage ?? error
        }
        await setTimeout(SETTLE_MS)
      }
    },
  }
}
