import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative, resolve } from 'node:path'
import { stripVTControlCharacters } from 'node:util'

export interface Counts {
  passed: number
  failed: number
  skipped: number
  /** What failed and why, a line each: said again at the end, where it is not lost among all that passed. */
  failures: readonly string[]
}

/** A line of a failure, and how many of them are said again. */
const FAILURE_CHARS = 600
const FAILURES = 40

const root = resolve(import.meta.dirname, '..', '..')

/** Runs vitest and counts by its own report: a file that does not even load counts as one failure. */
export async function runVitest(args: readonly string[], limitMs: number): Promise<Counts> {
  const folder = mkdtempSync(join(tmpdir(), 'granary-vitest-'))
  const report = join(folder, 'report.json')
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`]
  const { code } = await runTool('vitest/vitest.mjs', ['run', '--passWithNoTests', ...reporters, ...args], limitMs)
  try {
    return countVitest(JSON.parse(readFileSync(report, 'utf8')), code)
  } catch {
    return { passed: 0, failed: 1, skipped: 0, failures: [`vitest ${args.join(' ')} left no report (exit code ${code})`] }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

interface VitestReport {
  numPassedTests: number
  numFailedTests: number
  numPendingTests: number
  numTodoTests: number
  testResults: {
    name: string
    status: string
    message?: string
    assertionResults: { status: string; fullName: string; failureMessages?: string[] }[]
  }[]
}

function countVitest(report: VitestReport, code: number): Counts {
  const failures: string[] = []
  for (const { name, status, message, assertionResults } of report.testResults) {
    const file = relative(root, name)
    const failed = assertionResults.filter((test) => test.status === 'failed')
    failures.push(...failed.map((test) => `${file}: ${test.fullName}: ${test.failureMessages?.[0] ?? ''}`))
    if (status === 'failed' && failed.length === 0)
      failures.push(`${file}: ${message || 'failed outside of its tests, as said above'}`)
    for (const test of assertionResults) if (test.status === 'pending') say(`skipped: ${test.fullName}`)
  }
  // An error outside of any test (an unhandled rejection) fails the run without failing a test.
  if (failures.length === 0 && code !== 0) failures.push(`vitest ended with exit code ${code}, though no test failed`)
  return {
    passed: report.numPassedTests,
    failed: failures.length,
    skipped: report.numPendingTests + report.numTodoTests,
    failures,
  }
}

/** Runs the Solidity tests and counts by what Hardhat prints last. */
export async function runSolidityTests(args: readonly string[], limitMs: number): Promise<Counts> {
  const { code, output } = await runTool('hardhat/dist/src/cli.js', [...args, 'test', 'solidity'], limitMs)
  const plain = stripVTControlCharacters(output)
  const count = (word: string) => Number([...plain.matchAll(new RegExp(`^\\s*(\\d+) ${word}\\b`, 'gm'))].at(-1)?.[1] ?? 0)
  const failing = count('failing')
  const failed = failing === 0 && code !== 0 ? 1 : failing
  // Hardhat lists the failures after their number; without one, its last lines say why it ended.
  const [, list = plain.slice(-FAILURE_CHARS)] = plain.split(/^\s*\d+ failing\b/m)
  return { passed: count('passing'), failed, skipped: count('skipped'), failures: failed === 0 ? [] : [`Solidity: ${list}`] }
}

/** What failed, then one line, last of all, that scripts add up. */
export function finish(counts: readonly Counts[]): never {
  for (const failure of counts.flatMap(({ failures }) => failures).slice(0, FAILURES)) {
    const told = stripVTControlCharacters(failure).replaceAll(/^\s+at .*node_modules.*$/gm, '')
    console.log(`FAILED: ${told.replaceAll(/\s+/g, ' ').slice(0, FAILURE_CHARS)}`)
  }
  const sum = (key: 'passed' | 'failed' | 'skipped') => counts.reduce((total, suite) => total + suite[key], 0)
  const [passed, failed, skipped] = [sum('passed'), sum('failed'), sum('skipped')]
  console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
  process.exit(failed === 0 ? 0 : 1)
}

/** Shows a tool's output and keeps its end. */
async function runTool(script: string, args: readonly string[], limitMs: number): Promise<{ code: number; output: string }> {
  const child = spawn(process.execPath, [join(root, 'node_modules', script), ...args], {
    cwd: root,
    env: { ...process.env, DO_NOT_TRACK: '1', HARDHAT_DISABLE_TELEMETRY_PROMPT: 'true' },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: limitMs,
    killSignal: 'SIGKILL',
  })
  let output = ''
  const keep = (chunk: Buffer) => {
    output = (output + chunk.toString()).slice(-200_000)
  }
  child.stdout.on('data', keep).pipe(process.stdout, { end: false })
  child.stderr.on('data', keep).pipe(process.stderr, { end: false })
  const code = await new Promise<number>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (status, signal) => {
      if (signal !== null) say(`${script} was ended by ${signal}: it took longer than ${Math.round(limitMs / 60_000)} minutes.`)
      resolve(status ?? 1)
    })
  })
  return { code, output }
}

function say(line: string): void {
  process.stderr.write(`${line}\n`)
}
