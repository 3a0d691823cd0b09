import { purposesMask } from '../../../services/core/consent.ts'
import { digestOfBytes, type ModelManifest } from '../../../services/core/manifest.ts'
import type { Person } from '../../story/world.ts'

/** Registers a model whose bytes nobody will ever load: the gateway needs its manifest, price and consent. */
export async function registerNoOp(author: Person): Promise<string> {
  const bytes = new TextEncoder().encode('a model that is never run')
  const cid = await author.granary.context.put(bytes)
  const text = { name: 'text', datatype: 'BYTES' as const, shape: [1], data: ['hello'] }
  const manifest: ModelManifest = {
    granary: 'model/1',
    name: 'no-op',
    version: '1.0.0',
    title: 'Nothing',
    description: 'Answers at once, so that a benchmark measures payment alone.',
    author: 'Granary',
    licence: 'Apache-2.0',
    source: '',
    task: 'text-classification',
    onnx: { name: 'no-op.onnx', cid, sha256: digestOfBytes(bytes), sizeBytes: bytes.length },
    files: [],
    inputs: [{ name: 'text', datatype: 'BYTES', shape: [-1] }],
    outputs: [{ name: 'label', datatype: 'BYTES', shape: [-1] }],
    settings: {},
    unit: 'request',
    golden: [{ inputs: [text], outputs: [{ ...text, name: 'label', data: ['ham'] }], tolerance: 0 }],
  }
  const purposes = purposesMask(['research', 'commercial-service'])
  const { modelId } = await author.granary.derive.register({
    manifest,
    datasets: [],
    parents: [],
    purposes,
    authorPpm: 0,
    derivativePpm: 20_000,
  })
  return modelId
}
