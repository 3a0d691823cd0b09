import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { constants } from 'node:os'
import { delimiter, dirname, join, resolve } from 'node:path'
import type { Counts } from './suites.ts'

const root = resolve(import.meta.dirname, '..', '..')

/** forge's own binary from npm; null where there is none for this machine. */
export function findForge(): string | null {
  try {
    const folder = dirname(createRequire(import.meta.url).resolve('@foundry-rs/forge-linux-amd64/package.json'))
    const binary = join(folder, 'bin', 'forge')
    return existsSync(binary) ? binary : null
  } catch {
    return null
  }
}

export interface Outcome {
  code: number
  output: string
}

/** Ends at the limit. Only stdout is kept: forge's JSON goes there, all else to our stderr. */
export async function runForge(options: {
  args: readonly string[]
  env?: Record<string, string>
  limitMs: number
}): Promise<Outcome> {
  const binary = findForge()
  if (binary === null) return { code: 1, output: '' }
  const child = spawn(binary, options.args, {
    cwd: root,
    // The compiler script must run with this Node.
    env: {
      ...process.env,
      ...options.env,
      PATH: `${dirname(process.execPath)}${delimiter}${process.env.PATH ?? ''}`,
      NO_COLOR: '1',
    },
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: options.limitMs,
    killSignal: 'SIGKILL',
  })
  const release = endWith(child)
  const chunks: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk))
  const code = await new Promise<number>((settle, reject) => {
    child.once('error', reject)
    child.once('close', (status) => settle(status ?? 1))
  }).finally(release)
  return { code, output: Buffer.concat(chunks).toString('utf8') }
}

/** A campaign of hours must not outlive the process that asked for it. */
function endWith(child: ChildProcess): () => void {
  const stop = (signal: NodeJS.Signals) => {
    child.kill('SIGKILL')
    process.exit(128 + constants.signals[signal])
  }
  process.once('SIGTERM', stop).once('SIGINT', stop)
  return () => {
    process.off('SIGTERM', stop).off('SIGINT', stop)
  }
}

export interface Campaign {
  counts: Counts
  /** Successful calls by handler function, all suites together: neither reverted nor given up for want of a fitting state. */
  calls: ReadonlyMap<string, number>
  total: number
}

/** Of the calls that lead to a failure, the last. */
const FAILURE_LINES = 80

/**
 * Reads what `forge test` prints: who passed, and how often each function of each handler did its work. Its JSON holds traces of
 * every call, which makes a campaign many times slower.
 */
export function readCampaign({ code, output }: Outcome): Campaign {
  // At its end forge lists the failures a second time.
  const [once = ''] = output.split(/^Failing tests:$/m)
  const failures = once.split(/^(?=\[(?:FAIL|PASS))/m).filter((block) => block.startsWith('[FAIL'))
  const told: string[] = []
  for (const block of failures) {
    const [reason = '', ...rest] = block.split('\n')
    const sequence = rest.filter((line) => line.includes('calldata=')).map((line) => line.replace(/^.*calldata=/, '  '))
    const name = rest.find((line) => line.includes('invariant_'))?.trim() ?? ''
    told.push(`${reason} ${name}`)
    console.error([`${reason} ${name}`, ...sequence.slice(-FAILURE_LINES)].join('\n'))
  }
  const calls = new Map<string, number>()
  for (const [, act = '', called, reverted, discarded] of output.matchAll(
    /^\| \w+\s+\| (\w+)\s+\| (\d+)\s+\| (\d+)\s+\| (\d+)\s+\|$/gm,
  )) {
    calls.set(act, (calls.get(act) ?? 0) + Number(called) - Number(reverted) - Number(discarded))
  }
  const passed = [...output.matchAll(/^\[PASS\]/gm)].length
  if (told.length === 0 && (code !== 0 || passed === 0))
    told.push(`forge ended with exit code ${code} after ${passed} invariants`)
  return {
    counts: { passed, failed: told.length, skipped: 0, failures: told },
    calls,
    total: [...calls.values()].reduce((sum, n) => sum + n, 0),
  }
}
