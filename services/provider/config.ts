import { isAddress, type Wallet } from 'ethers'
import { type Deployment, deploymentFile, type Environment, integer, keyFile, optionalText, text } from '../adapters/settings.ts'
import { GranaryError } from '../core/errors.ts'

export interface ProviderConfig {
  rpcUrl: string
  deployment: Deployment
  /** The gateway's worker route. */
  workerUrl: string
  /** Kubo's RPC; null for the embedded node in contentDir. */
  ipfsRpcUrl: string | null
  contentDir: string
  contentListen: string[]
  /** Signs what this worker delivers; its operator named it on chain. */
  sessionWallet: Wallet
  /** The only operator that this worker works for, lower case; null for whoever named its session key. */
  worksFor: string | null
  /** Jobs at a time. */
  capacity: number
  maxModels: number
  maxModelBytes: number
  blockMs: number
}

export function readConfig(env: Environment = process.env): ProviderConfig {
  const ipfsRpcUrl = optionalText(env, 'IPFS_RPC_URL')
  return {
    rpcUrl: text(env, 'GRANARY_RPC_URL'),
    deployment: deploymentFile(env),
    workerUrl: workerUrlOf(text(env, 'GRANARY_GATEWAY_URL')),
    ipfsRpcUrl,
    contentDir: ipfsRpcUrl === null ? text(env, 'GRANARY_CONTENT_DIR') : '',
    contentListen: [text(env, 'GRANARY_CONTENT_LISTEN', '/ip4/127.0.0.1/tcp/0')],
    sessionWallet: keyFile(env, 'GRANARY_KEY_FILE'),
    worksFor: operatorOf(env),
    capacity: integer(env, 'GRANARY_CAPACITY', { fallback: 8, least: 1, most: 128 }),
    maxModels: integer(env, 'GRANARY_MAX_MODELS', { fallback: 16, least: 1, most: 256 }),
    maxModelBytes: integer(env, 'GRANARY_MAX_MODEL_BYTES', { fallback: 512 << 20, least: 1024, most: 2 ** 31 }),
    blockMs: integer(env, 'GRANARY_BLOCK_MS', { fallback: 1000, least: 50, most: 60_000 }),
  }
}

function operatorOf(env: Environment): string | null {
  const operator = optionalText(env, 'GRANARY_OPERATOR')
  if (operator === null || isAddress(operator)) return operator?.toLowerCase() ?? null
  throw new GranaryError('config.invalid', `GRANARY_OPERATOR must be an address, not "${operator}".`)
}

function workerUrlOf(gatewayUrl: string): string {
  const url = URL.parse('/worker', gatewayUrl)
  if (url?.protocol !== 'http:' && url?.protocol !== 'https:') {
    throw new GranaryError('config.invalid', `GRANARY_GATEWAY_URL must be an http or https URL, not "${gatewayUrl}".`)
  }
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
  return url.href
}
