import { createHash } from 'node:crypto'
import type { Mutant } from './mutants.ts'
import type { Effort, Look, Suite } from './runner.ts'
import { importsOf, type Sources } from './sources.ts'

/** Contracts that carry their mutants are larger and cost more than those that are deployed. */
const OF_DEPLOYED_CODE = '^test_CodeSize_|_CostsAtMost'
/** Most mutants fall at the first input of the nearest test; only those that don't are tried harder. What fails is killed, however few runs it took. */
const FIRST: Effort = { fuzzRuns: 1, invariantRuns: 0, invariantDepth: 0 }
const SECOND: Effort = { fuzzRuns: 12, invariantRuns: 0, invariantDepth: 0 }
export const THOROUGH: Effort & Pick<Look, 'exclude'> = {
  fuzzRuns: 48,
  invariantRuns: 6,
  invariantDepth: 50,
  exclude: OF_DEPLOYED_CODE,
}
const EXAMPLES_AND_FUZZING = `${OF_DEPLOYED_CODE}|^invariant`

/** What each test file reaches, and in how many imports. */
export type Distances = ReadonlyMap<string, ReadonlyMap<string, number>>

export function distancesFrom(tests: readonly string[], sources: Sources): Distances {
  return new Map(tests.map((test) => [test, distancesOf(test, sources)]))
}

function distancesOf(test: string, sources: Sources): Map<string, number> {
  const found = new Map([[test, 0]])
  for (const [name, distance] of found) {
    for (const next of importsOf(name, sources.get(name) ?? '')) if (!found.has(next)) found.set(next, distance + 1)
  }
  return found
}

interface Planned {
  mutant: Mutant
  suites: readonly Suite[]
  distances: Distances
  /** `Suite.test` */
  killer: string | undefined
  quick: boolean
}

/** The looks at one mutant: the test that found it last time, the tests of its own contract, the others that reach it, then all in earnest. */
export function planFor({ mutant, suites, distances, killer, quick }: Planned): Look[] {
  const contract = mutant.file.slice(mutant.file.lastIndexOf('/') + 1, -'.sol'.length)
  const reaching = suites
    .flatMap((suite) => {
      const distance = distances.get(suite.source)?.get(mutant.file)
      return distance === undefined ? [] : [{ suite, distance: suite.name.startsWith(contract) ? 0 : distance }]
    })
    .sort((a, b) => a.distance - b.distance)
  const nearest = reaching[0]?.distance
  const own = reaching.flatMap(({ suite, distance }) => (distance === nearest ? [suite] : []))
  const others = reaching.flatMap(({ suite, distance }) => (distance === nearest ? [] : [suite]))
  const looks: Look[] = []
  const known = reaching.find(({ suite: { name, tests } }) => tests.some((test) => `${name}.${test}` === killer))
  if (known !== undefined && killer !== undefined) {
    looks.push({ ...THOROUGH, suites: [known.suite], pattern: `^${killer.slice(killer.indexOf('.') + 1)}($|\\()` })
  }
  for (const effort of [FIRST, SECOND]) {
    for (const group of [own, others])
      if (group.length > 0) looks.push({ ...effort, suites: group, exclude: EXAMPLES_AND_FUZZING })
  }
  if (!quick && reaching.length > 0) looks.push({ ...THOROUGH, suites: reaching.map(({ suite }) => suite) })
  return looks
}

/** Turn by turn a contract, and within it turn by turn a rule; the order is the same each time, and follows from ids alone. */
export function sampleOf(mutants: readonly Mutant[], size: number): Mutant[] {
  const byContract = Map.groupBy(mutants, ({ file }) => file)
  const queues = [...byContract.values()].map((list) => inTurns([...Map.groupBy(shuffled(list), ({ rule }) => rule).values()]))
  return inTurns(queues).slice(0, size)
}

function inTurns<T>(lists: readonly T[][]): T[] {
  const longest = Math.max(0, ...lists.map(({ length }) => length))
  return Array.from({ length: longest }, (_, turn) => lists.flatMap((list) => list.slice(turn, turn + 1))).flat()
}

function shuffled(mutants: readonly Mutant[]): Mutant[] {
  const keyed = mutants.map((mutant) => ({ mutant, key: createHash('sha256').update(mutant.id).digest('hex') }))
  return keyed.sort((a, b) => (a.key < b.key ? -1 : 1)).map(({ mutant }) => mutant)
}
