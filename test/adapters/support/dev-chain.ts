import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { ContractFactory, getCreateAddress, Wallet } from 'ethers'
import type { Deployment } from '../../../services/adapters/settings.ts'

const root = new URL('../../../', import.meta.url)
const anvil = fileURLToPath(new URL('node_modules/.bin/anvil', root))

/** Anvil's first development accounts hold ether; the test dollar is minted by anyone. */
const MNEMONIC_KEYS = [
  '0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80',
  '0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d',
  '0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a',
  '0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6',
] as const

export interface DevChain extends AsyncDisposable {
  rpcUrl: string
  deployment: Deployment
  /** Funded with ether; the first one deployed. */
  wallets: Wallet[]
  rpc(method: string, ...params: unknown[]): Promise<unknown>
  /** Kills the node at once, as a crash would. */
  kill(): Promise<void>
}

/** Why a test that needs a real chain can't run here; null where it can. */
export function devChainMissing(): string | null {
  if (!existsSync(anvil)) return 'anvil is not installed on this platform'
  return existsSync(new URL('artifacts/contracts/InferenceEscrow.sol/InferenceEscrow.json', root))
    ? null
    : 'contracts are not compiled'
}

/**
 * A real node on a free loopback port with the contracts of chapters 1 to 6, and if asked the x402 router of the second
 * wallet. Its wallets are the genesis members. Mines each transaction at once.
 */
export async function openDevChain({ router = false } = {}): Promise<DevChain> {
  const child = spawn(anvil, ['--port', '0', '--host', '127.0.0.1'], { stdio: ['ignore', 'pipe', 'ignore'] })
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const port = await new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      const found = /Listening on .*:(\d+)/.exec(line)
      if (found?.[1]) resolve(found[1])
    })
    child.once('error', reject)
    child.once('exit', (code) => reject(new Error(`anvil ended with ${code}`)))
  })
  const rpcUrl = `http://127.0.0.1:${port}`
  const rpc = (method: string, ...params: unknown[]) => call(rpcUrl, method, params)
  const kill = async () => {
    child.kill('SIGKILL')
    await exited
  }
  const wallets = MNEMONIC_KEYS.map((key) => new Wallet(key))
  try {
    return { rpcUrl, wallets, rpc, kill, deployment: await deploy(rpc, wallets, router), [Symbol.asyncDispose]: kill }
  } catch (error) {
    await kill()
    throw error
  }
}

async function call(rpcUrl: string, method: string, params: unknown[]): Promise<unknown> {
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })
  const response = await fetch(rpcUrl, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
    signal: AbortSignal.timeout(20_000),
  })
  const answer = (await response.json()) as { result?: unknown; error?: { message: string } }
  if (answer.error) throw new Error(`${method}: ${answer.error.message}`)
  return answer.result
}

/** Mining an accepted transaction takes the node a moment. */
async function receiptOf(rpc: DevChain['rpc'], hash: unknown): Promise<{ contractAddress: string; status: string }> {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const receipt = await rpc('eth_getTransactionReceipt', hash)
    if (receipt) return receipt as { contractAddress: string; status: string }
    await delay(25)
  }
  throw new Error(`transaction ${hash} is not mined`)
}

async function deploy(rpc: DevChain['rpc'], wallets: Wallet[], router: boolean): Promise<Deployment> {
  const deployer = wallets[0]?.address ?? ''
  const create = async (name: string, args: unknown[]): Promise<string> => {
    const path = new URL(`artifacts/contracts/${name}.sol/${name}.json`, root)
    const { abi, bytecode } = JSON.parse(readFileSync(path, 'utf8'))
    const { data } = await new ContractFactory(abi, bytecode).getDeployTransaction(...args)
    const hash = await rpc('eth_sendTransaction', { from: deployer, data, gas: '0x1000000' })
    const receipt = await receiptOf(rpc, hash)
    if (receipt.status !== '0x1') throw new Error(`${name} could not be deployed`)
    return receipt.contractAddress.toLowerCase()
  }
  const token = await create('TestDollar', [])
  // Chapter 7's contracts are not needed here: the deployer stands for the timelock.
  const parameters = await create('CooperativeParameters', [deployer, 20_000, deployer, deployer, ['research', 'commercial']])
  const datasets = await create('DatasetRegistry', [60])
  const models = await create('ModelRegistry', [datasets, deployer, deployer])
  const providers = await create('ProviderRegistry', [token, models, 1_000_000n, 60])
  const genesis = wallets.map(({ address }) => address)
  const membership = await create('Membership', [parameters, genesis, 60, 3600, 25, 50_000, 60])
  const escrow = await create('InferenceEscrow', [token, datasets, models, parameters, 3600])
  const collector = wallets[1]?.address ?? ''
  return {
    chainId: 31337n,
    token,
    deployBlock: 1,
    contracts: {
      CooperativeParameters: parameters,
      Membership: membership,
      DatasetRegistry: datasets,
      ModelRegistry: models,
      ProviderRegistry: providers,
      InferenceEscrow: escrow,
      RoyaltyLedger: getCreateAddress({ from: escrow, nonce: 1 }).toLowerCase(),
      ...(router ? { X402Router: await create('X402Router', [escrow, collector, collector]) } : {}),
    },
  }
}
