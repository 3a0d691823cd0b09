import { openEthersChain } from '../adapters/chain/ethers-chain.ts'
import { ConsentWatch } from '../adapters/consent-watch.ts'
import { WebSocketHub } from '../adapters/dispatcher/websocket-hub.ts'
import { openLedger } from '../adapters/ledger/prisma-ledger.ts'
import { runProcess } from '../adapters/lifecycle.ts'
import { openLog } from '../adapters/log.ts'
import { logLevel } from '../adapters/settings.ts'
import { openHeliaStore } from '../adapters/store/helia-store.ts'
import { openKuboStore } from '../adapters/store/kubo-store.ts'
import { readConfig } from './config.ts'
import { openGateway } from './gateway.ts'

/** The gateway's process: the only place that chooses its adapters. */
const log = openLog({ process: 'gateway', level: logLevel() })

await runProcess({
  log,
  async start() {
    const config = readConfig()
    const { deployment, rpcUrl, relayer, collector } = config
    await using stack = new AsyncDisposableStack()
    const chain = stack.use(await openEthersChain({ rpcUrl, deployment, key: relayer, log }))
    const ledger = stack.use(await openLedger({ url: config.databaseUrl, log }))
    const store = stack.use(
      config.ipfsRpcUrl === null
        ? await openHeliaStore({ dir: config.contentDir, listen: config.contentListen, log })
        : await openKuboStore({ url: config.ipfsRpcUrl, log }),
    )
    const consent = stack.use(new ConsentWatch({ chain, log, blockMs: config.blockMs, refusal: 'consent.refused' }))
    const hub = stack.use(
      new WebSocketHub({
        providerRegistry: { chainId: chain.chainId, address: deployment.contracts.ProviderRegistry ?? '' },
        escrow: { chainId: chain.chainId, address: deployment.contracts.InferenceEscrow ?? '' },
        gateway: collector.address.toLowerCase(),
        contentAddresses: () => store.addresses(),
        operatorOf: async (sessionKey) => {
          const operator = await chain.read({ contract: 'ProviderRegistry', method: 'operatorOf', args: [sessionKey] })
          return /^0x0{40}$/.test(String(operator)) ? null : String(operator)
        },
        chainTime: () => consent.head?.timestamp ?? null,
        log,
      }),
    )
    const acceptWorkers = (app: import('fastify').FastifyInstance) => {
      app.get('/worker', { websocket: true }, (socket) => hub.accept(socket))
    }
    const gateway = stack.use(await openGateway(config, { chain, ledger, store, dispatcher: hub, consent, acceptWorkers, log }))
    await gateway.app.listen({ host: config.host, port: config.port })
    return stack.move()
  },
})
