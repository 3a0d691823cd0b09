import { parse } from './ast.ts'
import { type Corpus, listMutants, type Mutant } from './mutants.ts'
import { listContracts, listTests, readSources } from './sources.ts'

export interface Loaded extends Corpus {
  mutants: readonly Mutant[]
  tests: readonly string[]
}

/** The contracts, their tests and all mutants. */
export function loadCorpus(): Loaded {
  const files = listContracts()
  const tests = listTests()
  const trees = parse(readSources(files))
  const sources = readSources([...files, ...tests])
  return { sources, trees, files, tests, mutants: listMutants({ sources, trees, files }) }
}
