import { expect, it } from 'vitest'
import { torture } from '../../scripts/torture/torture.ts'
import { devChainMissing } from '../adapters/support/dev-chain.ts'

const ROUNDS = 50
const missing = devChainMissing()

/** The same as `npm run torture`, which strikes 1,000 times. */
it.skipIf(missing !== null)(
  `every request ends once, and ledger and chain agree, after ${ROUNDS} kills, reorganisations and failures of the node under load${missing ? ` (skipped: ${missing})` : ''}`,
  async () => {
    const seed = Date.now() % 2 ** 31
    const report = await torture({ rounds: ROUNDS, seed, onProgress: (line) => console.log(line) })
    console.log(JSON.stringify({ seed, ...report }))
    expect(report.findings, `npm run torture -- --rounds ${ROUNDS} --seed ${seed}`).toEqual([])
    expect(report.final).toBeGreaterThanOrEqual(ROUNDS)
    expect(Object.keys(report.faults).length).toBeGreaterThanOrEqual(8)
  },
  28 * 60_000,
)
