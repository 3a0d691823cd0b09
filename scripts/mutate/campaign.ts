import { join } from 'node:path'
import { readJsonFile, writeWhole } from '../local/files.ts'
import { build } from './compile.ts'
import type { Loaded } from './corpus.ts'
import { type Answer, Crew } from './crew.ts'
import type { Mutant } from './mutants.ts'
import { type Distances, distancesFrom, planFor, sampleOf, THOROUGH } from './plan.ts'
import { type Suite, suitesOf } from './runner.ts'
import { refuse, root } from './sources.ts'

/** Which test killed which mutant last time: it looks first. Losing the file costs time only. */
const KILLERS = join(root, 'cache', 'mutate', 'killers.json')
/** A mutant's tests get as many times what the unmutated code took. */
const PATIENCE = 8
const LEAST_MS = 60_000
const BASELINE_MS = 20 * 60_000
const TELL_EVERY = 25

export interface Selection {
  mutants: readonly Mutant[]
  argued: Readonly<Record<string, string>>
}

export interface Campaign {
  killed: number
  tooSlow: number
  argued: readonly Mutant[]
  refused: number
  byHand: number
  survived: readonly Mutant[]
  /** Argued to be harmless, yet killed. */
  refuted: readonly { mutant: Mutant; test: string }[]
}

/** Without `all` or `only`: the hand-written ones and a sample that is spread over contracts and rules. */
export function selectMutants(options: {
  mutants: readonly Mutant[]
  argued: Readonly<Record<string, string>>
  all: boolean
  only: readonly string[]
  sample: number
}): Selection {
  const { mutants, argued, all, only, sample } = options
  const ids = new Set(mutants.map(({ id }) => id))
  const gone = Object.keys(argued).filter((id) => !ids.has(id))
  if (gone.length > 0) throw refuse(`scripts/mutate/argued.ts argues mutants that no longer exist:\n  ${gone.join('\n  ')}`)
  if (all) return { mutants, argued }
  if (only.length > 0) {
    const chosen = mutants.filter(({ id }) => only.some((start) => id.startsWith(start)))
    if (chosen.length === 0) throw refuse(`No mutant's id begins with ${only.join(' or ')}; --list shows them.`)
    return { mutants: chosen, argued }
  }
  const byHand = mutants.filter(({ rule }) => rule === 'by-hand')
  const byRule = mutants.filter(({ rule }) => rule !== 'by-hand')
  // Left out afterwards: an argument must not bring another mutant into the sample.
  return { mutants: [...byHand, ...sampleOf(byRule, sample).filter(({ id }) => !(id in argued))], argued }
}

interface Run {
  corpus: Loaded
  selection: Selection
  workers: number
  /** Without the last look: what survives may yet fall to more inputs and to the invariants. */
  quick: boolean
  tell: (line: string) => void
}

/** Kills what can be killed. The tests must be green before anything is mutated. */
export async function runMutants({ corpus, selection: { mutants, argued }, workers, quick, tell }: Run): Promise<Campaign> {
  tell(`Compiling ${mutants.length} of ${corpus.mutants.length} mutants together …`)
  const distances = distancesFrom(corpus.tests, corpus.sources)
  const files = new Set(mutants.map(({ file }) => file))
  const tests = corpus.tests.filter((test) => [...files].some((file) => distances.get(test)?.has(file)))
  const { compiled, refused } = build(corpus, mutants, tests)
  const suites = suitesOf(compiled)
  using crew = new Crew(compiled)
  const limitMs = await baseline({ crew, suites, workers, tell })
  const killers = new Map(Object.entries(readJsonFile(KILLERS) ?? {}).map(([id, test]) => [id, String(test)]))
  const tally = { killed: 0, tooSlow: 0, survived: [] as Mutant[], refuted: [] as { mutant: Mutant; test: string }[] }
  const alive = mutants.flatMap((mutant, index) => (refused.has(mutant) ? [] : [{ mutant, number: index + 1 }]))
  let done = 0
  await inParallel(workers, alive, async ({ mutant, number }) => {
    const verdict = await judge({ crew, mutant, number, suites, distances, killer: killers.get(mutant.id), quick, limitMs })
    const isArgued = mutant.id in argued
    if (verdict === null && !isArgued) tally.survived.push(mutant)
    if (verdict === null && !isArgued) tell(`Survived: ${mutant.id} (${mutant.file}:${mutant.line})`)
    if (verdict !== null && isArgued) tally.refuted.push({ mutant, test: verdict })
    if (verdict !== null && !isArgued) tally.killed += 1
    if (verdict === TOO_SLOW) tally.tooSlow += 1
    if (verdict !== null && verdict !== TOO_SLOW) killers.set(mutant.id, verdict)
    done += 1
    if (done % TELL_EVERY !== 0) return
    remember(killers)
    tell(`${done} of ${alive.length}: ${tally.killed} killed, ${tally.survived.length} survived`)
  })
  remember(killers)
  const byHand = mutants.filter(({ rule }) => rule === 'by-hand').length
  return { ...tally, argued: mutants.filter(({ id }) => id in argued), refused: refused.size, byHand }
}

/** One line that says how much was tried. */
export function lineOf({ killed, tooSlow, argued, refused, byHand, survived, refuted }: Campaign): string {
  const tried = killed + argued.length + survived.length
  const slow = tooSlow > 0 ? ` (${tooSlow} of them by taking too long or too much memory)` : ''
  const wrong = refuted.length > 0 ? `, ${refuted.length} argued wrongly` : ''
  const invalid = refused > 0 ? `; ${refused} more are no valid code` : ''
  return `${tried} mutants (${byHand} by hand): ${killed} killed${slow}, ${argued.length} argued, ${survived.length} survived${wrong}${invalid}`
}

function remember(killers: ReadonlyMap<string, string>): void {
  writeWhole(KILLERS, JSON.stringify(Object.fromEntries([...killers].sort()), null, 1))
}

const TOO_SLOW = 'the limit of time or memory'

interface Case {
  crew: Crew
  mutant: Mutant
  number: number
  suites: readonly Suite[]
  distances: Distances
  killer: string | undefined
  quick: boolean
  limitMs: number
}

/** What killed it; null when nothing did. */
async function judge({ crew, mutant, number, suites, distances, killer, quick, limitMs }: Case): Promise<string | null> {
  const looks = planFor({ mutant, suites, distances, killer, quick })
  const answer = await crew.ask({ mutant: number, looks, everything: false }, limitMs)
  if (answer === 'too slow') return TOO_SLOW
  return answer.results.find(({ ok }) => !ok)?.test ?? null
}

/** Every test must pass on the contracts as they stand; says how long a mutant may take. */
async function baseline({
  crew,
  suites,
  workers,
  tell,
}: {
  crew: Crew
  suites: readonly Suite[]
  workers: number
  tell: (line: string) => void
}): Promise<number> {
  const started = performance.now()
  const answers: Answer[] = []
  await inParallel(workers, suites, async (suite) => {
    answers.push(await crew.ask({ mutant: 0, looks: [{ ...THOROUGH, suites: [suite] }], everything: true }, BASELINE_MS))
  })
  const results = answers.flatMap((answer) => {
    if (answer === 'too slow') throw refuse('The tests of the unmutated contracts do not come to an end.')
    return answer.results
  })
  const failures = results.filter(({ ok }) => !ok).map(({ test, reason }) => `  ${test}: ${reason}`)
  if (failures.length > 0 || results.length === 0) {
    throw refuse(`The tests must pass on the unmutated contracts:\n${failures.join('\n')}`)
  }
  const tookMs = performance.now() - started
  tell(`${results.length} tests pass on the unmutated contracts (${Math.round(tookMs / 1000)} s)`)
  return Math.max(LEAST_MS, tookMs * workers * PATIENCE)
}

async function inParallel<T>(width: number, items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values()
  const lane = async () => {
    for (const item of queue) await work(item)
  }
  await Promise.all(Array.from({ length: width }, lane))
}
