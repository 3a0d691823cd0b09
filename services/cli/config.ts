import { existsSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { Wallet } from 'ethers'
import { GranaryError } from '../sdk/index.ts'

export interface CliConfig {
  gatewayUrl: string
  rpcUrl: string | null
  wallet: Wallet | null
  apiKey: string | null
}

/** Flags first, then the environment, then what `npm start` wrote to .granary/local.json in this folder. */
export function readConfig(
  flags: { gateway?: string | undefined; rpc?: string | undefined; 'key-file'?: string | undefined },
  env = process.env,
): CliConfig {
  const local = localFacts(resolve(env.GRANARY_DIR ?? '.granary', 'local.json'))
  const gatewayUrl = flags.gateway ?? env.GRANARY_GATEWAY_URL ?? local?.gatewayUrl
  if (!gatewayUrl) {
    throw new GranaryError(
      'config.invalid',
      'Which gateway? Give --gateway URL, set GRANARY_GATEWAY_URL, or run npm start in this folder.',
    )
  }
  const keyFile = flags['key-file'] ?? env.GRANARY_KEY_FILE
  return {
    gatewayUrl,
    rpcUrl: flags.rpc ?? env.GRANARY_RPC_URL ?? local?.rpcUrl ?? null,
    wallet: keyFile === undefined ? null : readWallet(keyFile),
    apiKey: env.GRANARY_API_KEY ?? null,
  }
}

function readWallet(path: string): Wallet {
  try {
    return new Wallet(readFileSync(path, 'utf8').trim())
  } catch (cause) {
    throw new GranaryError('config.invalid', `${path} holds no private key.`, { cause })
  }
}

function localFacts(path: string): { gatewayUrl?: string; rpcUrl?: string } | null {
  if (!existsSync(path)) return null
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch (cause) {
    throw new GranaryError('config.invalid', `${path} is no JSON: run npm start in this folder, or give --gateway URL.`, {
      cause,
    })
  }
}
