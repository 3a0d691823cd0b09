import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import {
  type Artifact,
  type ArtifactResolver,
  type BuildInfo,
  type DeploymentResult,
  DeploymentResultType,
  deploy,
  trackTransaction,
  wipe,
} from '@nomicfoundation/ignition-core'
import { isHexString } from 'ethers'
import { cooperativeModule } from '../ignition/modules/Cooperative.ts'
import { GranaryError } from '../services/core/errors.ts'
import { connectJsonRpc, type Request } from './deploy/json-rpc.ts'
import { type LocalSigner, withLocalSigner } from './deploy/local-signer.ts'
import {
  isDevelopmentChain,
  type ModuleParameters,
  type People,
  readParameters,
  requirePeople,
  requireToken,
} from './deploy/preflight.ts'

export const root = path.resolve(import.meta.dirname, '..')
// Of Ignition's HHE10410.
const TRANSACTION_LOST = 10_410
const MAX_LOST = 16

export interface DeployOptions extends People {
  rpcUrl: string
  deployerKey: string
  /** Ignition's journal: a run that was interrupted goes on here, a run that is done does nothing. */
  deploymentDir: string
  /** Default: ignition/parameters/<chain id>.json */
  parametersFile?: string | undefined
  /** Overrides the parameters' token; development chains without one get a TestDollar. */
  token?: string | undefined
  log?: ((line: string) => void) | undefined
}

export interface Deployment {
  chainId: number
  token: string
  /** By contract name: CooperativeTimelock, CooperativeParameters, DatasetRegistry, Membership, CooperativeGovernor, … */
  contracts: Record<string, string>
  /** No event of these contracts is older. */
  deployBlock: number
}

/**
 * Deploys the cooperative, or finishes or finds an earlier deployment in `deploymentDir`; takes about eight blocks. Leaves what
 * it returns in deployment.json there, which services read.
 */
export async function deployCooperative(options: DeployOptions): Promise<Deployment> {
  const { rpcUrl, deployerKey, deploymentDir, log = () => {} } = options
  const request = connectJsonRpc(rpcUrl)
  const chainId = Number(await request({ method: 'eth_chainId' }))
  const people = requirePeople(options)
  const parameters = readParameters({ file: options.parametersFile ?? parametersFileOf(chainId), chainId })
  const given = options.token ?? (typeof parameters.token === 'string' ? parameters.token : undefined)
  const withTestDollar = given === undefined && isDevelopmentChain(chainId)
  const token = withTestDollar ? undefined : await requireToken({ request, token: given })
  const signer = withLocalSigner({ request, key: requireKey(deployerKey), chainId, folder: path.join(deploymentDir, 'signed') })
  await requireSameChain({ request, deploymentDir })
  await requireFunds(request, signer.address)

  const deployBlock = await markStart({ request, deploymentDir })
  log(`Deploying to chain ${chainId}, or going on there, as ${signer.address}${withTestDollar ? ', with a test dollar' : ''}.`)
  const contracts = contractsOf(
    await deployOrGoOn(signer, {
      ignitionModule: cooperativeModule({ withTestDollar }),
      deploymentParameters: { Cooperative: moduleParameters({ parameters, people, token }) },
      deploymentDir,
      provider: signer,
      accounts: [signer.address],
      artifactResolver: builtArtifacts(path.join(root, 'artifacts')),
      config: { requiredConfirmations: 1, blockPollingInterval: isDevelopmentChain(chainId) ? 50 : 1_000 },
    }),
  )
  log(`Deployed ${Object.keys(contracts).length} contracts.`)
  const { TestDollar, ...ours } = contracts
  const deployment = { chainId, token: token ?? requireDeployed(TestDollar), contracts: ours, deployBlock }
  replaceFile(path.join(deploymentDir, 'deployment.json'), JSON.stringify(deployment, null, 2))
  return deployment
}

function parametersFileOf(chainId: number): string {
  return path.join(root, 'ignition', 'parameters', `${chainId}.json`)
}

function moduleParameters({
  parameters,
  people,
  token,
}: {
  parameters: ModuleParameters
  people: ReturnType<typeof requirePeople>
  token: string | undefined
}) {
  return { ...parameters, ...people, ...(token === undefined ? {} : { token }) }
}

type Execution = Parameters<typeof deploy>[0] & { deploymentDir: string }

/** Ignition stops at a transaction that it prepared but never saw sent; what was signed is sent again, the rest starts over. */
export async function deployOrGoOn(signer: LocalSigner, execution: Execution): Promise<DeploymentResult> {
  const { deploymentDir, artifactResolver } = execution
  for (let attempt = 0; ; attempt++) {
    try {
      return await deploy(execution)
    } catch (cause) {
      const lost = lostTransactionOf(cause)
      if (lost === null || attempt === MAX_LOST) throw interrupted(cause)
      const hash = await signer.resend(lost.nonce)
      if (hash === null) await wipe(deploymentDir, artifactResolver, lost.futureId)
      else await trackTransaction(deploymentDir, hash, signer, 1)
    }
  }
}

function lostTransactionOf(error: unknown): { futureId: string; nonce: number } | null {
  const { number, messageArguments } = error as { number?: number; messageArguments?: { futureId: string; nonce: number } }
  return number === TRANSACTION_LOST && messageArguments ? messageArguments : null
}

function interrupted(cause: unknown): GranaryError {
  if (cause instanceof GranaryError) return cause
  const message = cause instanceof Error ? cause.message : String(cause)
  return new GranaryError('chain.unavailable', `The deployment was interrupted: ${message} Run it again to go on.`, { cause })
}

/** What a wiped chain left behind must not pass for a deployment. */
export async function requireSameChain({ request, deploymentDir }: { request: Request; deploymentDir: string }) {
  const file = path.join(deploymentDir, 'deployed_addresses.json')
  if (!existsSync(file)) return
  for (const [name, address] of Object.entries(JSON.parse(readFileSync(file, 'utf8')) as Record<string, string>)) {
    const code = await request({ method: 'eth_getCode', params: [address, 'latest'] })
    if (code !== '0x') continue
    throw new GranaryError(
      'config.invalid',
      `${deploymentDir} says that ${name} is at ${address}, but the chain has no code there. Delete that folder to deploy anew.`,
    )
  }
}

export async function requireFunds(request: Request, address: string) {
  const balance = BigInt(String(await request({ method: 'eth_getBalance', params: [address, 'latest'] })))
  if (balance === 0n) throw new GranaryError('config.invalid', 'The deployer has no coins to pay for gas.', { address })
}

export function requireKey(key: string): string {
  if (isHexString(key, 32)) return key
  throw new GranaryError('config.invalid', 'The deployer key must be 32 bytes in hex with 0x.')
}

/** Kept from the first run, so that an indexer which starts here misses nothing. */
async function markStart({ request, deploymentDir }: { request: Request; deploymentDir: string }): Promise<number> {
  const file = path.join(deploymentDir, 'start-block.json')
  if (existsSync(file)) return Number(JSON.parse(readFileSync(file, 'utf8')))
  const block = Number(await request({ method: 'eth_blockNumber' }))
  mkdirSync(deploymentDir, { recursive: true })
  replaceFile(file, JSON.stringify(block))
  return block
}

export function contractsOf(result: DeploymentResult): Record<string, string> {
  if (result.type === DeploymentResultType.SUCCESSFUL_DEPLOYMENT) {
    return Object.fromEntries(Object.values(result.contracts).map(({ contractName, address }) => [contractName, address]))
  }
  const { type, ...details } = result
  const code = type === DeploymentResultType.EXECUTION_ERROR ? 'chain.reverted' : 'config.invalid'
  throw new GranaryError(code, `The deployment stopped: ${type} ${JSON.stringify(details)}`)
}

function requireDeployed(address: string | undefined): string {
  if (address !== undefined) return address
  throw new GranaryError('internal', 'The deployment has no token.')
}

/** Readers see the old file or the new one, never half of one. */
export function replaceFile(file: string, content: string) {
  writeFileSync(`${file}.new`, content, { flush: true })
  renameSync(`${file}.new`, file)
}

/** Reads what `hardhat build` wrote; every contract has the name of its file. */
export function builtArtifacts(folder: string): ArtifactResolver {
  const loadArtifact = async (name: string): Promise<Artifact> => {
    const file = path.join(folder, 'contracts', `${name}.sol`, `${name}.json`)
    if (existsSync(file)) return JSON.parse(readFileSync(file, 'utf8')) as Artifact
    throw new GranaryError('config.invalid', `The contract ${name} is not compiled: run npm run build first.`)
  }
  const getBuildInfo = async (name: string): Promise<BuildInfo | undefined> => {
    const { buildInfoId } = await loadArtifact(name)
    const file = path.join(folder, 'build-info', `${buildInfoId}.json`)
    return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as BuildInfo) : undefined
  }
  return { loadArtifact, getBuildInfo }
}

async function main() {
  const option = { type: 'string' } as const
  const { values } = parseArgs({
    options: {
      rpc: option,
      out: option,
      parameters: option,
      genesis: option,
      registrar: option,
      guardian: option,
      token: option,
      'key-file': option,
    },
  })
  const { rpc, out, genesis, registrar } = values
  const keyFile = values['key-file']
  const deployerKey = keyFile ? readFileSync(keyFile, 'utf8').trim() : process.env.DEPLOYER_KEY
  if (!rpc || !out || !genesis || !registrar || !deployerKey) {
    throw new GranaryError(
      'config.invalid',
      'Usage: node scripts/deploy.ts --rpc URL --out FOLDER --genesis ADDRESS,… --registrar ADDRESS [--guardian ADDRESS] [--token ADDRESS] [--parameters FILE] [--key-file FILE, else DEPLOYER_KEY]',
    )
  }
  const deployment = await deployCooperative({
    rpcUrl: rpc,
    deploymentDir: path.resolve(out),
    deployerKey,
    genesis: genesis.split(','),
    registrar,
    guardian: values.guardian,
    token: values.token,
    parametersFile: values.parameters,
    log: (line) => console.error(line),
  })
  console.log(JSON.stringify(deployment, null, 2))
}

if (import.meta.main) {
  main().catch((error: unknown) => {
    console.error(error instanceof GranaryError ? `${error.message}\n${error.hint}` : error)
    process.exitCode = 1
  })
}
