import { expect } from 'vitest'
import { type Person, until, type World } from '../../../scripts/story/world.ts'
import type { AccountConfig } from '../../../services/core/selling-ledger.ts'
import type { Meter } from '../../../services/sdk/meter.ts'

/** Somebody with money in an escrow account, and all there is to know of that money. */
export interface Purse {
  person: Person
  config: AccountConfig
  accountId: string
  meter: Meter
  money(): Promise<Money>
}

export interface Money {
  charged: bigint
  reserved: bigint
  lines: number
  deposit: bigint
}

export const DOLLAR = 1_000_000n

/** A fresh account with `amount` base units that the gateway knows of. */
export async function openPurse(world: World, amount: bigint): Promise<Purse> {
  const person = await world.person('developer')
  const config = await person.granary.account.config()
  const meter = await person.granary.account.meter({ maxPerRequest: DOLLAR })
  if (amount > 0n) {
    await world.giveDollars(person, amount)
    await person.granary.account.deposit(amount)
    await until('the deposit to count', async () => (await depositOf(meter)) === amount, 30_000)
  }
  const { accountId } = meter
  return { person, config, accountId, meter, money: () => moneyOf(world, { meter, accountId }) }
}

async function depositOf(meter: Meter): Promise<bigint> {
  const standing = (await meter.standing()) as Record<string, string> | null
  return BigInt(standing?.deposit ?? 0)
}

/** By the gateway's word and, where it is the authority, the chain's; the two must fit. */
async function moneyOf(world: World, { meter, accountId }: { meter: Meter; accountId: string }): Promise<Money> {
  const [standing, lines, onChain] = await Promise.all([
    meter.standing() as Promise<Record<string, string> | null>,
    meter.statement(500),
    world.read<{ deposit: bigint; charged: bigint }>('InferenceEscrow', 'balance', accountId),
  ])
  const money = {
    charged: BigInt(standing?.accountCharged ?? 0),
    reserved: BigInt(standing?.accountReserved ?? 0),
    lines: lines.length,
    deposit: onChain.deposit,
  }
  expect(money.charged).toBe(lines.reduce((sum, { charged }) => sum + BigInt(charged ?? 0), 0n))
  expect(onChain.charged).toBeLessThanOrEqual(money.charged)
  return money
}

/** Nothing charged since, nothing left reserved. */
export async function expectUntouched(purse: Purse, before: Money): Promise<void> {
  expect(await purse.money()).toEqual({ ...before, reserved: 0n })
}

/** One inference more at this price, and nothing left reserved. */
export async function expectCharged(purse: Purse, before: Money, amount: bigint, lines = 1): Promise<void> {
  const { charged, deposit } = before
  expect(await purse.money()).toEqual({ charged: charged + amount, reserved: 0n, lines: before.lines + lines, deposit })
}
