import { openEthersChain } from '../adapters/chain/ethers-chain.ts'
import { runProcess } from '../adapters/lifecycle.ts'
import { openLog } from '../adapters/log.ts'
import { OnnxRuntime } from '../adapters/runtime/onnx-runtime.ts'
import { openHeliaStore } from '../adapters/store/helia-store.ts'
import { openKuboStore } from '../adapters/store/kubo-store.ts'
import { readConfig } from './config.ts'
import { openWorker } from './worker.ts'

/** A provider's worker process: the only place that chooses its adapters. */
const log = openLog({ process: 'provider', level: process.env.LOG_LEVEL ?? 'info' })

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
    stack.use(openWorker({ ...config, chain, store, runtime, deployBlock: deployment.deployBlock, log }))
    return stack.move()
  },
})
