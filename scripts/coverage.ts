import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { percentOf, readCoverage, sumOf, tableOf } from './coverage/lcov.ts'
import { findForge, runForge } from './local/forge.ts'

/** `npm run coverage`: which lines and branches of contracts/ the Solidity tests run; fails below the bar. */
const BAR_PERCENT = 95
const LIMIT_MS = 30 * 60_000

if (findForge() === null) {
  console.error('forge comes from npm for Linux on x64 only, and only forge counts branches.')
  process.exit(1)
}
const files = readCoverage(await measure())
const sum = sumOf(files)
for (const line of tableOf(files)) console.log(line)
if (sum.lines.found === 0) {
  console.error('forge measured nothing.')
  process.exit(1)
}
const [lines, branches] = [percentOf(sum.lines), percentOf(sum.branches)]
console.log(
  `${lines.toFixed(1)} % of ${sum.lines.found} lines, ${branches.toFixed(1)} % of ${sum.branches.found} branches; the bar is ${BAR_PERCENT} %`,
)
process.exit(Math.min(lines, branches) < BAR_PERCENT ? 1 : 0)

/** Its folders are its own: instrumented code must not be taken for anything that `npm run fuzz` compiled. */
async function measure(): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'granary-coverage-'))
  const report = join(folder, 'lcov.info')
  try {
    const { code, output } = await runForge({
      args: [
        'coverage',
        '--report',
        'lcov',
        '--report-file',
        report,
        '--no-match-coverage',
        '^(node_modules|test|scripts)/',
        '--no-match-test',
        'CodeSize',
      ],
      env: {
        FOUNDRY_TEST: 'test/contracts',
        FOUNDRY_OUT: join(folder, 'out'),
        FOUNDRY_CACHE_PATH: join(folder, 'cache'),
        // What is run is seen the first time; more runs would show no more.
        ...{ FOUNDRY_FUZZ_RUNS: '32', FOUNDRY_INVARIANT_RUNS: '4', FOUNDRY_INVARIANT_DEPTH: '50' },
      },
      limitMs: LIMIT_MS,
    })
    if (code !== 0) {
      console.error(output.slice(-8000))
      console.error('The tests must pass before they can be measured.')
      process.exit(1)
    }
    return readFileSync(report, 'utf8')
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
