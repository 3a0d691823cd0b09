import { cidOfDigest } from '../core/cid.ts'
import { GranaryError } from '../core/errors.ts'
import { digestOfBytes, MAX_MANIFEST_BYTES, parseModelManifest } from '../core/manifest.ts'
import type { Chain, ContentStore, ModelFiles } from '../core/ports.ts'

const MANIFEST_TIMEOUT_MS = 15_000
const FILE_TIMEOUT_MS = 300_000

interface FileRef {
  name: string
  cid: string
  sha256: string
  sizeBytes: number
}

/** Everything that the runtime needs, from the chain's digests on: what does not hash to them is not used. */
export async function fetchModel(options: {
  chain: Chain
  store: ContentStore
  modelId: string
  maxModelBytes: number
}): Promise<ModelFiles> {
  const { chain, store, modelId, maxModelBytes } = options
  const registered = await chain.read({ contract: 'ModelRegistry', method: 'model', args: [modelId] })
  const { onnxDigest, manifestDigest } = registered as { onnxDigest: string; manifestDigest: string }
  const manifestBytes = await store.get(cidOfDigest(manifestDigest), {
    maxBytes: MAX_MANIFEST_BYTES,
    timeoutMs: MANIFEST_TIMEOUT_MS,
  })
  checkDigest('manifest', digestOfBytes(manifestBytes), manifestDigest)
  const manifest = parseModelManifest(manifestBytes)
  checkDigest('ONNX file named by the manifest', manifest.onnx.sha256, onnxDigest)
  const sizeBytes = [manifest.onnx, ...manifest.files].reduce((sum, file) => sum + file.sizeBytes, 0)
  if (sizeBytes > maxModelBytes) {
    throw new GranaryError('request.too-large', `${manifest.name} is too large for this worker.`, {
      sizeBytes,
      limit: maxModelBytes,
    })
  }
  const onnx = await fetchFile(store, manifest.onnx)
  const files = new Map<string, Uint8Array>()
  for (const file of manifest.files) files.set(file.name, await fetchFile(store, file))
  return { modelId, manifest, onnx, files }
}

async function fetchFile(store: ContentStore, { name, cid, sha256, sizeBytes }: FileRef): Promise<Uint8Array> {
  const bytes = await store.get(cid, { maxBytes: sizeBytes, timeoutMs: FILE_TIMEOUT_MS })
  checkDigest(name, digestOfBytes(bytes), sha256)
  return bytes
}

function checkDigest(what: string, actual: string, expected: string): void {
  if (actual.toLowerCase() === expected.toLowerCase()) return
  throw new GranaryError('content.mismatch', `The ${what} is not what was registered.`, { actual, expected })
}
