import type { Wallet } from 'ethers'
import { type Deployment, deploymentFile, type Environment, integer, keyFile, text } from '../adapters/settings.ts'
import { GranaryError } from '../core/errors.ts'
import { parseAmount } from '../core/money.ts'

export interface SettlerConfig {
  rpcUrl: string
  deployment: Deployment
  databaseUrl: string
  /** The operator that accounts name; pays gas. */
  collector: Wallet
  maxAgeSeconds: number
  minGross: bigint
  coinPrice: bigint
  maxRows: number
  maxLanes: number
  confirmations: number
  pollMs: number
}

export function readConfig(env: Environment = process.env): SettlerConfig {
  const deployment = deploymentFile(env)
  return {
    rpcUrl: text(env, 'GRANARY_RPC_URL'),
    deployment,
    databaseUrl: text(env, 'DATABASE_URL'),
    collector: keyFile(env, 'GRANARY_KEY_FILE'),
    maxAgeSeconds: integer(env, 'GRANARY_SETTLE_AGE_SECONDS', { fallback: 3, least: 0, most: 604_800 }),
    minGross: BigInt(integer(env, 'GRANARY_SETTLE_MIN_GROSS', { fallback: 1, least: 1, most: Number.MAX_SAFE_INTEGER })),
    coinPrice: coinPrice(env, deployment),
    maxRows: integer(env, 'GRANARY_SETTLE_MAX_ROWS', { fallback: 128, least: 1, most: 512 }),
    maxLanes: integer(env, 'GRANARY_SETTLE_MAX_LANES', { fallback: 64, least: 1, most: 64 }),
    confirmations: integer(env, 'GRANARY_CONFIRMATIONS', { fallback: 1, least: 1, most: 1000 }),
    pollMs: integer(env, 'GRANARY_SETTLER_POLL_MS', { fallback: 500, least: 20, most: 60_000 }),
  }
}

const DEVELOPMENT_CHAIN = 31_337n

/** Without it nothing says whether a batch is worth its gas, so only a development chain goes without. */
function coinPrice(env: Environment, { chainId }: Deployment): bigint {
  const value = text(env, 'GRANARY_COIN_PRICE', chainId === DEVELOPMENT_CHAIN ? '0' : undefined)
  const price = parseAmount(value)
  if (price !== null) return price
  throw new GranaryError('config.invalid', `GRANARY_COIN_PRICE must be base units for one coin of gas, not "${value}".`, {
    setting: 'GRANARY_COIN_PRICE',
  })
}
