import { openEthersChain } from '../adapters/chain/ethers-chain.ts'
import { openLedger } from '../adapters/ledger/prisma-ledger.ts'
import { runProcess } from '../adapters/lifecycle.ts'
import { openLog } from '../adapters/log.ts'
import { logLevel } from '../adapters/settings.ts'
import { openHeliaStore } from '../adapters/store/helia-store.ts'
import { openKuboStore } from '../adapters/store/kubo-store.ts'
import { readConfig } from './config.ts'
import { openIndexer } from './indexer.ts'
import { openManifestFetcher } from './manifest-fetcher.ts'
import { meetPeers } from './peers.ts'

/** The indexer's process: chain → ledger. */
const log = openLog({ process: 'indexer', level: logLevel() })

await runProcess({
  log,
  async start() {
    const config = readConfig()
    const { deployment, rpcUrl, contentPeers, gatewayUrl, pollMs, fetchTimeoutMs } = config
    await using stack = new AsyncDisposableStack()
    const chain = stack.use(await openEthersChain({ rpcUrl, deployment, log }))
    const ledger = stack.use(await openLedger({ url: config.databaseUrl, log }))
    const content = stack.use(
      config.ipfsRpcUrl === null
        ? await openHeliaStore({ dir: config.contentDir, listen: config.contentListen, log })
        : await openKuboStore({ url: config.ipfsRpcUrl, log }),
    )
    const manifests = stack.use(
      openManifestFetcher({
        ledger,
        content,
        log,
        fetchTimeoutMs,
        pollMs: 2 * pollMs,
        meetPeers: () => meetPeers({ content, contentPeers, gatewayUrl }),
      }),
    )
    const { deployBlock } = deployment
    stack.use(openIndexer({ chain, ledger, deployBlock, log, pollMs, onModels: manifests.wake }))
    return stack.move()
  },
})
