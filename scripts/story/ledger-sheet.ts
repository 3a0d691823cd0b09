import { partOfIncome } from '../../services/core/royalties.ts'
import type { RegisteredModel } from './chapters.ts'
import { DEPOSIT, type Purchases, STAKE, type Telling } from './telling.ts'
import type { World } from './world.ts'

/** One lane of a batch, as the chain settled it. */
export interface SettledLane {
  transaction: string
  modelId: string
  provider: string
  gross: bigint
  protocolFee: bigint
  collectorFee: bigint
  royalties: bigint
}

export async function settledLanes(world: World, fromBlock: number): Promise<SettledLane[]> {
  const events = await world.events('InferenceEscrow', 'LaneSettled', fromBlock)
  return events.map((event) => ({
    transaction: String(event.transaction),
    modelId: String(event.modelId),
    provider: String(event.provider).toLowerCase(),
    gross: BigInt(String(event.gross)),
    protocolFee: BigInt(String(event.protocolFee)),
    collectorFee: BigInt(String(event.collectorFee)),
    royalties: BigInt(String(event.royalties)),
  }))
}

/** A line of the balance sheet: both sides must be the same to the unit. */
export interface Check {
  what: string
  left: bigint
  right: bigint
  holds: boolean
}

export type Balances = Record<string, { address: string; amount: bigint }>

export async function balancesOf({ world, cast }: Pick<Telling, 'world' | 'cast'>): Promise<Balances> {
  const { InferenceEscrow, ProviderRegistry } = world.options.contracts
  const { ada, ben, author, operator, developer, members } = cast
  const involved = [ada, ben, author, operator, developer, ...members].map(({ name, address }) => ({ name, address }))
  involved.push(
    { name: 'Collector', address: developer.granary.context.facts.collector },
    { name: 'Treasury', address: (await world.read<string>('CooperativeParameters', 'treasury')).toLowerCase() },
    { name: 'InferenceEscrow', address: InferenceEscrow ?? '' },
    { name: 'ProviderRegistry', address: ProviderRegistry ?? '' },
  )
  const held = await Promise.all(
    involved.map(async ({ name, address }) => [name, { address, amount: await world.balanceOf(address) }] as const),
  )
  return Object.fromEntries(held)
}

export interface SheetInput {
  spam: RegisteredModel
  purchases: Purchases
  before: Balances
  claimed: bigint
}

/**
 * Every unit that came in, from both ends: what people hold, and what the chain says it owes to whom. The story's provider is
 * new, so its lanes are the story's; requests of the older models may also have gone to another provider.
 */
export async function balanceSheet(
  { world, cast, fromBlock }: Telling,
  { spam, purchases, before, claimed }: SheetInput,
): Promise<Check[]> {
  const after = await balancesOf({ world, cast })
  const moved = (name: string) => (after[name]?.amount ?? 0n) - (before[name]?.amount ?? 0n)
  const { address: operator } = cast.operator
  const lanes = (await settledLanes(world, fromBlock)).filter(({ provider }) => provider === operator)
  const lines = (await purchases.meter.statement(500)).filter(({ state }) => state === 'FINAL')
  const chargedBy = (provider?: string) =>
    sumOf(
      lines.filter((line) => provider === undefined || line.provider === provider),
      ({ charged }) => BigInt(charged ?? 0),
    )
  const account = await world.read<{ deposit: bigint; charged: bigint }>('InferenceEscrow', 'balance', purchases.meter.accountId)
  const credit = await world.read<bigint>('InferenceEscrow', 'credit', operator)
  const deductions = sumOf(lanes, ({ protocolFee, collectorFee, royalties }) => protocolFee + collectorFee + royalties)
  const spamRoyalties = sumOf(
    lanes.filter(({ modelId }) => modelId === spam.modelId),
    ({ royalties }) => royalties,
  )
  const income = await incomeOf(world, spam.modelId, fromBlock)
  const escrow = world.options.contracts.InferenceEscrow ?? ''
  const gross = sumOf(lanes, (lane) => lane.gross)
  return [
    same('the account holds the whole deposit', account.deposit, DEPOSIT),
    same('what the ledger charged is what the chain charged the account', chargedBy(), account.charged),
    same('what was bought from the provider is what its lanes settled', chargedBy(operator), gross),
    same("the provider's part was paid out or is credited to it", gross - deductions, moved('Provider') + credit),
    same("the model's income by epoch is what its lanes credited", income.total, spamRoyalties),
    same('contributors claimed their share of that income, rounded down per epoch', claimed, income.datasets),
    same('contributors received what they claimed', moved('Ada') + moved('Ben'), claimed),
    same('all that was minted is held by people, stake and escrow', STAKE + DEPOSIT, sumOf(Object.keys(after), moved)),
    same(
      'the escrow holds exactly what it owes',
      await world.balanceOf(escrow),
      await world.read<bigint>('InferenceEscrow', 'owed'),
    ),
  ]
}

/** From the royalty ledger's own storage, split as its contract documents it. */
async function incomeOf(world: World, modelId: string, fromBlock: number): Promise<{ total: bigint; datasets: bigint }> {
  const epochs = await incomeEpochs(world, modelId, fromBlock)
  const payees = await world.read<{ ppm: bigint; isDataset: boolean }[]>('ModelRegistry', 'payees', modelId)
  const payeesPpm = sumOf(payees, ({ ppm }) => ppm)
  const amounts = await Promise.all(epochs.map((epoch) => world.read<bigint>('RoyaltyLedger', 'income', modelId, epoch)))
  const datasets = payees.filter(({ isDataset }) => isDataset)
  return {
    total: sumOf(amounts, (amount) => amount),
    datasets: sumOf(amounts, (amount) => sumOf(datasets, ({ ppm }) => partOfIncome(amount, { ppm, payeesPpm }))),
  }
}

/** Epochs in which the model earned, in order. */
export async function incomeEpochs(world: World, modelId: string, fromBlock: number): Promise<bigint[]> {
  const credited = (await world.events('RoyaltyLedger', 'IncomeCredited', fromBlock)).filter((event) => event.modelId === modelId)
  return [...new Set(credited.map(({ epoch }) => BigInt(String(epoch))))].sort((a, b) => Number(a - b))
}

export function sumOf<T>(items: readonly T[], pick: (item: T) => bigint): bigint {
  return items.reduce((sum, item) => sum + pick(item), 0n)
}

function same(what: string, left: bigint, right: bigint): Check {
  return { what, left, right, holds: left === right }
}
