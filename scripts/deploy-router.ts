import { readFileSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import x402RouterModule from '../ignition/modules/X402Router.ts'
import { deploymentFile } from '../services/adapters/settings.ts'
import { GranaryError } from '../services/core/errors.ts'
import { connectJsonRpc } from './deploy/json-rpc.ts'
import { withLocalSigner } from './deploy/local-signer.ts'
import { invalid, isDevelopmentChain, requireAccount } from './deploy/preflight.ts'
import { requireEscrow } from './deploy/router-preflight.ts'
import {
  builtArtifacts,
  contractsOf,
  deployOrGoOn,
  replaceFile,
  requireFunds,
  requireKey,
  requireSameChain,
  root,
} from './deploy.ts'

export interface RouterOptions {
  rpcUrl: string
  deployerKey: string
  /** Ignition's journal, of the router alone. */
  deploymentDir: string
  chainId: number
  escrow: string
  /** The operator that accounts name. */
  collector: string
  /** Signs the house account's vouchers; the collector's own by default. */
  key?: string | undefined
  log?: ((line: string) => void) | undefined
}

/** Deploys a collector's x402 router, or finishes or finds an earlier one in `deploymentDir`; gives its address. */
export async function deployRouter(options: RouterOptions): Promise<string> {
  const { rpcUrl, deployerKey, deploymentDir, chainId, escrow, log = () => {} } = options
  const request = connectJsonRpc(rpcUrl)
  const actual = Number(await request({ method: 'eth_chainId' }))
  if (actual !== chainId) throw invalid(`The deployment is on chain ${chainId}, but the RPC URL answers as chain ${actual}.`)
  const collector = requireAccount('collector', options.collector)
  const key = requireAccount('key', options.key ?? collector)
  await requireEscrow({ request, escrow, chainId })
  const signer = withLocalSigner({ request, key: requireKey(deployerKey), chainId, folder: path.join(deploymentDir, 'signed') })
  await requireSameChain({ request, deploymentDir })
  await requireFunds(request, signer.address)
  const { X402Router } = contractsOf(
    await deployOrGoOn(signer, {
      ignitionModule: x402RouterModule,
      deploymentParameters: { X402Router: { escrow, collector, key } },
      deploymentDir,
      provider: signer,
      accounts: [signer.address],
      artifactResolver: builtArtifacts(path.join(root, 'artifacts')),
      config: { requiredConfirmations: 1, blockPollingInterval: isDevelopmentChain(chainId) ? 50 : 1_000 },
    }),
  )
  if (X402Router === undefined) throw new GranaryError('internal', 'The deployment has no router.')
  replaceFile(path.join(deploymentDir, 'router.json'), JSON.stringify({ chainId, X402Router, escrow, collector, key }, null, 2))
  log(`The x402 router of ${collector} is ${X402Router}.`)
  return X402Router
}

async function main() {
  const option = { type: 'string' } as const
  const { values } = parseArgs({
    options: { rpc: option, deployment: option, out: option, collector: option, key: option, 'key-file': option },
  })
  const { rpc, deployment, out, collector, key } = values
  const keyFile = values['key-file']
  const deployerKey = keyFile ? readFileSync(keyFile, 'utf8').trim() : process.env.DEPLOYER_KEY
  if (!rpc || !deployment || !out || !collector || !deployerKey) {
    throw new GranaryError(
      'config.invalid',
      'Usage: node scripts/deploy-router.ts --rpc URL --deployment deployment.json --out FOLDER --collector ADDRESS [--key ADDRESS] [--key-file FILE, else DEPLOYER_KEY]',
    )
  }
  const { chainId, contracts } = deploymentFile({ GRANARY_DEPLOYMENT: deployment })
  const router = await deployRouter({
    rpcUrl: rpc,
    deploymentDir: path.resolve(out),
    deployerKey,
    chainId: Number(chainId),
    escrow: contracts.InferenceEscrow ?? '',
    collector,
    key,
    log: (line) => console.error(line),
  })
  console.log(JSON.stringify({ X402Router: router }))
}

if (import.meta.main) {
  main().catch((error: unknown) => {
    console.error(error instanceof GranaryError ? `${error.message}\n${error.hint}` : error)
    process.exitCode = 1
  })
}
