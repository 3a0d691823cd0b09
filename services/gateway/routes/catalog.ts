import type { FastifyInstance } from 'fastify'
import type { ConsentWatch } from '../../adapters/consent-watch.ts'
import { purposesOfMask } from '../../core/consent.ts'
import { GranaryError } from '../../core/errors.ts'
import type { Chain, Dispatcher, Ledger } from '../../core/ports.ts'
import type { Catalog, SellableModel } from '../catalog.ts'
import type { Rails } from '../challenge.ts'
import type { Purposes } from '../purposes.ts'

export interface CatalogContext {
  catalog: Catalog
  consent: ConsentWatch
  chain: Chain
  ledger: Ledger
  dispatcher: Dispatcher
  rails: Rails
  purposes: Purposes
}

/** What can be bought here, from whom, at what price, and whether the gateway is able to serve. */
export function catalogRoutes(app: FastifyInstance, context: CatalogContext): void {
  const { catalog, consent, chain, ledger, dispatcher, rails } = context

  app.get('/', async () => ({
    name: 'Granary gateway',
    documentation: 'docs/PROTOCOL.md',
    routes: app.printRoutes({ commonPrefix: false }).split('\n').filter(Boolean),
  }))

  app.get('/v1', async () => ({
    chainId: chain.chainId.toString(),
    contracts: chain.addresses,
    token: rails.token,
    tokenDomain: rails.tokenDomain,
    escrow: rails.escrow,
    collector: rails.collector,
    x402Router: rails.exact?.rail.router ?? null,
    minThawSeconds: rails.minThawSeconds,
    gatewayKey: rails.sessionKey,
  }))

  app.get('/v1/health', async (_request, reply) => {
    const [ledgerUp] = await Promise.all([
      ledger.ping().then(
        () => true,
        () => false,
      ),
    ])
    const ready = ledgerUp && consent.isFresh()
    return reply
      .code(ready ? 200 : 503)
      .send({ live: true, ready, ledger: ledgerUp, head: consent.head, freshHead: consent.isFresh() })
  })

  // The chain's clock as this gateway knows it: deadlines are made from it.
  app.get('/v1/head', async () => {
    if (!consent.head) throw new GranaryError('consent.stale', 'The gateway has seen no block yet.')
    return { ...consent.head, fresh: consent.isFresh() }
  })

  app.get('/v1/purposes', async () => ({ purposes: await context.purposes() }))

  app.get('/v1/models', async () => {
    const purposes = await context.purposes()
    const models = (await catalog.list()).map((model) => describe(model, { purposes, dispatcher }))
    // `object` and `data` are OpenAI's names for the same list. A name buys the model that had it first, others go by their id.
    const firsts = await Promise.all(models.map(async ({ name }) => (await catalog.find(name)).modelId))
    const data = models.map((model, index) => briefly(model, firsts[index] === model.modelId ? model.name : model.modelId))
    return { object: 'list', data, models }
  })

  app.get<{ Params: { model: string } }>('/v1/models/:model', async (request) => {
    const model = await catalog.find(request.params.model)
    return { ...describe(model, { purposes: await context.purposes(), dispatcher }), manifest: model.manifest }
  })

  app.get<{ Params: { datasetId: string } }>('/v1/datasets/:datasetId', async (request) => {
    const { datasetId } = request.params
    const mirror = /^0x[0-9a-f]{64}$/.test(datasetId) ? await ledger.mirror('dataset', datasetId) : null
    if (!mirror?.state) throw new GranaryError('dataset.unknown', `No dataset "${datasetId.slice(0, 80)}" is registered here.`)
    return mirror.state
  })
}

function describe(
  { modelId, manifest, state, offers, floorPrice }: SellableModel,
  { purposes, dispatcher }: { purposes: readonly string[]; dispatcher: Dispatcher },
) {
  const ready = dispatcher.workers().filter((worker) => worker.ready.has(modelId))
  return {
    ...openAiModel({ manifest, state }),
    modelId,
    name: manifest.name,
    title: manifest.title,
    author: manifest.author,
    licence: manifest.licence,
    task: manifest.task,
    unit: manifest.unit,
    purposes: purposesOfMask(Number(state.purposes ?? 0), purposes),
    lineage: state.payees ?? [],
    inputs: manifest.inputs,
    outputs: manifest.outputs,
    floorPrice: floorPrice.toString(),
    offers: offers.map(({ provider, unitPrice }) => ({ provider, unitPrice: unitPrice.toString() })),
    servedBy: offers.map(({ provider }) => provider).filter((provider) => ready.some((worker) => worker.provider === provider)),
  }
}

/** The fields that OpenAI's clients know a model by. */
function openAiModel({ manifest, state }: Pick<SellableModel, 'manifest' | 'state'>) {
  return { id: manifest.name, object: 'model', created: Number(state.registeredAt ?? 0), owned_by: manifest.author }
}

function briefly({ object, created, owned_by }: ReturnType<typeof openAiModel>, id: string) {
  return { id, object, created, owned_by }
}
