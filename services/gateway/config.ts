import { isAddress, type Wallet } from 'ethers'
import {
  type Deployment,
  deploymentFile,
  type Environment,
  integer,
  keyFile,
  masterKeys,
  optionalText,
  text,
} from '../adapters/settings.ts'
import { GranaryError } from '../core/errors.ts'
import type { RelaySettings } from './relay.ts'

/** The x402 rail; it is on where the deployment, or GRANARY_X402_ROUTER, names a router of this collector. */
export interface X402Config {
  /** The router's KEY. */
  key: Wallet
  minPrice: bigint
  minSweep: bigint
  minRefund: bigint
  pollMs: number
}

export interface GatewayConfig {
  /** Of this process among those that share its database: no two have the same. */
  name: string
  host: string
  port: number
  rpcUrl: string
  deployment: Deployment
  databaseUrl: string
  /** Kubo's RPC; null for the embedded node in contentDir. */
  ipfsRpcUrl: string | null
  contentDir: string
  contentListen: string[]
  /** The operator that accounts name; signs receipts. */
  collector: Wallet
  /** Pays gas for relayed acts. */
  relayer: Wallet
  x402: X402Config
  /** Admits members on development chains; null where a registrar works elsewhere. */
  registrar: Wallet | null
  /** 32 bytes each. The first seals escrow keys and answers and derives the gateway's X25519 key; the others open. */
  masterKeys: readonly [Uint8Array, ...Uint8Array[]]
  /** How long stored answers are kept; 0 keeps none. */
  answerSeconds: number
  /** How long a repeat waits for the same request that still runs. */
  repeatWaitMs: number
  blockMs: number
  jobTimeoutMs: number
  /** The longest that one streamed answer may take. */
  streamSeconds: number
  /** How long a stream waits for a voucher once what was paid for is delivered. */
  topUpSeconds: number
  bodyLimitBytes: number
  contentLimitBytes: number
  requestsPerMinute: number
  relay: RelaySettings
}

export function readConfig(env: Environment = process.env): GatewayConfig {
  const ipfsRpcUrl = optionalText(env, 'IPFS_RPC_URL')
  const host = text(env, 'HOST', '127.0.0.1')
  const port = integer(env, 'PORT', { fallback: 8080, least: 0, most: 65_535 })
  return {
    name: text(env, 'GRANARY_GATEWAY_NAME', `${host}:${port}`),
    host,
    port,
    rpcUrl: text(env, 'GRANARY_RPC_URL'),
    deployment: withRouter(env, deploymentFile(env)),
    databaseUrl: text(env, 'DATABASE_URL'),
    ipfsRpcUrl,
    contentDir: ipfsRpcUrl === null ? text(env, 'GRANARY_CONTENT_DIR') : '',
    contentListen: [text(env, 'GRANARY_CONTENT_LISTEN', '/ip4/127.0.0.1/tcp/0')],
    collector: keyFile(env, 'GRANARY_KEY_FILE'),
    relayer: keyFile(env, 'GRANARY_RELAYER_KEY_FILE'),
    x402: {
      key: keyFile(env, optionalText(env, 'GRANARY_X402_KEY_FILE') === null ? 'GRANARY_KEY_FILE' : 'GRANARY_X402_KEY_FILE'),
      minPrice: BigInt(integer(env, 'GRANARY_X402_MIN_PRICE', { fallback: 1, least: 1, most: Number.MAX_SAFE_INTEGER })),
      minSweep: BigInt(integer(env, 'GRANARY_X402_MIN_SWEEP', { fallback: 1, least: 1, most: Number.MAX_SAFE_INTEGER })),
      minRefund: BigInt(integer(env, 'GRANARY_X402_MIN_REFUND', { fallback: 1, least: 1, most: Number.MAX_SAFE_INTEGER })),
      pollMs: integer(env, 'GRANARY_X402_POLL_MS', { fallback: 2000, least: 50, most: 3_600_000 }),
    },
    registrar: optionalText(env, 'GRANARY_REGISTRAR_KEY_FILE') === null ? null : keyFile(env, 'GRANARY_REGISTRAR_KEY_FILE'),
    masterKeys: masterKeys(env),
    answerSeconds: integer(env, 'GRANARY_ANSWER_SECONDS', { fallback: 86_400, least: 0, most: 90 * 86_400 }),
    repeatWaitMs: integer(env, 'GRANARY_REPEAT_WAIT_MS', { fallback: 10_000, least: 0, most: 60_000 }),
    blockMs: integer(env, 'GRANARY_BLOCK_MS', { fallback: 1000, least: 50, most: 60_000 }),
    jobTimeoutMs: integer(env, 'GRANARY_JOB_TIMEOUT_MS', { fallback: 30_000, least: 100, most: 600_000 }),
    streamSeconds: integer(env, 'GRANARY_STREAM_SECONDS', { fallback: 900, least: 1, most: 3600 }),
    topUpSeconds: integer(env, 'GRANARY_TOP_UP_SECONDS', { fallback: 15, least: 0, most: 600 }),
    bodyLimitBytes: integer(env, 'GRANARY_BODY_LIMIT_BYTES', { fallback: 16 << 20, least: 1024, most: 256 << 20 }),
    contentLimitBytes: integer(env, 'GRANARY_CONTENT_LIMIT_BYTES', { fallback: 64 << 20, least: 1024, most: 1 << 30 }),
    requestsPerMinute: integer(env, 'GRANARY_REQUESTS_PER_MINUTE', { fallback: 12_000, least: 1, most: 10_000_000 }),
    relay: readRelaySettings(env),
  }
}

/** Routers are a collector's own: a deployment of the cooperative need not name any. */
function withRouter(env: Environment, deployment: Deployment): Deployment {
  const router = optionalText(env, 'GRANARY_X402_ROUTER')
  if (router === null) return deployment
  if (!isAddress(router)) throw new GranaryError('config.invalid', `GRANARY_X402_ROUTER is no address: ${router}`)
  return { ...deployment, contracts: { ...deployment.contracts, X402Router: router.toLowerCase() } }
}

function readRelaySettings(env: Environment): RelaySettings {
  const [mostActs, mostGas] = [10_000_000, 1_000_000_000_000]
  return {
    perMinute: integer(env, 'GRANARY_RELAYS_PER_MINUTE', { fallback: 600, least: 0, most: 100_000 }),
    person: {
      acts: integer(env, 'GRANARY_RELAY_ACTS_PER_DAY', { fallback: 200, least: 0, most: mostActs }),
      gas: integer(env, 'GRANARY_RELAY_GAS_PER_DAY', { fallback: 40_000_000, least: 0, most: mostGas }),
    },
    shared: {
      acts: integer(env, 'GRANARY_RELAY_SHARED_ACTS_PER_DAY', { fallback: 10_000, least: 0, most: mostActs }),
      gas: integer(env, 'GRANARY_RELAY_SHARED_GAS_PER_DAY', { fallback: 2_000_000_000, least: 0, most: mostGas }),
    },
  }
}
