import { runProcess } from '../../services/adapters/lifecycle.ts'
import { openLog } from '../../services/adapters/log.ts'
import { openLocalChain } from './chain.ts'

/** The local chain as a process of its own: chain-main.ts <dir> <port> [host]. Ends with its parent, also when that is killed. */
const [dir, port, host] = process.argv.slice(2)
const log = openLog({ process: 'chain', level: 'info' })

await runProcess({
  log,
  stopTimeoutMs: 30_000,
  async start() {
    if (dir === undefined || port === undefined) throw new Error('usage: chain-main.ts <dir> <port> [host]')
    const chain = await openLocalChain({ dir, port: Number(port), host, log })
    chain.failed.catch((error) => {
      log.fatal({ event: 'chain.failed', error })
      process.exit(1)
    })
    process.send?.({ event: 'chain', url: chain.url, genesisHash: chain.genesisHash, reset: chain.reset })
    return chain
  },
})
