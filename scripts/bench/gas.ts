import { readFileSync, writeFileSync } from 'node:fs'
import { arch, cpus, platform, totalmem } from 'node:os'
import { resolve } from 'node:path'
import { measureDatasets, measurePool } from './gas/belonging.ts'
import { type Figure, openFigures } from './gas/figures.ts'
import { measureReferences, measureSettling } from './gas/settling.ts'
import { measureVotes } from './gas/voting.ts'
import { openGasWorld } from './gas/world.ts'

/**
 * `npm run bench:gas`: what each act costs, beside its bar, as one JSON document. Deterministic: the same contracts give the
 * same figures on every machine, so docs/gas-snapshot.json holds them; `npm run bench:gas -- --write` renews it.
 */
export const snapshotFile = resolve(import.meta.dirname, '../../docs/gas-snapshot.json')

const METHOD =
  "Whole transactions (intrinsic gas and calldata included) on Hardhat's in-process chain with its newest rules, against the deployed bytecode: " +
  'TestDollar (OpenZeppelin ERC-20 with EIP-3009) and the contracts as Ignition deploys them. Accounts, balances and credits are above zero ' +
  'beforehand. Batches: 100 accounts with a random salt and usage head each, one part for each row, rows spread over 4 lanes; all gas of the ' +
  "transaction divided by its rows. A pool's path has 20 siblings, as among 1,048,576 contributors; its other table has the same root. " +
  'Votes: 20 members, quorum 4.'

export async function benchGas(onProgress: (line: string) => void = () => undefined): Promise<Figure[]> {
  const { figures, measure } = openFigures()
  const world = await openGasWorld()
  try {
    onProgress('References')
    const references = await measureReferences(world, measure)
    onProgress('Datasets')
    await measureDatasets(world, measure)
    onProgress('Deposits and settlement')
    await measureSettling(world, references, measure)
    onProgress('Votes')
    await measureVotes(world, measure)
    onProgress('A pool')
    await measurePool(world, measure)
    return figures
  } finally {
    await world.close()
  }
}

/** The document as the design's §10 has it. */
export function documentOf(figures: Figure[]) {
  const machine = `${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}, ${Math.round(totalmem() / 2 ** 30)} GiB, ${platform()} ${arch()}, Node ${process.versions.node}`
  return { bench: 'gas', machine, method: METHOD, figures }
}

/** What the committed snapshot says: key → gas. */
export function readSnapshot(): Record<string, number> {
  return JSON.parse(readFileSync(snapshotFile, 'utf8')) as Record<string, number>
}

export function snapshotOf(figures: readonly Figure[]): Record<string, number> {
  return Object.fromEntries(figures.map(({ key, value }) => [key, value]))
}

if (import.meta.main) {
  const figures = await benchGas((line) => process.stderr.write(`${line} …\n`))
  if (process.argv.includes('--write')) writeFileSync(snapshotFile, `${JSON.stringify(snapshotOf(figures), null, 2)}\n`)
  for (const { key, value, bar, holds } of figures) {
    if (holds === false) process.stderr.write(`${key} is ${value}, above its bar of ${bar}\n`)
  }
  process.stdout.write(`${JSON.stringify(documentOf(figures), null, 2)}\n`)
}
