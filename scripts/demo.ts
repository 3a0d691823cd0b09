import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { openLog } from '../services/adapters/log.ts'
import { GranaryError } from '../services/core/errors.ts'
import { type LocalFacts, startCooperative } from './local/cooperative.ts'
import { deploymentPath } from './local/deployment.ts'
import { writeWhole } from './local/files.ts'
import { openKeys } from './local/keys.ts'
import { runStory, type StoryReport } from './story/story.ts'
import { startWorker } from './story/worker.ts'

/** `npm run demo`: the story on what `npm start` runs, or on a cooperative started for it; ends with the balance sheet. */
const dir = resolve(process.env.GRANARY_DIR ?? resolve(import.meta.dirname, '..', '.granary'))

process.exit(await main())

async function main(): Promise<number> {
  await using stack = new AsyncDisposableStack()
  try {
    const facts = (await runningFacts()) ?? stack.use(await startOwn()).facts
    const work = mkdtempSync(join(tmpdir(), 'granary-demo-'))
    stack.defer(() => rmSync(work, { recursive: true, force: true }))
    const keys = openKeys(join(dir, 'keys'))
    const { gatewayUrl, rpcUrl, chainId, contracts } = facts
    const report = await runStory({
      world: { gatewayUrl, rpcUrl, chainId: BigInt(chainId), contracts },
      memberKeys: ([1, 2, 3, 4, 5] as const).map((number) => keys[`member-${number}`].key),
      startWorker: (sessionPrivateKey) =>
        startWorker({ dir: work, sessionPrivateKey, gatewayUrl, rpcUrl, deployment: deploymentPath(dir) }),
      print: say,
    })
    writeWhole(join(dir, 'demo.json'), JSON.stringify(report, null, 2))
    printSheet(report)
    return report.holds ? 0 : 1
  } catch (error) {
    say(
      error instanceof GranaryError
        ? `\n${error.code}: ${error.message}\n${error.hint}`
        : `\n${error instanceof Error ? error.stack : error}`,
    )
    return 1
  }
}

/** What `npm start` says it runs, if its gateway answers. */
async function runningFacts(): Promise<LocalFacts | null> {
  const path = join(dir, 'local.json')
  if (!existsSync(path)) return null
  const facts = JSON.parse(readFileSync(path, 'utf8')) as LocalFacts
  const answers = await fetch(`${facts.gatewayUrl}/v1/health`, { signal: AbortSignal.timeout(3000) }).then(
    ({ ok }) => ok,
    () => false,
  )
  return answers ? facts : null
}

async function startOwn() {
  say('Nothing runs here yet: starting the cooperative for this demo.')
  const port = Number(process.env.PORT ?? 8080)
  return startCooperative({
    dir,
    port,
    log: openLog({ process: 'demo', level: process.env.LOG_LEVEL ?? 'error' }),
    onProgress: say,
  })
}

function printSheet({ balances, checks, holds }: StoryReport): void {
  say('\nBalance sheet, in base units of the test dollar (6 decimals)')
  for (const [name, { before, after }] of Object.entries(balances))
    say(`  ${name.padEnd(18)} ${before.padStart(14)} → ${after.padStart(14)}`)
  for (const { what, left, right, holds: ok } of checks)
    say(`  ${ok ? 'holds' : 'FAILS'}  ${what}: ${left}${ok ? '' : ` ≠ ${right}`}`)
  say(holds ? '\nEvery unit is accounted for. Details: .granary/demo.json' : '\nSomething is off: see .granary/demo.json')
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}
