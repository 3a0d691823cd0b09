import { GranaryError } from '../core/errors.ts'
import type { ModelManifest } from '../core/manifest.ts'
import { unitIndex } from '../core/metering.ts'
import type { CatalogModel } from '../core/mirror-ledger.ts'
import type { Ledger } from '../core/ports.ts'

export interface SellableModel extends CatalogModel {
  manifest: ModelManifest
  /** The highest that a dataset of the lineage asks per unit: no offer below it is sold. */
  floorPrice: bigint
}

const MAX_DATASETS = 10_000

export interface Catalog {
  list(): Promise<SellableModel[]>
  /** By modelId, or by name: a name stays with the model that was first registered under it, so nobody can take it over. */
  find(model: string): Promise<SellableModel>
}

/** The ledger's mirror of the catalog, read again after `maxAgeMs`; consent is never read from here. */
export function openCatalog(options: { ledger: Ledger; maxAgeMs: number }): Catalog {
  const { ledger, maxAgeMs } = options
  let readMs = Number.NEGATIVE_INFINITY
  let reading: Promise<Shelf> | null = null

  function shelf(): Promise<Shelf> {
    if (reading && performance.now() - readMs < maxAgeMs) return reading
    readMs = performance.now()
    const fresh = readModels(ledger).then(shelfOf)
    fresh.catch(() => {
      if (reading === fresh) reading = null
    })
    reading = fresh
    return fresh
  }

  async function find(model: string): Promise<SellableModel> {
    const { byId, firstOfName } = await shelf()
    const found = byId.get(model) ?? firstOfName.get(model)
    if (found) return found
    throw new GranaryError('model.unknown', `No model "${model.slice(0, 80)}" is sold here.`, { model: model.slice(0, 80) })
  }

  return { list: async () => (await shelf()).models, find }
}

interface Shelf {
  models: SellableModel[]
  byId: Map<string, SellableModel>
  firstOfName: Map<string, SellableModel>
}

function shelfOf(models: SellableModel[]): Shelf {
  // Of those that share a name the first is put in last.
  const lastFirst = [...models].sort((a, b) => registeredAt(a) - registeredAt(b)).reverse()
  return {
    models,
    byId: new Map(models.map((model) => [model.modelId, model])),
    firstOfName: new Map(lastFirst.map((model) => [model.manifest.name, model])),
  }
}

async function readModels(ledger: Ledger): Promise<SellableModel[]> {
  const [models, datasets] = await Promise.all([ledger.models(), ledger.mirrors('dataset', MAX_DATASETS)])
  const floors = new Map(datasets.map(({ id, state }) => [id, floorOf(state)]))
  return models.flatMap((model) => {
    const { manifest, state } = model
    if (manifest === null) return []
    const payees = (state.payees ?? []) as { id: string }[]
    const floorPrice = payees.map(({ id }) => floors.get(id) ?? 0n).reduce((most, floor) => (floor > most ? floor : most), 0n)
    // An offer in another unit than the manifest's would be charged by another count than the caller's.
    const offers = model.offers.filter(({ unit, unitPrice }) => unit === unitIndex(manifest.unit) && unitPrice >= floorPrice)
    return [{ ...model, manifest, floorPrice, offers }]
  })
}

function floorOf(dataset: Record<string, unknown> | null): bigint {
  const terms = dataset?.terms as { floorPrice?: string } | undefined
  return BigInt(terms?.floorPrice ?? 0)
}

function registeredAt({ state }: CatalogModel): number {
  return Number(state.registeredAt ?? 0)
}
