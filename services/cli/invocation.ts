import { readFileSync, writeFileSync } from 'node:fs'
import { type ActFile, encodeJson, Granary, GranaryError, parseDollars } from '../sdk/index.ts'
import type { CliConfig } from './config.ts'

export interface Invocation {
  args: string[]
  flags: Record<string, string | boolean | undefined>
  config: CliConfig
  /** Where `--export` keeps what was signed; null when acts are relayed. */
  signed: (() => ActFile) | null
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

/** With --export, a Granary whose acts are kept for the file instead of relayed. */
export async function open(invocation: Invocation): Promise<Granary> {
  const { gatewayUrl, rpcUrl, wallet } = invocation.config
  if (gatewayUrl === null) {
    throw new GranaryError(
      'config.invalid',
      'Which gateway? Give --gateway URL, set GRANARY_GATEWAY_URL, or run npm start in this folder.',
    )
  }
  const granary = await Granary.open({
    gatewayUrl,
    unreachableMs: UNREACHABLE_MS,
    ...(rpcUrl === null ? {} : { rpcUrl }),
    ...(wallet === null ? {} : { wallet }),
  })
  if (invocation.flags.export === undefined) return granary
  const recorder = granary.recorder()
  invocation.signed = recorder.file
  return recorder.granary
}

export function argument({ args }: Invocation, index: number, name: string): string {
  const value = args[index]
  if (value === undefined) throw new GranaryError('request.malformed', `${name} is missing.`)
  return value
}

export function flag({ flags }: Invocation, name: string): string {
  const value = flags[name]
  if (typeof value !== 'string' || value === '') throw new GranaryError('request.malformed', `--${name} is missing.`)
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

export function readInput(flag: string | boolean | undefined): Record<string, string> {
  const match = typeof flag === 'string' ? /^([^=]+)=([\s\S]*)$/.exec(flag) : null
  if (!match?.[1]) throw new GranaryError('request.malformed', 'Give the input as --input name=value.')
  return { [match[1]]: match[2] ?? '' }
}

export function list(text: string | boolean | undefined): string[] {
  return String(text ?? '')
    .split(',')
    .filter(Boolean)
}

export function readBytes(path: string): Uint8Array {
  try {
    return readFileSync(path)
  } catch (cause) {
    throw new GranaryError('request.malformed', `${path} can't be read.`, { cause })
  }
}

/** An object, whatever is in it: who reads the file says what must be. */
export function readJson(path: string): Record<string, unknown> {
  let parsed: unknown
  try {
    parsed = JSON.parse(new TextDecoder().decode(readBytes(path)))
  } catch (cause) {
    if (cause instanceof GranaryError) throw cause
    throw new GranaryError('request.malformed', `${path} is no JSON.`, { cause })
  }
  if (typeof parsed !== 'object' || parsed === null) throw new GranaryError('request.malformed', `${path} holds no object.`)
  return parsed as Record<string, unknown>
}

export function writeJson(path: string, value: unknown): void {
  writeFileSync(path, `${new TextDecoder().decode(encodeJson(value))}\n`, { mode: 0o600 })
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
