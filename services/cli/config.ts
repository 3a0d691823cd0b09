import { existsSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { Wallet } from 'ethers'
import { GranaryError } from '../sdk/index.ts'

export interface CliConfig {
  /** Null where none is named: what goes straight to the chain needs none. */
  gatewayUrl: string | null
  rpcUrl: string | null
  wallet: Wallet | null
  apiKey: string | null
  /** The cooperative of this folder, if `npm start` runs one. */
  local: { rpcUrl: string; chainId: string; contracts: Record<string, string> } | null
}

/** Flags first, then the environment, then what `npm start` wrote to .granary/local.json in this folder. */
export function readConfig(
  flags: { gateway?: string | undefined; rpc?: string | undefined; 'key-file'?: string | undefined },
  env = process.env,
): CliConfig {
  const local = localFacts(resolve(env.GRANARY_DIR ?? '.granary', 'local.json'))
  const keyFile = flags['key-file'] ?? env.GRANARY_KEY_FILE
  return {
    gatewayUrl: flags.gateway ?? env.GRANARY_GATEWAY_URL ?? local?.gatewayUrl ?? null,
    rpcUrl: flags.rpc ?? env.GRANARY_RPC_URL ?? local?.rpcUrl ?? null,
    wallet: keyFile === undefined ? null : readWallet(keyFile),
    apiKey: env.GRANARY_API_KEY ?? null,
    local: local === null ? null : cooperativeOf(local),
  }
}

function readWallet(path: string): Wallet {
  try {
    return new Wallet(readFileSync(path, 'utf8').trim())
  } catch (cause) {
    throw new GranaryError('config.invalid', `${path} holds no private key.`, { cause })
  }
}

function cooperativeOf({ rpcUrl, chainId, contracts }: LocalFacts): CliConfig['local'] {
  return rpcUrl && contracts ? { rpcUrl, chainId: String(chainId), contracts } : null
}

interface LocalFacts {
  gatewayUrl?: string
  rpcUrl?: string
  chainId?: number
  contracts?: Record<string, string>
}

function localFacts(path: string): LocalFacts | null {
  if (!existsSync(path)) return null
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch (cause) {
    throw new GranaryError('config.invalid', `${path} is no JSON: run npm start in this folder, or give --gateway URL.`, {
      cause,
    })
  }
}
