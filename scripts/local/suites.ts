import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

export interface Counts {
  passed: number
  failed: number
  skipped: number
}

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
    return { passed: 0, failed: 1, skipped: 0 }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

interface VitestReport {
  numPassedTests: number
  numFailedTests: number
  numPendingTests: number
  numTodoTests: number
  testResults: { name: string; status: string; assertionResults: { status: string; fullName: string }[] }[]
}

function countVitest(report: VitestReport, code: number): Counts {
  const broken = report.testResults.filter(
    ({ status, assertionResults }) => status === 'failed' && assertionResults.every((test) => test.status !== 'failed'),
  ).length
  const failed = report.numFailedTests + broken
  for (const { assertionResults } of report.testResults) {
    for (const { status, fullName } of assertionResults) if (status === 'pending') say(`skipped: ${fullName}`)
  }
  // An error outside of any test (an unhandled rejection) fails the run without failing a test.
  return {
    passed: report.numPassedTests,
    failed: failed === 0 && code !== 0 ? 1 : failed,
    skipped: report.numPendingTests + report.numTodoTests,
  }
}

/** Runs the Solidity tests and counts by what Hardhat prints last. */
export async function runSolidityTests(args: readonly string[], limitMs: number): Promise<Counts> {
  const { code, output } = await runTool('hardhat/dist/src/cli.js', [...args, 'test', 'solidity'], limitMs)
  const plain = output.replaceAll(new RegExp(`${String.fromCharCode(27)}\\[[0-9;]*m`, 'g'), '')
  const count = (word: string) => Number([...plain.matchAll(new RegExp(`^\\s*(\\d+) ${word}\\b`, 'gm'))].at(-1)?.[1] ?? 0)
  const failed = count('failing')
  return { passed: count('passing'), failed: failed === 0 && code !== 0 ? 1 : failed, skipped: count('skipped') }
}

/** One line, last of all, that scripts add up. */
export function finish(counts: readonly Counts[]): never {
  const sum = (key: keyof Counts) => counts.reduce((total, suite) => total + suite[key], 0)
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
