import type { FastifyInstance } from 'fastify'
import { openEthersChain } from '../../../services/adapters/chain/ethers-chain.ts'
import { ConsentWatch } from '../../../services/adapters/consent-watch.ts'
import { openLedger } from '../../../services/adapters/ledger/prisma-ledger.ts'
import { runProcess } from '../../../services/adapters/lifecycle.ts'
import { openLog } from '../../../services/adapters/log.ts'
import { logLevel } from '../../../services/adapters/settings.ts'
import { openHeliaStore } from '../../../services/adapters/store/helia-store.ts'
import { InferBody, parseBody } from '../../../services/core/api.ts'
import { GranaryError } from '../../../services/core/errors.ts'
import { toJsonTensor } from '../../../services/core/tensors.ts'
import { openCatalog } from '../../../services/gateway/catalog.ts'
import { readConfig } from '../../../services/gateway/config.ts'
import { openGateway } from '../../../services/gateway/gateway.ts'
import { type Shop, takeOrder } from '../../../services/gateway/order.ts'
import { openPurposes } from '../../../services/gateway/purposes.ts'
import { openNoOpDispatcher } from './no-op-dispatcher.ts'

/** The gateway's process as services/gateway/main.ts puts it together, with a no-op in the place of the providers. */
const log = openLog({ process: 'gateway', level: logLevel() })

await runProcess({
  log,
  async start() {
    const config = readConfig()
    const { deployment, rpcUrl, relayer } = config
    await using stack = new AsyncDisposableStack()
    const chain = stack.use(await openEthersChain({ rpcUrl, deployment, key: relayer, log }))
    const ledger = stack.use(await openLedger({ url: config.databaseUrl, log }))
    const store = stack.use(await openHeliaStore({ dir: config.contentDir, listen: config.contentListen, log }))
    const consent = stack.use(new ConsentWatch({ chain, log, blockMs: config.blockMs, refusal: 'consent.refused' }))
    const provider = process.env.GRANARY_BENCH_PROVIDER ?? ''
    const dispatcher = openNoOpDispatcher({ provider, chainTime: () => consent.head?.timestamp ?? 0 })
    const catalog = openCatalog({ ledger, maxAgeMs: 500 })
    const purposes = openPurposes({ chain, maxAgeMs: 10_000 })

    const acceptWorkers = (app: FastifyInstance) => {
      unpaidRoute(app, { catalog, purposes, dispatcher, consent })
      app.post<{ Querystring: { on: string } }>('/bench/commitments', async ({ query }) => {
        dispatcher.committed = query.on === 'true'
        return { committed: dispatcher.committed }
      })
    }
    const gateway = stack.use(await openGateway(config, { chain, ledger, store, dispatcher, consent, acceptWorkers, log }))
    await gateway.app.listen({ host: config.host, port: config.port })
    return stack.move()
  },
})

/** The same request for nothing: everything up to the price, then the no-op; what a paid one takes longer is the price of paying. */
function unpaidRoute(app: FastifyInstance, parts: Pick<Shop, 'catalog' | 'purposes' | 'dispatcher' | 'consent'>): void {
  const shop = parts as Shop
  app.post('/bench/unpaid', async (request) => {
    const body = parseBody(InferBody, request.body)
    const order = await takeOrder(shop, { body, rawBody: request.rawBody ?? new Uint8Array() })
    const worker = shop.dispatcher.workers()[0]
    if (!worker) throw new GranaryError('provider.none', 'There is no worker.')
    const zero = `0x${'00'.repeat(32)}`
    const { modelId, units, unitPrice } = order.quote
    const job = {
      jobId: zero,
      modelId,
      units,
      unitPrice,
      consentBlock: 0,
      inputSalt: zero,
      outputSalt: zero,
      inputs: order.inputs,
    }
    const { outputs } = await shop.dispatcher.send(
      worker.workerId,
      { ...job, purpose: order.purpose, jurisdiction: order.jurisdiction },
      { timeoutMs: 1000 },
    )
    return { model: order.model.manifest.name, outputs: outputs.map(toJsonTensor) }
  })
}
