import { readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, posix, resolve } from 'node:path'
import { GranaryError } from '../../services/core/errors.ts'

/** Solidity by source name. A character stands for a byte (latin1), because solc counts its positions in bytes. */
export type Sources = ReadonlyMap<string, string>

export const root = resolve(import.meta.dirname, '..', '..')

/** The contracts whose mutants are made: all but interfaces, which say nothing that runs. */
export function listContracts(): string[] {
  return listSolidity('contracts').filter((name) => !name.startsWith('contracts/interfaces/'))
}

/** Files with tests in them; what they import from support/ comes with them. */
export function listTests(): string[] {
  return listSolidity('test/contracts').filter((name) => name.endsWith('.t.sol'))
}

function listSolidity(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.sol'))
    .map((name) => posix.join(folder, name.replaceAll('\\', '/')))
    .sort()
}

/** The named files and everything that they import, directly or not. */
export function readSources(names: readonly string[]): Map<string, string> {
  const found = new Map<string, string>()
  const open = [...names]
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    if (found.has(name)) continue
    const text = readFileSync(pathOf(name), 'latin1')
    found.set(name, text)
    open.push(...importsOf(name, text))
  }
  return found
}

export function importsOf(name: string, text: string): string[] {
  return [...text.matchAll(/^import\s[^;"]*"([^"]+)";/gm)].map(([, target = '']) =>
    target.startsWith('.') ? posix.join(posix.dirname(name), target) : target,
  )
}

function pathOf(name: string): string {
  return name.startsWith('@') ? join(root, 'node_modules', name) : join(root, name)
}

export function fromUtf8(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1')
}

export function toUtf8(text: string): string {
  return Buffer.from(text, 'latin1').toString('utf8')
}

export interface CompilerError {
  severity: string
  formattedMessage: string
  sourceLocation?: { file: string; start: number; end: number }
}

export interface CompiledContract {
  abi: readonly { type: string; name?: string }[]
  evm: { bytecode: Bytecode; deployedBytecode: Bytecode }
}

interface Bytecode {
  object: string
  linkReferences: Record<string, Record<string, { start: number; length: number }[]>>
}

export interface Compiled {
  errors?: readonly CompilerError[]
  sources?: Record<string, { ast: unknown }>
  contracts?: Record<string, Record<string, CompiledContract>>
}

interface Soljson {
  cwrap(name: string, returns: string, takes: readonly string[]): (input: string, callback: number, context: number) => string
}

let compile: ((input: string, callback: number, context: number) => string) | null = null

/** Asks npm's solc for what `selection` names; errors come back in the answer. */
export function runSolc(sources: Sources, selection: Record<string, Record<string, readonly string[]>>): Compiled {
  if (compile === null) {
    const require = createRequire(import.meta.url)
    const path = require.resolve('solc/soljson.js')
    compile = (require(path) as Soljson).cwrap('solidity_compile', 'string', ['string', 'number', 'number'])
  }
  const input = {
    language: 'Solidity',
    sources: Object.fromEntries([...sources].map(([name, text]) => [name, { content: toUtf8(text) }])),
    // Without the optimizer a compilation takes half the time; the tests hold what the contracts do, not what they cost.
    settings: {
      evmVersion: 'cancun',
      optimizer: { enabled: false },
      metadata: { appendCBOR: false },
      outputSelection: selection,
    },
  }
  return JSON.parse(compile(JSON.stringify(input), 0, 0)) as Compiled
}

/** The error class of the project for what ends a run of mutants. */
export function refuse(message: string): GranaryError {
  return new GranaryError('internal', message)
}

export const solcVersion = (): string =>
  (
    JSON.parse(
      readFileSync(join(dirname(createRequire(import.meta.url).resolve('solc/package.json')), 'package.json'), 'utf8'),
    ) as { version: string }
  ).version
