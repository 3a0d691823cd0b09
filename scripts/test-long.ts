import { lineOf, runCampaign } from './local/campaign.ts'
import { findForge } from './local/forge.ts'
import { type Counts, finish, runSolidityTests, runVitest } from './local/suites.ts'

/** `npm run test:long`: test/long, the Solidity tests again with more runs and deeper sequences, and a million calls against test/system. */
const LIMIT_MS = 30 * 60_000
const CALLS = 1_000_000

finish([
  await runVitest(['test/long'], LIMIT_MS),
  await runSolidityTests(['--config', 'scripts/hardhat-long.config.ts'], LIMIT_MS),
  await runSystem(),
])

/** Fewer calls than wanted, without a failed invariant, are one failure more. */
async function runSystem(): Promise<Counts> {
  if (findForge() === null) {
    console.log(
      'forge comes from npm for Linux on x64 only: test/system is left out here, Hardhat ran the invariants of test/contracts.',
    )
    return { passed: 0, failed: 0, skipped: 1, failures: [] }
  }
  const campaign = await runCampaign({ calls: CALLS, limitMs: LIMIT_MS })
  console.log(lineOf(campaign))
  const { counts, total } = campaign
  if (counts.failed > 0 || total >= CALLS) return counts
  return { ...counts, failed: 1, failures: [`${total} calls, fewer than the ${CALLS} wanted`] }
}
