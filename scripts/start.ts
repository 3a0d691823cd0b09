import { relative, resolve } from 'node:path'
import { openLog } from '../services/adapters/log.ts'
import { integer, optionalText, text } from '../services/adapters/settings.ts'
import { GranaryError } from '../services/core/errors.ts'
import { type Cooperative, factsPath, startCooperative } from './local/cooperative.ts'

/** `npm start`: the whole cooperative on this machine, until Ctrl-C. PORT, DATABASE_URL, IPFS_RPC_URL and GRANARY_DIR are optional. */
const say = (line: string) => process.stderr.write(`${line}\n`)
const STOPPED = new Error('asked to stop')
const stopping = new AbortController()
let asked = 0
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    asked++
    // The children see that their parent is gone and end by themselves.
    if (asked > 2) process.exit(1)
    if (asked > 1) say('Still stopping; once more leaves at once.')
    stopping.abort(STOPPED)
  })
}

process.exit(await main())

async function main(): Promise<number> {
  try {
    const log = openLog({ process: 'start', level: process.env.LOG_LEVEL ?? 'error' })
    const settings = readSettings()
    const cooperative = await startCooperative({ ...settings, log, onProgress: say, signal: stopping.signal })
    process.stdout.write(screen(cooperative, relative('', factsPath(settings.dir))))
    return await runUntilStopped(cooperative)
  } catch (error) {
    return explain(error)
  }
}

async function runUntilStopped(cooperative: Cooperative): Promise<number> {
  const { signal } = stopping
  const stop = new Promise<never>((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason)
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
  try {
    return await Promise.race([stop, cooperative.failed])
  } finally {
    say('')
    await cooperative.stop()
    say('Stopped. Starting again goes on with the same state.')
  }
}

function readSettings() {
  const dir = resolve(text(process.env, 'GRANARY_DIR', resolve(import.meta.dirname, '..', '.granary')))
  const port = integer(process.env, 'PORT', { fallback: 8080, least: 1, most: 65_535 })
  return {
    dir,
    port,
    databaseUrl: optionalText(process.env, 'DATABASE_URL'),
    ipfsRpcUrl: optionalText(process.env, 'IPFS_RPC_URL'),
  }
}

function screen({ facts, notes }: Cooperative, localFile: string): string {
  const lines = [
    '',
    ...notes.map((note) => `Note: ${note}`),
    'Granary is running.',
    '',
    `  Gateway   ${facts.gatewayUrl}`,
    `  Chain     ${facts.rpcUrl} (chain id ${facts.chainId}, one block a second)`,
    '',
  ]
  if (facts.tryIt) lines.push('A paid inference:', '', `  ${facts.tryIt}`, '')
  if (facts.unpaidTry) lines.push('The same without payment, answered 402:', '', `  ${facts.unpaidTry}`, '')
  lines.push(`All of this is in ${localFile}. The story in seven chapters: npm run demo. Stop with Ctrl-C.`, '')
  return `${lines.join('\n')}\n`
}

function explain(error: unknown): number {
  if (error === STOPPED) return 0
  if (error instanceof GranaryError) say(`${error.code}: ${error.message}\n${error.hint}`)
  else say(`Granary could not start: ${error instanceof Error ? (error.stack ?? error.message) : error}`)
  return 1
}
