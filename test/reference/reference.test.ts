import hre from 'hardhat'
import { describe, expect, it } from 'vitest'
import { runCampaign } from './differential/campaign.ts'
import { differences } from './differential/comparison.ts'
import { ACTS, missing, SKIPS } from './differential/expectations.ts'
import { randomOf } from './differential/random.ts'
import { openWorld } from './differential/world.ts'
import type { Cooperative } from './model/cooperative.ts'
import { rational } from './model/rational.ts'

const LIMIT_MS = 240_000
const HISTORIES = 100

/** The thorough run is test/long/reference.test.ts. */
describe('the reference model', () => {
  it(
    'agrees with the contracts on a hundred random histories',
    async () => {
      const { counts, failures } = await runCampaign({ seed: 'granary', histories: HISTORIES, limitMs: LIMIT_MS })
      expect(failures.join('\n\n')).toBe('')
      expect(counts.get('history')).toBe(HISTORIES)
      expect(missing(counts, { least: 1, of: [...ACTS, ...SKIPS] })).toEqual([])
    },
    LIMIT_MS + 120_000,
  )

  it(
    'is held against the contracts to the unit, the second and the fraction',
    async () => {
      await hre.tasks.getTask('build').run({ quiet: true })
      const world = await openWorld()
      const wrongAfter = async (change: (cooperative: Cooperative) => void) => {
        const cooperative = world.open()
        change(cooperative)
        return (await differences(world, cooperative, randomOf('looks'))).wrong.join('\n')
      }
      const { escrow } = world.open().rules
      expect(await wrongAfter(() => {})).toBe('')
      expect(await wrongAfter(({ tokens }) => tokens.set(escrow, 1n))).toBe(
        `Token.balanceOf(${escrow}) is [0], the model says [1]`,
      )
      expect(await wrongAfter((cooperative) => (cooperative.now += cooperative.rules.epochSeconds))).toMatch(
        /^RoyaltyLedger.currentEpoch/,
      )
      const earned = { exact: rational(1n, 2n), units: 0n, roundings: 0n }
      expect(await wrongAfter(({ exact }) => exact.credits.set('ann', earned))).toMatch(/^ann earned 0, exactly 1\/2/)
      await world.chain.close()
    },
    LIMIT_MS,
  )
})
