import type { Cooperative } from '../model/cooperative.ts'
import type { Act } from './acts.ts'
import { drawDataset, drawLeaving, drawNarrowing, drawProof, drawTable, drawTerms, drawWithdrawal } from './draw-consent.ts'
import { drawCredit, drawDeposit, drawGrant, drawRevocation, drawSetting, drawThaw, drawThawEnd } from './draw-escrow.ts'
import { drawModel, drawSuspension, drawSync } from './draw-models.ts'
import { drawClaim, drawClaimAgain, drawPull, drawReckoning } from './draw-royalties.ts'
import { drawBatch } from './draw-settle.ts'
import type { Random } from './random.ts'
import { type Drawn, nextEpochStart, nextTime, type Scene } from './scene.ts'
import type { World } from './world.ts'

type Draw = (scene: Scene) => Drawn | null

/** What it takes before anything else can happen, in order. */
const OPENING: readonly Draw[] = [
  drawTerms,
  drawDataset,
  drawTerms,
  drawDataset,
  drawTable,
  drawDeposit,
  drawGrant,
  drawModel,
  drawDeposit,
  drawModel,
]

const LIFE: readonly (readonly [Draw, number])[] = [
  [drawBatch, 34],
  [drawPull, 12],
  [drawClaim, 16],
  [drawClaimAgain, 3],
  [drawModel, 6],
  [drawSync, 6],
  [drawWithdrawal, 4],
  [drawNarrowing, 5],
  [drawTable, 5],
  [drawLeaving, 6],
  [drawProof, 10],
  [drawDataset, 2],
  [drawTerms, 1],
  [drawSuspension, 2],
  [drawDeposit, 4],
  [drawGrant, 5],
  [drawRevocation, 2],
  [drawThaw, 4],
  [drawThawEnd, 4],
  [drawSetting, 4],
  [drawCredit, 4],
]

/** Half of the histories are about one chapter more than about others, so that its acts meet each other. */
const THEMES: readonly (readonly Draw[])[] = [
  [],
  [],
  [],
  [drawLeaving, drawProof, drawTable, drawSync],
  [drawWithdrawal, drawNarrowing, drawSync, drawModel],
  [drawPull, drawClaim, drawClaimAgain, drawTable],
]
const THEME_FACTOR = 8

/** The place in the opening by which tables are announced. */
const AFTER_TABLES = 7
const MAX_RECKONING = 24
const TRIES = 30

/** Acts one after another, each drawn from what the model says the earlier ones led to. */
export interface Drawing {
  /** Null when it is over. */
  next(cooperative: Cooperative, past: readonly Act[]): Act | null
}

export function openingOf(world: World, random: Random): Drawing {
  let step = 0
  return {
    next(cooperative, past) {
      const last = cooperative.now
      for (; step < OPENING.length; step++) {
        // A pool's table is in force only from the next epoch on.
        const tabled = step === AFTER_TABLES && random.chance(0.7)
        cooperative.now = tabled ? nextEpochStart({ ...cooperative, now: last }) : last + random.between(1, 20)
        const drawn = OPENING[step]?.({ world, cooperative, random, past }) ?? null
        if (drawn === null) continue
        step++
        return { ...drawn, at: cooperative.now }
      }
      cooperative.now = last
      return null
    },
  }
}

export function lifeOf(world: World, random: Random): Drawing {
  const length = random.between(8, 16)
  const reckoning = random.chance(0.45) ? MAX_RECKONING : 0
  const theme = random.pick(THEMES)
  const weights = LIFE.map(([draw, weight]) => [draw, theme.includes(draw) ? weight * THEME_FACTOR : weight] as const)
  let lived = 0
  let reckoned = 0
  const draw = (scene: Scene): Drawn | null => {
    for (let tries = 0; tries < TRIES; tries++) {
      const drawn = random.weighted(weights)(scene)
      if (drawn !== null) return drawn
    }
    return null
  }
  return {
    next(cooperative, past) {
      const scene: Scene = { world, cooperative, random, past }
      const last = cooperative.now
      const living = lived++ < length
      if (living) cooperative.now = nextTime(scene)
      else cooperative.now = reckoned === 0 ? nextEpochStart(cooperative) : last + 1
      const drawn = living ? draw(scene) : reckoned++ < reckoning ? drawReckoning(scene) : null
      if (drawn !== null) return { ...drawn, at: cooperative.now }
      // Nothing happens any more, so no block comes.
      cooperative.now = last
      return null
    },
  }
}
