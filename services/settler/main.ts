import { randomBytes } from 'node:crypto'
import { openEthersChain } from '../adapters/chain/ethers-chain.ts'
import { openLedger } from '../adapters/ledger/prisma-ledger.ts'
import { runProcess } from '../adapters/lifecycle.ts'
import { openLog } from '../adapters/log.ts'
import { logLevel } from '../adapters/settings.ts'
import { readConfig } from './config.ts'
import { openModelSync } from './model-sync.ts'
import { openSettler } from './settler.ts'

/** The settler's process: ledger → chain. */
const log = openLog({ process: 'settler', level: logLevel() })

await runProcess({
  log,
  async start() {
    const config = readConfig()
    const { rpcUrl, deployment, databaseUrl, collector, ...settings } = config
    await using stack = new AsyncDisposableStack()
    const chain = stack.use(await openEthersChain({ rpcUrl, deployment, key: collector, log }))
    const ledger = stack.use(await openLedger({ url: databaseUrl, log }))
    stack.use(
      openSettler({
        ...settings,
        chain,
        ledger,
        collector: collector.address.toLowerCase(),
        log,
        randomId: () => `0x${randomBytes(32).toString('hex')}`,
        syncModels: openModelSync({ chain, ledger, log }),
      }),
    )
    return stack.move()
  },
})
