import { GranaryError } from '../../core/errors.ts'
import type { Chain } from '../../core/ports.ts'
import type { ExactOffer } from '../challenge.ts'
import type { GatewayConfig } from '../config.ts'
import type { Shop } from '../order.ts'
import { openDeliveries } from './deliveries.ts'
import type { ExactDesk } from './desk.ts'
import { type ExactRailDesk, openExactRail } from './exact-rail.ts'
import { openHouse } from './house.ts'
import { openRounds } from './rounds.ts'

/** Beyond the job itself: for two requests and the block that takes the payment. */
const SETTLE_SECONDS = 60
const SETTLE_TIMEOUT_MS = 30_000

/** The x402 rail `exact`, put together; null where this deployment has no router. */
export async function openX402(options: {
  config: Pick<GatewayConfig, 'x402' | 'collector' | 'masterKeys' | 'answerSeconds' | 'jobTimeoutMs'>
  chain: Chain
  shop: Shop
  token: string
  tokenDomain: { name: string; version: string }
}): Promise<({ offer: ExactOffer; desk: ExactRailDesk } & AsyncDisposable) | null> {
  const { config, chain, token, tokenDomain } = options
  const { key: signer, minPrice, minSweep, minRefund, pollMs } = config.x402
  const { ledger, log, escrow } = options.shop
  const house = await openHouse({
    chain,
    ledger,
    escrow,
    token,
    tokenDomain,
    collector: config.collector.address.toLowerCase(),
    signer,
    maxTimeoutSeconds: SETTLE_SECONDS + Math.ceil(config.jobTimeoutMs / 1000),
  })
  if (house === null) return null
  if (config.answerSeconds === 0)
    throw new GranaryError(
      'config.invalid',
      'A payment whose outcome comes late has its answer stored: with an x402 router, answers must be.',
    )
  const shop: Shop = { ...options.shop, owner: `x402:${options.shop.owner}` }
  const desk: ExactDesk = {
    shop,
    till: { chain, ledger, settleTimeoutMs: SETTLE_TIMEOUT_MS, log },
    house,
    deliveries: openDeliveries(config.masterKeys),
    minPrice,
    live: new Set(),
  }
  const rounds = openRounds({ desk, minSweep, minRefund, pollMs })
  return {
    offer: { rail: house.rail, minPrice },
    desk: openExactRail(desk),
    [Symbol.asyncDispose]: () => rounds[Symbol.asyncDispose](),
  }
}
