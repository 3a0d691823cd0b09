import { sha256 } from 'ethers'
import { describe, expect, it } from 'vitest'
import { cidOfDigest } from '../../services/core/cid.ts'
import { GranaryError } from '../../services/core/errors.ts'
import { encodeManifest } from '../../services/core/manifest.ts'
import type { ContentStore } from '../../services/core/ports.ts'
import { openStepper } from '../../services/indexer/indexer.ts'
import { openManifestFetcher, openManifestRound } from '../../services/indexer/manifest-fetcher.ts'
import { devChainMissing } from '../adapters/support/dev-chain.ts'
import { openMarketplace, randomId, registerModel, silent } from './support/marketplace.ts'
import { openMemoryMirror } from './support/memory-mirror.ts'

const missing = devChainMissing()

describe.skipIf(missing !== null)('manifests', () => {
  const manifest = {
    granary: 'model/1',
    name: 'tiny',
    version: '1',
    title: 'Tiny',
    description: '',
    author: 'A',
    licence: 'MIT',
    source: '',
    task: 'tensor',
    onnx: { name: 'm.onnx', cid: 'bafkreigh2akiscaildc', sha256: `0x${'ab'.repeat(32)}`, sizeBytes: 3 },
    files: [],
    inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, 2] }],
    outputs: [{ name: 'y', datatype: 'FP32', shape: [-1, 1] }],
    settings: {},
    unit: 'row',
    golden: [
      {
        inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2], data: [1, 2] }],
        outputs: [{ name: 'y', datatype: 'FP32', shape: [1, 1], data: [3] }],
        tolerance: 0.001,
      },
    ],
  }
  const bytes = encodeManifest(manifest)
  const manifestDigest = sha256(bytes)

  it('stores a manifest that names the registered ONNX file, refuses others, and asks for absent ones less and less', async () => {
    await using market = await openMarketplace({ manifestDigest, onnxDigest: manifest.onnx.sha256 })
    const other = { ...manifest, name: 'other' }
    const lying = encodeManifest(other)
    const wrong = { datasetId: market.datasetId, manifestDigest: sha256(lying), onnxDigest: randomId() }
    const wrongId = await registerModel(market.payer, wrong)
    const ledger = openMemoryMirror()
    const step = openStepper({ chain: market.payer, ledger, deployBlock: 1, log: silent })
    while ((await step()) !== 'idle');

    let now = 0
    let available = false
    const asked: string[] = []
    const known = new Map([
      [cidOfDigest(manifestDigest), bytes],
      [cidOfDigest(wrong.manifestDigest), lying],
    ])
    const content: Pick<ContentStore, 'get'> = {
      async get(cid) {
        asked.push(cid)
        const found = available ? known.get(cid) : undefined
        if (!found) throw new GranaryError('content.not-found', 'nobody has it')
        return found
      },
    }
    const round = openManifestRound({ ledger, content, log: silent, fetchTimeoutMs: 1000, now: () => now })
    expect(await round()).toBe(0)
    expect(asked).toHaveLength(2)
    available = true
    expect(await round()).toBe(0)
    expect(asked).toHaveLength(2)
    now = 1000
    expect(await round()).toBe(1)
    expect([...ledger.manifests.keys()]).toEqual([manifestDigest])
    expect(await ledger.modelsWithoutManifest(10)).toEqual([{ modelId: wrongId, manifestDigest: wrong.manifestDigest }])
    now = 2999
    await round()
    expect(asked).toHaveLength(4)
    now = 3000
    await round()
    expect(asked).toHaveLength(5)
  })

  it('stops at once, also while IPFS lets it wait', async () => {
    const asked = Promise.withResolvers<void>()
    const content: Pick<ContentStore, 'get'> = {
      get() {
        asked.resolve()
        return new Promise(() => undefined)
      },
    }
    const ledger = { ...openMemoryMirror(), modelsWithoutManifest: async () => [{ modelId: randomId(), manifestDigest }] }
    const fetcher = openManifestFetcher({ ledger, content, log: silent, fetchTimeoutMs: 60_000, pollMs: 10 })
    await asked.promise
    await fetcher[Symbol.asyncDispose]()
  })
})
