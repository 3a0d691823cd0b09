import { describe, expect, it } from 'vitest'
import { runMutants } from '../../scripts/mutate/campaign.ts'
import { loadCorpus } from '../../scripts/mutate/corpus.ts'

/** Of two contracts that few tests reach; `npm run mutate` tries them all. */
const CHOSEN = [
  'CooperativeGovernor._quorumReached/by-hand/a-later-rule-decides-proposals-before-it',
  'CooperativeGovernor.classOf/by-hand/the-lowest-class-of-the-calls-decides',
  'Membership.finishRotation/by-hand/a-rotation-makes-a-second-vote',
]

describe('npm run mutate', () => {
  it('finds every hand-written mistake in the contracts as they are, and tests that notice some', {
    timeout: 600_000,
  }, async () => {
    const corpus = loadCorpus()
    const invariants = new Set(corpus.mutants.map(({ invariant }) => invariant).filter((name) => name !== undefined))
    expect([...invariants].sort((a, b) => Number(a.slice(1)) - Number(b.slice(1)))).toEqual(
      Array.from({ length: 19 }, (_, index) => `I${index + 1}`),
    )
    const mutants = corpus.mutants.filter(({ id }) => CHOSEN.includes(id))
    const campaign = await runMutants({
      corpus,
      selection: { mutants, argued: {} },
      workers: 2,
      quick: true,
      tell: () => undefined,
    })
    expect(campaign.survived).toEqual([])
    expect(campaign.killed).toBe(CHOSEN.length)
  })
})
