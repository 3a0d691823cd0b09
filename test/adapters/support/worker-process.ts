import { Wallet } from 'ethers'
import { WorkerLink } from '../../../services/adapters/dispatcher/worker-link.ts'
import { openLog } from '../../../services/adapters/log.ts'
import { MODEL, providerRegistry } from './jobs.ts'

/** A worker in a process of its own that never answers, to be killed: node worker-process.ts <url> <private key>. */
const [url = '', key = ''] = process.argv.slice(2)
const link = new WorkerLink({
  url,
  wallet: new Wallet(key),
  providerRegistry,
  capacity: 4,
  onJob: () => {
    process.send?.('working')
    return new Promise(() => {})
  },
  onWelcome: () => {},
  log: openLog({ process: 'test-worker', level: 'silent' }),
})
link.setReady([MODEL])
