import { parseArgs } from 'node:util'
import { GranaryError } from '../sdk/index.ts'
import { commands } from './commands.ts'
import { readConfig } from './config.ts'

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
  remove: { type: 'string' },
  model: { type: 'string' },
  epochs: { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean' },
} as const

process.exit(await main(process.argv.slice(2)))

async function main(argv: string[]): Promise<number> {
  try {
    const { values, positionals } = parseArgs({ args: argv, options, allowPositionals: true })
    const [chapter = '', act = ''] = positionals
    const name = commands[`${chapter} ${act}`] ? `${chapter} ${act}` : chapter
    const command = commands[name]
    if (!command || values.help) return usage(chapter !== '' && !values.help ? `There is no "${positionals.join(' ')}".` : null)
    const args = positionals.slice(name.split(' ').length)
    const { lines, value } = await command.run({ args, flags: values, config: readConfig(values) })
    process.stdout.write(values.json ? `${JSON.stringify(value)}\n` : `${lines.join('\n')}\n`)
    return 0
  } catch (error) {
    return explain(error)
  }
}

function usage(wrong: string | null): number {
  const lines = Object.values(commands).map(({ usage: form, says }) => `  granary ${form}\n      ${says}`)
  process.stderr.write(
    `${wrong ? `${wrong}\n\n` : ''}Use:\n${lines.join('\n')}\n\nAll take --gateway URL, --rpc URL and --json.\n`,
  )
  return wrong ? 1 : 0
}

function explain(error: unknown): number {
  if (error instanceof GranaryError) process.stderr.write(`${error.code}: ${error.message} ${error.hint}\n`)
  else if (error instanceof TypeError && 'code' in error) process.stderr.write(`request.malformed: ${error.message}\n`)
  else process.stderr.write(`internal: ${error instanceof Error ? error.message : error}\n`)
  return 1
}
