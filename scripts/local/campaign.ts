import { randomBytes } from 'node:crypto'
import { type Campaign, readCampaign, runForge } from './forge.ts'

/**
 * What one run of every campaign of test/system makes: depth times invariants of each suite, as their files have it. Probes do not count,
 * so a round takes a tenth more.
 */
const CALLS_PER_RUN = 19 * 200 + 7 * 3000 + 7 * 500 + 2 * 1000 + 3 * 1000
const MARGIN = 1.1
/** After each round there is something to see, and a failure is repeated by its round alone. */
const ROUND = 1_000_000

export interface Wanted {
  calls: number
  limitMs: number
  /** 64 bits; each round adds one. */
  seed?: bigint
}

/** Runs the invariants of test/system with at least `calls` successful calls in all, and prints what every act did. */
export async function runCampaign({ calls, limitMs, seed = randomSeed() }: Wanted): Promise<Campaign> {
  const endsAt = Date.now() + limitMs
  let sum: Campaign = { counts: { passed: 0, failed: 0, skipped: 0, failures: [] }, calls: new Map(), total: 0 }
  for (let round = 0n; sum.total < calls && sum.counts.failed === 0 && Date.now() < endsAt; ++round) {
    const wanted = Math.min(ROUND, calls - sum.total)
    const command = `npm run fuzz -- --seed ${seed + round} --calls ${wanted}`
    const campaign = await runRound({ calls: wanted, seed: seed + round, limitMs: endsAt - Date.now() })
    sum = add(sum, campaign)
    if (campaign.counts.failed > 0) console.error(`Again: ${command}`)
    else console.log(`${sum.total} of ${calls} calls; this round again: ${command}`)
  }
  for (const [act, count] of [...sum.calls].sort(([a], [b]) => a.localeCompare(b))) {
    console.log(`${act.padEnd(28)} ${String(count).padStart(10)}${isProbe(act) ? ' (not counted)' : ''}`)
  }
  return sum
}

async function runRound({ calls, seed, limitMs }: Required<Wanted>): Promise<Campaign> {
  const runs = Math.max(1, Math.ceil((calls * MARGIN) / CALLS_PER_RUN))
  const outcome = await runForge({
    args: ['test', '--match-path', 'test/system/*.t.sol', '--fuzz-seed', `0x${seed.toString(16)}`],
    env: { FOUNDRY_INVARIANT_RUNS: String(runs) },
    limitMs,
  })
  return readCampaign(outcome)
}

/** Tests are the same in every round: they passed when they passed in all. */
function add(sum: Campaign, round: Campaign): Campaign {
  const calls = new Map(sum.calls)
  for (const [act, count] of round.calls) calls.set(act, (calls.get(act) ?? 0) + count)
  const total = [...calls].reduce((all, [act, count]) => all + (isProbe(act) ? 0 : count), 0)
  return { counts: round.counts, calls, total }
}

/** A probe goes back to the state that it found, or only repeats. */
function isProbe(act: string): boolean {
  return act.startsWith('probe')
}

function randomSeed(): bigint {
  return BigInt(randomBytes(6).readUIntBE(0, 6))
}

/** One line that says how much was tried. */
export function lineOf({ counts, calls, total }: Campaign): string {
  const attacks = [...calls].reduce((all, [act, count]) => all + (act.startsWith('attack') ? count : 0), 0)
  const acts = [...calls.keys()].filter((act) => !isProbe(act)).length
  return `${total} successful calls of ${acts} acts, ${attacks} of them refused attacks, ${counts.passed} invariants passed, ${counts.failed} failed`
}
