import type { Cooperative, Refusal } from '../model/cooperative.ts'
import type { Settled } from '../model/settlement.ts'
import { type ConsentAct, prepareConsent } from './acts-consent.ts'
import { type EscrowAct, prepareEscrow } from './acts-escrow.ts'
import { type ModelAct, prepareModel } from './acts-models.ts'
import { prepareRoyalty, type RoyaltyAct } from './acts-royalties.ts'
import { prepareSettle, type SettleAct } from './acts-settle.ts'
import type { Transaction } from './chain.ts'
import type { World } from './world.ts'

/** One act of somebody, whole: it means the same whatever went before, so that a history can be shortened. */
export type Act = { at: number; from: string } & (ConsentAct | ModelAct | EscrowAct | SettleAct | RoyaltyAct)

/** The same act on both sides. */
export interface Prepared {
  transaction: Omit<Transaction, 'from'>
  perform(cooperative: Cooperative): { refusals: Refusal[]; settled?: Settled }
}

export function prepare(world: World, act: Act): Prepared {
  switch (act.kind) {
    case 'settle':
      return prepareSettle(world, act)
    case 'register-model':
    case 'sync':
    case 'suspend':
      return prepareModel(world, act)
    case 'pull':
    case 'claim':
      return prepareRoyalty(world, act)
    case 'store-terms':
    case 'register-dataset':
    case 'narrow':
    case 'withdraw':
    case 'announce':
    case 'leave-pool':
    case 'prove-exit':
      return prepareConsent(world, act)
    default:
      return prepareEscrow(world, act)
  }
}
