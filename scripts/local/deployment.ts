import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { JsonRpcProvider, parseEther, Wallet } from 'ethers'
import type { Log } from '../../services/adapters/log.ts'
import { deployCooperative } from '../deploy.ts'
import { deployRouter } from '../deploy-router.ts'
import { readJsonFile, writeWhole } from './files.ts'
import { DEV_ACCOUNT_KEY, type LocalKeys } from './keys.ts'

export interface LocalDeployment {
  chainId: number
  token: string
  contracts: Record<string, string>
  deployBlock: number
}

const GAS_MONEY = parseEther('1000')
const ENOUGH_GAS_MONEY = parseEther('100')
const RECEIPT_TIMEOUT_MS = 60_000

/** The contracts of this chain: those of the last start while they have code, else new ones. */
export async function openDeployment(options: {
  dir: string
  rpcUrl: string
  keys: LocalKeys
  log: Log
  onProgress: (line: string) => void
}): Promise<LocalDeployment> {
  const { dir, rpcUrl, keys, log, onProgress } = options
  const file = deploymentPath(dir)
  const provider = new JsonRpcProvider(rpcUrl, undefined, { staticNetwork: true, cacheTimeout: -1, pollingInterval: 100 })
  try {
    await handOutGas(provider, keys)
    const known = readJsonFile(file) as LocalDeployment | null
    const found = known !== null && (await hasCode(provider, known)) ? known : null
    if (found?.contracts.X402Router) return found
    onProgress('Deploying the contracts')
    const deployment =
      found ??
      (await deployCooperative({
        rpcUrl,
        deployerKey: keys.deployer.key,
        genesis: [1, 2, 3, 4, 5].map((number) => keys[`member-${number as 1 | 2 | 3 | 4 | 5}`].address),
        registrar: keys.registrar.address,
        guardian: keys.guardian.address,
        deploymentDir: join(dir, 'deployment'),
        log: (line) => log.info({ event: 'deploy', line }),
      }))
    const X402Router = await deployRouter({
      rpcUrl,
      deployerKey: keys.deployer.key,
      deploymentDir: join(dir, 'deployment-router'),
      chainId: deployment.chainId,
      escrow: deployment.contracts.InferenceEscrow ?? '',
      collector: keys.collector.address,
      log: (line) => log.info({ event: 'deploy', line }),
    })
    const all = { ...deployment, contracts: { ...deployment.contracts, X402Router } }
    writeWhole(file, JSON.stringify(all, null, 2))
    return all
  } finally {
    provider.destroy()
  }
}

export function deploymentPath(dir: string): string {
  return join(dir, 'deployment.json')
}

/** For a chain that started anew. */
export function forgetDeployment(dir: string): void {
  rmSync(deploymentPath(dir), { force: true })
  for (const journal of ['deployment', 'deployment-router']) rmSync(join(dir, journal), { recursive: true, force: true })
}

async function hasCode(provider: JsonRpcProvider, { token, contracts }: LocalDeployment): Promise<boolean> {
  const codes = await Promise.all([token, ...Object.values(contracts)].map((address) => provider.getCode(address)))
  return codes.every((code) => code !== '0x')
}

/** From the account that development chains prefund; only this step uses it. */
async function handOutGas(provider: JsonRpcProvider, keys: LocalKeys): Promise<void> {
  const { master: _, sealing: __, ...accounts } = keys
  const source = new Wallet(DEV_ACCOUNT_KEY, provider)
  const balances = await Promise.all(Object.values(accounts).map(({ address }) => provider.getBalance(address)))
  const poor = Object.values(accounts).filter((_account, index) => (balances[index] ?? 0n) < ENOUGH_GAS_MONEY)
  const first = await provider.getTransactionCount(source.address, 'pending')
  const sent = await Promise.all(
    poor.map(({ address }, index) => source.sendTransaction({ to: address, value: GAS_MONEY, nonce: first + index })),
  )
  for (const transaction of sent) await transaction.wait(1, RECEIPT_TIMEOUT_MS)
}
