import { openEthersChain } from '../adapters/chain/ethers-chain.ts'
import { type LinkOptions, WorkerLink } from '../adapters/dispatcher/worker-link.ts'
import { runProcess } from '../adapters/lifecycle.ts'
import { openLog } from '../adapters/log.ts'
import { OnnxRuntime } from '../adapters/runtime/onnx-runtime.ts'
import { logLevel } from '../adapters/settings.ts'
import { openHeliaStore } from '../adapters/store/helia-store.ts'
import { openKuboStore } from '../adapters/store/kubo-store.ts'
import { readConfig } from './config.ts'
import { openWorker } from './worker.ts'

/** A provider's worker process: the only place that chooses its adapters. */
const log = openLog({ process: 'provider', level: logLevel() })

await runProcess({
  log,
  async start() {
    const config = readConfig()
    const { rpcUrl, deployment, ipfsRpcUrl, contentDir, contentListen, maxModels } = config
    await using stack = new AsyncDisposableStack()
    const chain = stack.use(await openEthersChain({ rpcUrl, deployment, log }))
    const store = stack.use(
      ipfsRpcUrl === null
        ? await openHeliaStore({ dir: contentDir, listen: contentListen, log })
        : await openKuboStore({ url: ipfsRpcUrl, log }),
    )
    const runtime = stack.use(new OnnxRuntime({ maxModels }))
    const openLink = (options: LinkOptions) => new WorkerLink(options)
    stack.use(openWorker({ ...config, chain, store, runtime, openLink, deployBlock: deployment.deployBlock, log }))
    return stack.move()
  },
})
