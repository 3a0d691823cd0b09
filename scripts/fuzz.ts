import { parseArgs } from 'node:util'
import { lineOf, runCampaign } from './local/campaign.ts'
import { findForge } from './local/forge.ts'

/** `npm run fuzz`: the invariants of the whole system with at least 10M successful calls; `-- --calls 100000` for fewer. */
const HOURS_MS = 12 * 3_600_000
const { values } = parseArgs({ options: { calls: { type: 'string', default: '10000000' } } })
const calls = Number(values.calls)

if (!Number.isSafeInteger(calls) || calls < 1) {
  console.error('--calls takes a whole number of calls.')
  process.exit(2)
}
if (findForge() === null) {
  console.error('forge comes from npm for Linux on x64 only; elsewhere `npm run test:long` fuzzes with Hardhat.')
  process.exit(1)
}
const campaign = await runCampaign({ calls, limitMs: HOURS_MS })
const short = campaign.total < calls
console.log(`${lineOf(campaign)}${short ? `, fewer than the ${calls} asked for` : ''}`)
process.exit(campaign.counts.failed > 0 || short ? 1 : 0)
