import { spawn } from 'node:child_process'
import { join, resolve } from 'node:path'
import hre from 'hardhat'
import type { Counts } from './counts.ts'

const ROOT = resolve(import.meta.dirname, '../../..')
const WORKER = join(import.meta.dirname, 'worker.ts')
/** One for each core that the project counts on. */
const WORKERS = 2
const KEPT_CHARACTERS = 2_000_000

export interface Campaign {
  counts: Counts
  /** Of each worker that came upon a difference: how to see it again, and what it was, as short as it got. */
  failures: string[]
  seconds: number
}

interface Outcome {
  counts: Record<string, number>
  failure: { seed: string; wrong: string[]; acts: unknown[] } | null
  seconds: number
}

/** Plays histories `seed/0` to below `seed/<histories>` in processes of their own. */
export async function runCampaign({
  seed,
  histories,
  limitMs,
}: {
  seed: string
  histories: number
  limitMs: number
}): Promise<Campaign> {
  // A no-op once test contracts are compiled; the workers read their artifacts.
  await hre.tasks.getTask('build').run({ quiet: true })
  const part = Math.ceil(histories / WORKERS)
  const outcomes = await Promise.all(
    Array.from({ length: WORKERS }, (_, i) => {
      const to = Math.min(histories, (i + 1) * part)
      return runWorker(['--seed', seed, '--from', `${i * part}`, '--to', `${to}`], limitMs)
    }),
  )
  const counts: Counts = new Map()
  for (const outcome of outcomes) {
    for (const [what, times] of Object.entries(outcome.counts)) counts.set(what, (counts.get(what) ?? 0) + times)
  }
  const failures = outcomes.flatMap(({ failure }) => (failure === null ? [] : [tell(failure)]))
  return { counts, failures, seconds: Math.max(...outcomes.map(({ seconds }) => seconds)) }
}

export function tableOf(counts: Counts): string {
  const lines = [...counts].sort(([a], [b]) => a.localeCompare(b))
  return lines.map(([what, times]) => `${what.padEnd(52)} ${String(times).padStart(9)}`).join('\n')
}

function tell({ seed, wrong, acts }: NonNullable<Outcome['failure']>): string {
  const [name, number] = [seed.slice(0, seed.lastIndexOf('/')), Number(seed.slice(seed.lastIndexOf('/') + 1))]
  const replay = `node test/reference/differential/worker.ts --seed ${name} --from ${number} --to ${number + 1}`
  return [`History ${seed} differs; again: ${replay}`, ...wrong, ...acts.map((act) => JSON.stringify(act))].join('\n')
}

async function runWorker(args: readonly string[], limitMs: number): Promise<Outcome> {
  const child = spawn(process.execPath, [WORKER, ...args], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: limitMs,
    killSignal: 'SIGKILL',
  })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => {
    output = (output + chunk.toString()).slice(-KEPT_CHARACTERS)
  })
  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((done, fail) => {
    child.once('error', fail)
    child.once('close', (status, by) => done([status, by]))
  })
  const last = output.trim().split('\n').at(-1) ?? ''
  if (code !== 0) throw new Error(`A worker ended with ${signal ?? code}: ${last.slice(0, 500)}`)
  return JSON.parse(last) as Outcome
}
