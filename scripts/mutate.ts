import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { GranaryError } from '../services/core/errors.ts'
import { ARGUED } from './mutate/argued.ts'
import { type Campaign, lineOf, runMutants, selectMutants } from './mutate/campaign.ts'
import { loadCorpus } from './mutate/corpus.ts'

/** `npm run mutate`: does a test notice when the contracts are wrong? CONTRIBUTING.md says how to read it. */
const SAMPLE = 150
const { values } = parseArgs({
  options: {
    all: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true, default: [] },
    sample: { type: 'string', default: String(SAMPLE) },
    quick: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
    workers: { type: 'string', default: String(Math.min(4, availableParallelism())) },
  },
})

try {
  const corpus = loadCorpus()
  const selection = selectMutants({
    mutants: corpus.mutants,
    argued: ARGUED,
    all: values.all,
    only: values.only,
    sample: countOf('--sample', values.sample),
  })
  if (values.list) {
    for (const { id, file, line, before, after } of selection.mutants)
      console.log(`${id}  ${file}:${line}  ${short(before)} → ${short(after)}`)
    process.exit(0)
  }
  const campaign = await runMutants({
    corpus,
    selection,
    workers: countOf('--workers', values.workers),
    quick: values.quick,
    tell: (line) => console.error(line),
  })
  report(campaign)
  process.exit(campaign.survived.length + campaign.refuted.length > 0 ? 1 : 0)
} catch (error) {
  if (!(error instanceof GranaryError)) throw error
  console.error(error.message)
  process.exit(1)
}

function report(campaign: Campaign): void {
  for (const { id, file, line, before, after } of campaign.survived) {
    console.log(`Survived: ${id}\n  ${file}:${line}\n  - ${short(before)}\n  + ${short(after)}`)
  }
  for (const { mutant, test } of campaign.refuted)
    console.log(`Argued in scripts/mutate/argued.ts, but killed by ${test}: ${mutant.id}`)
  console.log(lineOf(campaign))
}

function countOf(option: string, text: string): number {
  const count = Number(text)
  if (Number.isSafeInteger(count) && count >= 1) return count
  throw new GranaryError('internal', `${option} takes a whole number from 1 on, not ${text}.`)
}

function short(text: string): string {
  const line = text.replaceAll(/\s+/g, ' ').trim()
  return line.length > 160 ? `${line.slice(0, 157)}…` : line === '' ? '(nothing)' : line
}
