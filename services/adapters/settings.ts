import { readFileSync } from 'node:fs'
import { isAddress, Wallet } from 'ethers'
import { GranaryError } from '../core/errors.ts'

/** Reads settings of one environment; every refusal names the variable and what it must be. Only config.ts files use this. */
export type Environment = Readonly<Record<string, string | undefined>>

export interface Deployment {
  chainId: bigint
  token: string
  contracts: Record<string, string>
  deployBlock: number
}

export function text(env: Environment, name: string, fallback?: string): string {
  const value = env[name] ?? fallback
  if (value === undefined || value === '') throw new GranaryError('config.invalid', `${name} is not set.`, { setting: name })
  return value
}

export function optionalText(env: Environment, name: string): string | null {
  const value = env[name]
  return value === undefined || value === '' ? null : value
}

export function integer(env: Environment, name: string, options: { fallback: number; least: number; most: number }): number {
  const value = env[name]
  if (value === undefined || value === '') return options.fallback
  const number = Number(value)
  if (!Number.isInteger(number) || number < options.least || number > options.most) {
    throw new GranaryError(
      'config.invalid',
      `${name} must be a whole number from ${options.least} to ${options.most}, not "${value}".`,
      { setting: name },
    )
  }
  return number
}

/** Needed before anything else can fail. */
export function logLevel(env: Environment = process.env): string {
  return optionalText(env, 'LOG_LEVEL') ?? 'info'
}

/** Private keys come from files, so that they appear in no process list. */
export function keyFile(env: Environment, name: string): Wallet {
  const path = text(env, name)
  try {
    return new Wallet(readFileSync(path, 'utf8').trim())
  } catch (cause) {
    throw new GranaryError('config.invalid', `${name} names ${path}, which holds no private key.`, { cause, setting: name })
  }
}

/**
 * The master key in force, from GRANARY_MASTER_KEY_FILE or GRANARY_MASTER_KEY, and then those that still or already open what
 * was sealed, from the files of GRANARY_OTHER_MASTER_KEY_FILES (comma-separated).
 */
export function masterKeys(env: Environment): [Uint8Array, ...Uint8Array[]] {
  const direct = optionalText(env, 'GRANARY_MASTER_KEY')
  const file = optionalText(env, 'GRANARY_MASTER_KEY_FILE')
  if ((direct === null) === (file === null)) {
    throw new GranaryError('config.invalid', 'Set one of GRANARY_MASTER_KEY_FILE and GRANARY_MASTER_KEY.')
  }
  const others = (optionalText(env, 'GRANARY_OTHER_MASTER_KEY_FILES') ?? '').split(',').filter(Boolean)
  const first = direct === null ? masterKeyFile('GRANARY_MASTER_KEY_FILE', file ?? '') : masterKey('GRANARY_MASTER_KEY', direct)
  return [first, ...others.map((path) => masterKeyFile('GRANARY_OTHER_MASTER_KEY_FILES', path))]
}

function masterKeyFile(name: string, path: string): Uint8Array {
  let hex: string
  try {
    hex = readFileSync(path, 'utf8')
  } catch (cause) {
    throw new GranaryError('config.invalid', `${name} names ${path}, which can't be read.`, { cause, setting: name })
  }
  return masterKey(`${name} names ${path}, which`, hex)
}

/** The value itself appears in no message. */
function masterKey(where: string, text: string): Uint8Array {
  const hex = text.trim().replace(/^0x/, '')
  if (!/^[0-9a-f]{64}$/.test(hex)) throw new GranaryError('config.invalid', `${where} does not hold 32 bytes of hex.`)
  return Buffer.from(hex, 'hex')
}

/** The file that scripts/deploy.ts writes. */
export function deploymentFile(env: Environment, name = 'GRANARY_DEPLOYMENT'): Deployment {
  const path = text(env, name)
  try {
    const parsed = JSON.parse(readFileSync(path, 'utf8'))
    const contracts: Record<string, string> = {}
    for (const [contract, address] of Object.entries(parsed.contracts)) {
      if (!isAddress(address)) throw new Error(`${contract} has no address`)
      contracts[contract] = address.toLowerCase()
    }
    return {
      chainId: BigInt(parsed.chainId),
      token: String(parsed.token).toLowerCase(),
      contracts,
      deployBlock: Number(parsed.deployBlock),
    }
  } catch (cause) {
    throw new GranaryError('config.invalid', `${name} names ${path}, which is no deployment file.`, { cause, setting: name })
  }
}
