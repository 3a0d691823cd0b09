import { GranaryError } from '../core/errors.ts'
import type { ModelManifest } from '../core/manifest.ts'
import { unitIndex } from '../core/metering.ts'
import type { CatalogModel, Ledger } from '../core/ports.ts'

export interface SellableModel extends CatalogModel {
  manifest: ModelManifest
}

export interface Catalog {
  list(): Promise<SellableModel[]>
  /** By modelId, or by name: a name stays with the model that was first registered under it, so nobody can take it over. */
  find(model: string): Promise<SellableModel>
}

/** The ledger's mirror of the catalog, read again after `maxAgeMs`; consent is never read from here. */
export function openCatalog(options: { ledger: Ledger; maxAgeMs: number }): Catalog {
  const { ledger, maxAgeMs } = options
  let readMs = Number.NEGATIVE_INFINITY
  let reading: Promise<SellableModel[]> | null = null

  function list(): Promise<SellableModel[]> {
    if (reading && performance.now() - readMs < maxAgeMs) return reading
    readMs = performance.now()
    const fresh = ledger.models().then((models) => models.filter(isSellable).map(withMatchingOffers))
    fresh.catch(() => {
      if (reading === fresh) reading = null
    })
    reading = fresh
    return fresh
  }

  async function find(model: string): Promise<SellableModel> {
    const models = await list()
    const byId = models.find(({ modelId }) => modelId === model)
    if (byId) return byId
    const named = models.filter(({ manifest }) => manifest.name === model)
    const first = named.sort((a, b) => registeredAt(a) - registeredAt(b))[0]
    if (first) return first
    throw new GranaryError('model.unknown', `No model "${model.slice(0, 80)}" is sold here.`, { model: model.slice(0, 80) })
  }

  return { list, find }
}

function isSellable(model: CatalogModel): model is SellableModel {
  return model.manifest !== null
}

/** An offer in another unit than the manifest's would be charged by another count than the caller's. */
function withMatchingOffers(model: SellableModel): SellableModel {
  return { ...model, offers: model.offers.filter(({ unit }) => unit === unitIndex(model.manifest.unit)) }
}

function registeredAt({ state }: CatalogModel): number {
  return Number(state.registeredAt ?? 0)
}
