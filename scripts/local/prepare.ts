import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { openLog } from '../../services/adapters/log.ts'
import { curlLines, seed } from '../seed.ts'
import { deploymentPath, openDeployment } from './deployment.ts'
import { readJsonFile } from './files.ts'
import { seedFolder } from './identity.ts'
import { openKeys } from './keys.ts'

/**
 * The one-time steps of `npm start` for docker-compose.yml, where the services run by themselves:
 * prepare.ts contracts <dir> <rpcUrl>, then, once they run, prepare.ts seed <dir> <rpcUrl> <gatewayUrl>.
 */
const [step, dir, rpcUrl, gatewayUrl] = process.argv.slice(2)
const log = openLog({ process: 'prepare', level: 'info' })
const onProgress = (line: string) => log.info({ event: 'prepare.progress', line })

if (dir === undefined || rpcUrl === undefined) throw new Error('usage: prepare.ts contracts|seed <dir> <rpcUrl> [gatewayUrl]')
const keys = openKeys(join(dir, 'keys'))
if (step === 'contracts') {
  await openDeployment({ dir, rpcUrl, keys, log, onProgress })
} else if (step === 'seed' && gatewayUrl !== undefined) {
  const deployment = readJsonFile(deploymentPath(dir))
  if (deployment === null) throw new Error('run prepare.ts contracts first')
  const contracts = { ...(deployment.contracts as Record<string, string>), Token: String(deployment.token) }
  mkdirSync(seedFolder(dir), { recursive: true, mode: 0o700 })
  const world = { gatewayUrl, rpcUrl, chainId: BigInt(Number(deployment.chainId)), contracts }
  const seeded = await seed({ world, keys, dir: seedFolder(dir), onProgress })
  console.log(curlLines(gatewayUrl, seeded).tryIt)
}
process.exit(0)
