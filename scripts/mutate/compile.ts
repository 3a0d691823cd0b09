import { requireCompiled } from './ast.ts'
import type { Corpus, Mutant } from './mutants.ts'
import { mutantsAt, withMutants } from './schemata.ts'
import { type Compiled, runSolc } from './sources.ts'

const OUTPUT = [
  'abi',
  'evm.bytecode.object',
  'evm.bytecode.linkReferences',
  'evm.deployedBytecode.object',
  'evm.deployedBytecode.linkReferences',
]
const ATTEMPTS = 4

export interface Build {
  compiled: Compiled
  /** Mutants that the compiler refuses: not code, so not mistakes either. */
  refused: ReadonlySet<Mutant>
}

/** Compiles the tests with all these mutants in the contracts; leaves out those that are no valid code. */
export function build(corpus: Corpus, mutants: readonly Mutant[], tests: readonly string[]): Build {
  const refused = new Set<Mutant>()
  const selection = Object.fromEntries(tests.map((name) => [name, { '*': OUTPUT }]))
  for (let attempt = 1; ; ++attempt) {
    const sources = withMutants(corpus, mutants, refused)
    const compiled = runSolc(sources, selection)
    const blamed = (compiled.errors ?? []).flatMap(({ severity, sourceLocation }) => {
      if (severity !== 'error' || sourceLocation === undefined) return []
      return mutantsAt(sources.get(sourceLocation.file) ?? '', sourceLocation)
    })
    if (blamed.length === 0 || attempt === ATTEMPTS) {
      requireCompiled(compiled)
      return { compiled, refused }
    }
    for (const number of blamed) {
      const mutant = mutants[number - 1]
      if (mutant !== undefined) refused.add(mutant)
    }
  }
}
