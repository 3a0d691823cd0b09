import { parseArgs } from 'node:util'
import { lineOf, runCampaign } from './local/campaign.ts'
import { findForge } from './local/forge.ts'

/** `npm run fuzz`: the invariants of test/system with at least 10M successful calls; `-- --calls 100000` for fewer, `--seed` for those of before. */
const HOURS_MS = 12 * 3_600_000
const { values } = parseArgs({ options: { calls: { type: 'string', default: '10000000' }, seed: { type: 'string' } } })
const calls = Number(values.calls)

if (!Number.isSafeInteger(calls) || calls < 1 || !/^\d{1,18}$/.test(values.seed ?? '0')) {
  console.error('--calls takes a whole number of calls, --seed a decimal number of at most 18 digits.')
  process.exit(2)
}
if (findForge() === null) {
  console.error('forge comes from npm for Linux on x64 only; elsewhere `npm run test:long` fuzzes with Hardhat.')
  process.exit(1)
}
const campaign = await runCampaign({
  calls,
  limitMs: HOURS_MS,
  ...(values.seed === undefined ? {} : { seed: BigInt(values.seed) }),
})
const short = campaign.total < calls
console.log(`${lineOf(campaign)}${short ? `, fewer than the ${calls} asked for` : ''}`)
process.exit(campaign.counts.failed > 0 || short ? 1 : 0)
