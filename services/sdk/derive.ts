import { GranaryError } from '../core/errors.ts'
import { flawOfShares } from '../core/lineage.ts'
import { digestOfBytes, encodeManifest, type ModelManifest } from '../core/manifest.ts'
import { type Context, DEADLINE_SECONDS } from './context.ts'

export interface ModelOffer {
  manifest: ModelManifest
  datasets: { datasetId: string; ppm: number }[]
  parents: string[]
  /** Mask; a subset of what every parent permits. */
  purposes: number
  authorPpm: number
  derivativePpm: number
}

/** Chapter 3: models with their lineage. */
export class Derive {
  readonly #context: Context

  constructor(context: Context) {
    this.#context = context
  }

  /** Publishes the manifest and registers the model by signature. */
  async register(offer: ModelOffer): Promise<{ modelId: string; manifestCid: string; transaction: string }> {
    const { address, sign, relay, now, contracts } = this.#context
    const bytes = encodeManifest(offer.manifest)
    const manifestCid = await this.#context.put(bytes)
    const { datasets, parents, purposes, authorPpm, derivativePpm } = offer
    const flaw = parents.length === 0 ? flawOfShares(offer) : null
    if (flaw) throw new GranaryError('request.malformed', `The registry would refuse the shares: ${flaw}.`)
    const author = await address()
    const registration = {
      author,
      onnxDigest: offer.manifest.onnx.sha256,
      manifestDigest: digestOfBytes(bytes),
      datasets,
      parents,
      purposes,
      authorPpm,
      derivativePpm,
    }
    const modelId = (await contracts().read<string>('ModelRegistry', 'modelIdOf', [registration])).toLowerCase()
    const deadline = (await now()) + DEADLINE_SECONDS
    const signature = await sign('ModelRegistry', 'RegisterModel', { modelId, author, deadline })
    const { transaction } = await relay('ModelRegistry', 'registerBySig', [registration, deadline, signature])
    return { modelId, manifestCid, transaction }
  }
}
