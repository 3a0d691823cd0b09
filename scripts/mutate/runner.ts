import { createRequire } from 'node:module'
import type {
  Artifact,
  EdrContext,
  SolidityTestRunnerConfigArgs,
  SuiteResult,
  TracingConfigWithBuffers,
} from '@nomicfoundation/edr'
import { type Compiled, refuse, root, solcVersion } from './sources.ts'

// Hardhat's own test runner, called without Hardhat: what costs two seconds a run are its start and its artifacts on disk.
const require = createRequire(createRequire(import.meta.url).resolve('hardhat/package.json'))
const edr = require('@nomicfoundation/edr') as typeof import('@nomicfoundation/edr')

/** A contract with tests in it. */
export interface Suite {
  source: string
  name: string
  tests: readonly string[]
}

/** How hard the tests try: a first look finds most mutants, the last one is what `npm test` does. */
export interface Effort {
  fuzzRuns: number
  invariantRuns: number
  invariantDepth: number
}

export interface Look extends Effort {
  suites: readonly Pick<Suite, 'source' | 'name'>[]
  /** Only tests whose name matches; all without it. */
  pattern?: string
  exclude?: string
}

export interface Result {
  test: string
  ok: boolean
  reason: string
}

const SEED = '0x6772616e617279'
/** Eight times what any test needs: a mutant that loops for ever runs out of it within seconds. */
const GAS_LIMIT = 2n ** 30n

export function suitesOf(compiled: Compiled): Suite[] {
  return Object.entries(compiled.contracts ?? {}).flatMap(([source, contracts]) =>
    Object.entries(contracts).flatMap(([name, { abi, evm }]) => {
      const tests = abi.flatMap((item) =>
        item.type === 'function' && /^(test|invariant)/.test(item.name ?? '') ? [item.name ?? ''] : [],
      )
      return tests.length > 0 && evm.bytecode.object !== '' && source.endsWith('.t.sol') ? [{ source, name, tests }] : []
    }),
  )
}

/** Runs tests of one compilation with any of its mutants. */
export class Runner {
  readonly #context: EdrContext
  readonly #artifacts: Artifact[]

  private constructor(context: EdrContext, compiled: Compiled) {
    this.#context = context
    this.#artifacts = artifactsOf(compiled)
  }

  static async open(compiled: Compiled): Promise<Runner> {
    const context = new edr.EdrContext()
    await context.registerSolidityTestRunnerFactory(edr.L1_CHAIN_TYPE, edr.l1SolidityTestRunnerFactory())
    return new Runner(context, compiled)
  }

  /** Results of all the look's tests with the mutant of that number; 0 is the code as it stands. */
  async run(mutant: number, look: Look): Promise<Result[]> {
    const sources = new Set(look.suites.map(({ source }) => source))
    const artifacts = this.#artifacts.filter(({ id }) => sources.has(id.source))
    const wanted = new Set(look.suites.map(({ source, name }) => `${source}:${name}`))
    const ids = artifacts.flatMap(({ id }) => (wanted.has(`${id.source}:${id.name}`) ? [id] : []))
    const results: Result[] = []
    const finished = Promise.withResolvers<void>()
    let left = ids.length
    const onSuite = (suite: SuiteResult) => {
      results.push(...resultsOf(suite))
      left -= 1
      if (left === 0) finished.resolve()
    }
    const tracing: TracingConfigWithBuffers = { buildInfos: [], ignoreContracts: false }
    await this.#context.runSolidityTests(edr.L1_CHAIN_TYPE, artifacts, ids, configOf(mutant, look), tracing, onSuite)
    if (left > 0) await finished.promise
    return results
  }
}

function resultsOf({ id, testResults }: SuiteResult): Result[] {
  return testResults.map(({ name, status, reason }) => ({
    test: `${id.name}.${name.replace(/\(.*$/, '')}`,
    ok: status !== edr.TestStatus.Failure,
    reason: reason ?? '',
  }))
}

function configOf(
  mutant: number,
  { fuzzRuns, invariantRuns, invariantDepth, pattern, exclude }: Look,
): SolidityTestRunnerConfigArgs {
  const coinbase = new Uint8Array(20)
  new DataView(coinbase.buffer).setUint32(16, mutant)
  return {
    projectRoot: root,
    hardfork: edr.OSAKA,
    localPredeploys: edr.l1GenesisState(edr.l1HardforkFromString(edr.OSAKA)),
    blockCoinbase: coinbase,
    gasLimit: GAS_LIMIT,
    disableBlockGasLimit: true,
    disableTransactionGasCap: true,
    fuzz: { runs: fuzzRuns, seed: SEED },
    invariant: { runs: invariantRuns, depth: invariantDepth, failOnRevert: true, shrinkRunLimit: 0 },
    collectStackTraces: edr.CollectStackTraces.OnFailure,
    includeTraces: edr.IncludeTraces.None,
    testPattern: pattern,
    excludeTestPattern: exclude,
  }
}

function artifactsOf(compiled: Compiled): Artifact[] {
  const version = solcVersion()
  return Object.entries(compiled.contracts ?? {}).flatMap(([source, contracts]) =>
    Object.entries(contracts).map(([name, { abi, evm }]) => {
      const linked = [evm.bytecode, evm.deployedBytecode].every(({ linkReferences }) => Object.keys(linkReferences).length === 0)
      if (!linked) throw refuse(`${name} needs libraries to be linked: the mutants' test runner does not do that.`)
      return {
        id: { name, solcVersion: version, source },
        contract: {
          abi: JSON.stringify(abi),
          bytecode: `0x${evm.bytecode.object}`,
          deployedBytecode: `0x${evm.deployedBytecode.object}`,
          linkReferences: {},
          deployedLinkReferences: {},
        },
      }
    }),
  )
}
