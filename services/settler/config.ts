import type { Wallet } from 'ethers'
import { type Deployment, deploymentFile, type Environment, integer, keyFile, text } from '../adapters/settings.ts'

export interface SettlerConfig {
  rpcUrl: string
  deployment: Deployment
  databaseUrl: string
  /** The operator that accounts name; pays gas. */
  collector: Wallet
  maxAgeSeconds: number
  minGross: bigint
  maxRows: number
  maxLanes: number
  confirmations: number
  pollMs: number
}

export function readConfig(env: Environment = process.env): SettlerConfig {
  return {
    rpcUrl: text(env, 'GRANARY_RPC_URL'),
    deployment: deploymentFile(env),
    databaseUrl: text(env, 'DATABASE_URL'),
    collector: keyFile(env, 'GRANARY_KEY_FILE'),
    maxAgeSeconds: integer(env, 'GRANARY_SETTLE_AGE_SECONDS', { fallback: 3, least: 0, most: 604_800 }),
    minGross: BigInt(integer(env, 'GRANARY_SETTLE_MIN_GROSS', { fallback: 1, least: 1, most: Number.MAX_SAFE_INTEGER })),
    maxRows: integer(env, 'GRANARY_SETTLE_MAX_ROWS', { fallback: 128, least: 1, most: 512 }),
    maxLanes: integer(env, 'GRANARY_SETTLE_MAX_LANES', { fallback: 64, least: 1, most: 64 }),
    confirmations: integer(env, 'GRANARY_CONFIRMATIONS', { fallback: 1, least: 1, most: 1000 }),
    pollMs: integer(env, 'GRANARY_SETTLER_POLL_MS', { fallback: 500, least: 20, most: 60_000 }),
  }
}
