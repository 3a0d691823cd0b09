import { parseArgs } from 'node:util'
import { GranaryError } from '../sdk/index.ts'
import { commands } from './commands.ts'
import { readConfig } from './config.ts'
import { type Command, type Invocation, type Outcome, writeJson } from './invocation.ts'

/** granary CHAPTER ACT …: parse, one SDK call, print (or --json). Errors are one line with code and hint, and exit code 1. */
const options = {
  gateway: { type: 'string' },
  rpc: { type: 'string' },
  'key-file': { type: 'string' },
  input: { type: 'string' },
  purpose: { type: 'string' },
  'max-price': { type: 'string' },
  cap: { type: 'string' },
  label: { type: 'string' },
  models: { type: 'string' },
  purposes: { type: 'string' },
  jurisdictions: { type: 'string' },
  'per-minute': { type: 'string' },
  parallel: { type: 'string' },
  'per-day': { type: 'string' },
  'per-month': { type: 'string' },
  grace: { type: 'string' },
  from: { type: 'string' },
  to: { type: 'string' },
  month: { type: 'string' },
  csv: { type: 'boolean' },
  html: { type: 'boolean' },
  remove: { type: 'string' },
  model: { type: 'string' },
  epochs: { type: 'string' },
  nullifier: { type: 'string' },
  terms: { type: 'string' },
  title: { type: 'string' },
  licence: { type: 'string' },
  description: { type: 'string' },
  recovery: { type: 'string' },
  lineage: { type: 'string' },
  'session-key': { type: 'string' },
  'encryption-key': { type: 'string' },
  name: { type: 'string' },
  stake: { type: 'string' },
  unit: { type: 'string' },
  price: { type: 'string' },
  call: { type: 'string' },
  args: { type: 'string' },
  export: { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean' },
} as const

process.exit(await main(process.argv.slice(2)))

async function main(argv: string[]): Promise<number> {
  try {
    const { values, positionals } = parseArgs({ args: argv, options, allowPositionals: true })
    const [chapter = '', act = ''] = positionals
    if (chapter === '' || values.help) return usage()
    const name = Object.hasOwn(commands, `${chapter} ${act}`) ? `${chapter} ${act}` : chapter
    const command = Object.hasOwn(commands, name) ? commands[name] : undefined
    if (!command) throw new GranaryError('request.malformed', `There is no command "${positionals.join(' ')}".`)
    const args = positionals.slice(name.split(' ').length)
    const { lines, value } = await runCommand(command, { args, flags: values, config: readConfig(values), signed: null })
    process.stdout.write(values.json ? `${JSON.stringify(value)}\n` : `${lines.join('\n')}\n`)
    return 0
  } catch (error) {
    return explain(error)
  }
}

/** With --export FILE, what was signed goes there, unsent. */
async function runCommand(command: Command, invocation: Invocation): Promise<Outcome> {
  const outcome = await command.run(invocation)
  const path = invocation.flags.export
  if (typeof path !== 'string') return outcome
  const file = invocation.signed?.()
  if (!file || file.acts.length === 0)
    throw new GranaryError('request.malformed', 'This command signs no act that others could send.')
  writeJson(path, file)
  return { lines: [`signed and not sent: granary relay ${path}`], value: file }
}

function usage(): number {
  const lines = Object.values(commands).map(({ usage: form, says }) => `  granary ${form}\n      ${says}`)
  process.stdout.write(
    `Use:\n${lines.join('\n')}\n\nAll take --gateway URL, --rpc URL and --json; with --export FILE, acts are signed and kept there, unsent.\n`,
  )
  return 0
}

function explain(error: unknown): number {
  const known = knownError(error) // the table's hint for bad requests speaks of HTTP bodies
  const hint = known.code === 'request.malformed' ? 'granary --help lists the commands and what they take.' : known.hint
  process.stderr.write(`${`${known.code}: ${known.message} ${hint}`.replaceAll(/\s+/g, ' ')}\n`)
  return 1
}

function knownError(error: unknown): GranaryError {
  if (error instanceof GranaryError) return error
  const { message, code } = error as { message?: string; code?: unknown }
  const wrong = String(code).startsWith('ERR_PARSE_ARGS') ? 'request.malformed' : 'internal'
  return new GranaryError(wrong, message ?? String(error), { cause: error })
}
