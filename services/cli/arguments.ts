import { Granary, GranaryError, parseDollars } from '../sdk/index.ts'
import type { CliConfig } from './config.ts'

export interface Invocation {
  args: string[]
  flags: Record<string, string | boolean | undefined>
  config: CliConfig
}

/** What is printed: `lines` for people, `value` with --json. */
export interface Outcome {
  lines: string[]
  value: unknown
}

export interface Command {
  usage: string
  says: string
  run(invocation: Invocation): Promise<Outcome>
}

/** Somebody sits in front of it. */
const UNREACHABLE_MS = 3000

export function open({ config }: Invocation): Promise<Granary> {
  const { gatewayUrl, rpcUrl, wallet } = config
  const unreachableMs = UNREACHABLE_MS
  return Granary.open({
    gatewayUrl,
    unreachableMs,
    ...(rpcUrl === null ? {} : { rpcUrl }),
    ...(wallet === null ? {} : { wallet }),
  })
}

export function argument({ args }: Invocation, index: number, name: string): string {
  const value = args[index]
  if (value === undefined) throw new GranaryError('request.malformed', `${name} is missing.`)
  return value
}

export function amount(text: unknown, name: string): bigint {
  const parsed = typeof text === 'string' ? parseDollars(text) : null
  if (parsed === null)
    throw new GranaryError('request.malformed', `${name} must be an amount in dollars with at most six decimals, such as 12.50.`)
  return parsed
}

export function whole(text: string, name: string): bigint {
  if (!/^[0-9]{1,78}$/.test(text)) throw new GranaryError('request.malformed', `${name} must be a whole number, not "${text}".`)
  return BigInt(text)
}

/** Names separated by commas; undefined where the flag was not given. */
export function listed(flag: string | boolean | undefined): string[] | undefined {
  return typeof flag === 'string' ? flag.split(',').filter(Boolean) : undefined
}

/** Without what is undefined. */
export function given<T extends object>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>
  }
}
