import { type Campaign, readCampaign, runForge } from './forge.ts'

// One campaign for each invariant of System.t.sol; forge spreads them over the cores.
const CAMPAIGNS = 19
/** Acts that found no fitting state do not count towards it. */
const DEPTH = 250

/** Runs the system's invariants with at least about `calls` successful calls in all, and prints what every act did. */
export async function runCampaign({ calls, limitMs }: { calls: number; limitMs: number }): Promise<Campaign> {
  const runs = Math.max(1, Math.ceil(calls / (CAMPAIGNS * DEPTH)))
  const outcome = await runForge({
    args: ['test', '--match-path', 'test/system/System.t.sol'],
    env: { FOUNDRY_INVARIANT_RUNS: String(runs), FOUNDRY_INVARIANT_DEPTH: String(DEPTH) },
    limitMs,
  })
  const campaign = readCampaign(outcome)
  for (const [act, count] of [...campaign.calls].sort(([a], [b]) => a.localeCompare(b))) {
    console.log(`${act.padEnd(36)} ${String(count).padStart(10)}`)
  }
  return campaign
}

/** One line that says how much was tried. */
export function lineOf({ counts, calls, total }: Campaign): string {
  return `${total} successful calls of ${calls.size} acts, ${counts.passed} invariants passed, ${counts.failed} failed`
}
