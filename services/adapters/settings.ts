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
