import { fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { NextToLast } from 'blockstore-fs/sharding'
import { CID } from 'multiformats/cid'
import { afterAll, describe, expect, it } from 'vitest'
import { openHeliaStore } from '../../services/adapters/store/helia-store.ts'
import { openKuboStore } from '../../services/adapters/store/kubo-store.ts'
import { storeConformance } from './conformance/store.ts'
import { startKuboRpcServer } from './support/kubo-rpc-server.ts'

const LIMITS = { maxBytes: 1 << 26, timeoutMs: 10_000 }

const scratched: string[] = []
afterAll(() => Promise.all(scratched.map((dir) => rm(dir, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 }))))

async function scratch(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'granary-store-'))
  scratched.push(dir)
  return dir
}

storeConformance({
  name: 'two Helia nodes, over bitswap',
  damageIsEverywhere: false,
  open: async () => {
    const dir = await scratch()
    const [writer, reader] = await Promise.all(['a', 'b'].map((name) => openHeliaStore({ dir: join(dir, name) })))
    if (!writer || !reader) throw new Error('no stores')
    await reader.connect(writer.addresses())
    return {
      writer,
      reader,
      damage: (cid) => damageBlock(join(dir, 'b'), cid),
      close: async () => {
        await Promise.all([writer[Symbol.asyncDispose](), reader[Symbol.asyncDispose]()])
      },
    }
  },
})

storeConformance({
  name: 'the subset of the Kubo RPC API in test/adapters/support',
  damageIsEverywhere: true,
  open: async () => {
    const server = await startKuboRpcServer()
    const store = await openKuboStore({ url: server.url })
    return { writer: store, reader: store, damage: server.corrupt, close: async () => server[Symbol.asyncDispose]() }
  },
})

const peerModule = fileURLToPath(new URL('../kubo-peer/start.mjs', import.meta.url))
const peerInstalled = existsSync(new URL('../kubo-peer/node_modules/ipfs-core', import.meta.url))

if (peerInstalled) {
  storeConformance({
    name: "Kubo's RPC API as js-ipfs implements it",
    damageIsEverywhere: true,
    open: async () => {
      const repo = await scratch()
      const peer = fork(peerModule, [repo], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
      const [{ url }] = (await once(peer, 'message')) as [{ url: string }]
      const store = await openKuboStore({ url })
      return {
        writer: store,
        reader: store,
        damage: (cid) => damageAnyBlock(repo, cid),
        close: async () => {
          const ended = once(peer, 'exit')
          peer.kill('SIGKILL')
          await ended
        },
      }
    },
  })
} else {
  describe.skip("ContentStore on Kubo's RPC API as js-ipfs implements it (skipped: `npm ci --prefix test/kubo-peer` was not run)", () => {
    it('passes the conformance suite', () => {})
  })
}

describe('a Helia node', () => {
  it('keeps content and identity over a restart, and gives it without any peer', async () => {
    const dir = await scratch()
    const first = await openHeliaStore({ dir })
    const bytes = new Uint8Array(randomBytes(1_500_000))
    const cid = await first.put(bytes)
    const peer = first.addresses()[0]?.split('/p2p/')[1]
    expect(peer).toBeTruthy()
    await first[Symbol.asyncDispose]()
    const second = await openHeliaStore({ dir })
    expect(Buffer.from(await second.get(cid, LIMITS)).equals(bytes)).toBe(true)
    expect(second.addresses()[0]?.split('/p2p/')[1]).toBe(peer)
    await second[Symbol.asyncDispose]()
  })

  it('discards a damaged block that no peer can replace, and says so', async () => {
    const dir = await scratch()
    await using store = await openHeliaStore({ dir })
    const cid = await store.put(new Uint8Array(randomBytes(1000)))
    await damageBlock(dir, cid)
    const limits = { ...LIMITS, timeoutMs: 500 }
    await expect(store.get(cid, limits)).rejects.toMatchObject({ code: 'content.mismatch' })
    await expect(store.get(cid, limits)).rejects.toMatchObject({ code: 'content.not-found' })
  })

  it('dials a lost peer again by itself', async () => {
    const dir = await scratch()
    await using reader = await openHeliaStore({ dir: join(dir, 'reader') })
    const before = await openHeliaStore({ dir: join(dir, 'writer') })
    const address = before.addresses()[0] ?? ''
    await reader.connect([address])
    const bytes = new Uint8Array(randomBytes(300_000))
    const cid = await before.put(bytes)
    await before[Symbol.asyncDispose]()
    await using _after = await openHeliaStore({ dir: join(dir, 'writer'), listen: [address.split('/p2p/')[0] ?? ''] })
    expect(Buffer.from(await reader.get(cid, LIMITS)).equals(bytes)).toBe(true)
  })

  it('says so when its port is in use', async () => {
    const dir = await scratch()
    await using first = await openHeliaStore({ dir: join(dir, 'first') })
    const listen = first.addresses().map((address) => address.split('/p2p/')[0] ?? '')
    const second = openHeliaStore({ dir: join(dir, 'second'), listen })
    await expect(second).rejects.toMatchObject({ code: 'start.port-in-use' })
  })

  it('refuses addresses that name no peer', async () => {
    const dir = await scratch()
    await using store = await openHeliaStore({ dir })
    for (const address of ['nonsense', '/ip4/127.0.0.1/tcp/1']) {
      await expect(store.connect([address])).rejects.toMatchObject({ code: 'request.malformed' })
    }
  })
})

describe('a Kubo node', () => {
  it('that does not answer is a clear error at start', async () => {
    await expect(openKuboStore({ url: 'http://127.0.0.1:1' })).rejects.toMatchObject({ code: 'content.unavailable' })
  })

  it('is told whom to connect to', async () => {
    await using server = await startKuboRpcServer()
    const store = await openKuboStore({ url: server.url })
    await store.connect(store.addresses())
    expect(server.connected).toEqual(store.addresses())
    expect(server.connected.length).toBe(1)
  })
})

/** Overwrites a content's root block on disk. */
async function damageBlock(dir: string, cid: string): Promise<void> {
  const { dir: shard, file } = new NextToLast().encode(CID.parse(cid))
  await writeFile(join(dir, 'blocks', shard, file), 'damaged')
}

/** In the folder of a node that names its files by the same hash, in whatever layout. */
async function damageAnyBlock(repo: string, cid: string): Promise<void> {
  const name = basename(new NextToLast().encode(CID.parse(cid)).file)
  const found = (await readdir(repo, { recursive: true })).find((file) => file.endsWith(name.slice(-40)))
  if (!found) throw new Error(`the peer has no file of ${cid}`)
  await writeFile(join(repo, found), 'damaged')
}
