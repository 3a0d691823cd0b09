import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { devChainMissing } from '../adapters/support/dev-chain.ts'
import { advances } from './groups/x402-advance.ts'
import { clients } from './groups/x402-clients.ts'
import { forgeries } from './groups/x402-forgeries.ts'
import { names } from './groups/x402-names.ts'
import { paywall } from './groups/x402-paywall.ts'
import { races } from './groups/x402-races.ts'
import { reorgs } from './groups/x402-reorgs.ts'
import { silence } from './groups/x402-silence.ts'
import { openX402Market, type X402Market } from './support/x402-market.ts'

vi.setConfig({ testTimeout: 60_000 })

const missing = devChainMissing()

/** The x402 rail `exact`: who pays gets one answer, who does not gets none, and every unit is where it belongs. */
describe.skipIf(missing !== null)(`paying by x402${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let market: X402Market
  beforeAll(async () => {
    market = await openX402Market()
  }, 180_000)
  afterEach(() => {
    market.workshop.meanwhile = null
    market.workshop.fails = false
    market.workshop.busy = null
  })
  afterAll(async () => {
    await market?.[Symbol.asyncDispose]()
  })

  for (const group of [clients, forgeries, paywall, races, names, silence, advances, reorgs]) group(() => market)

  it('has paid out of the house account what providers, authors and contributors got, to the unit', async () => {
    await market.untilSettled()
    const { chain, market: world } = market
    const owed = await chain.read({ contract: 'InferenceEscrow', method: 'owed', args: [] })
    const held = await market.balanceOf(chain.addresses.InferenceEscrow ?? '')
    expect(held).toBe(owed)
    const { deposit, charged } = await market.house()
    const credit = async (account: string | null) =>
      (await chain.read({ contract: 'InferenceEscrow', method: 'credit', args: [account] })) as bigint
    const treasury = world.node.wallets[0]?.address ?? ''
    const credits = await Promise.all([world.provider.sender, world.payer.sender, world.config.collector, treasury].map(credit))
    const sum = credits.reduce((total, amount) => total + amount, 0n)
    const royalties = BigInt(String(owed)) - sum - (deposit - charged)
    expect(charged).toBeGreaterThan(0n)
    expect(royalties).toBeGreaterThan(0n)
    expect(sum + royalties).toBe(charged)
    const swept = await chain.read({ contract: 'X402Router', method: 'swept', args: [] })
    expect(deposit).toBe(swept)
    const house = String(await chain.read({ contract: 'X402Router', method: 'ACCOUNT_ID', args: [] }))
    expect(await market.ledger.standing(house, world.config.collector)).toMatchObject({ accountCharged: charged, reserved: 0n })
  })
})
