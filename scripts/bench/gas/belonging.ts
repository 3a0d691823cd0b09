import { id } from 'ethers'
import type { Measure } from './figures.ts'
import {
  depositByAuthorization,
  pathOf,
  registerDataset,
  registerDatasetBySig,
  registerModel,
  settle,
  storeTerms,
} from './market.ts'
import { fill } from './settling.ts'
import { EPOCH_SECONDS, type GasWorld } from './world.ts'

const DEPTH = 20
const SHARES = 1n
const TOTAL_SHARES = 2n ** BigInt(DEPTH)
/** So much that a millionth of the tenth that the pool gets is a unit at least. */
const SALE = 20_000_000n

export async function measureDatasets(world: GasWorld, measure: Measure): Promise<void> {
  const [owner, relayer] = [await world.person('owner'), await world.person('relayer')]
  await world.gasOf(storeTerms(owner))
  await registerDataset(world, owner, 'of somebody before')
  const direct = await registerDataset(world, owner, 'direct')
  const signed = await registerDatasetBySig(world, owner, 'signed')
  measure({ key: 'dataset.register.direct', value: direct.gas, unit: 'gas', bar: 95_000 })
  measure({ key: 'dataset.register.signature', value: signed.gas, unit: 'gas', bar: 125_000 })
  const contract = 'DatasetRegistry'
  const withdrawn = await world.gasOf({ from: owner, contract, method: 'withdraw', args: [direct.datasetId] })
  measure({ key: 'dataset.withdraw.direct', value: withdrawn, unit: 'gas', bar: 55_000 })
  const signature = await world.sign(owner, contract, 'WithdrawDataset', { datasetId: signed.datasetId })
  const args = [signed.datasetId, owner.address, signature]
  const relayed = await world.gasOf({ from: relayer, contract, method: 'withdrawBySig', args })
  measure({ key: 'dataset.withdraw.signature', value: relayed, unit: 'gas', bar: 60_000 })
}

/** A pool of 1,048,576 contributors over six epochs; its second table has the same root from the fifth on. */
export async function measurePool(world: GasWorld, measure: Measure): Promise<void> {
  const [steward, contributor] = [await world.person('steward'), await world.person('contributor')]
  await fill(world, [contributor])
  const { datasetId: poolId } = await registerDataset(world, steward, 'pool', true)
  const { root, proof } = pathOf(contributor.address, SHARES, DEPTH)
  const announce = (fromEpoch: number) => {
    const table = { root, totalShares: TOTAL_SHARES, fromEpoch, dataDigest: id(`table from ${fromEpoch}`) }
    return world.gasOf({ from: steward, contract: 'DatasetRegistry', method: 'announceShareTable', args: [poolId, table] })
  }
  const first = world.epoch() + 1
  await announce(first)
  measure({ key: 'pool.announce', value: await announce(first + 4), unit: 'gas', bar: 80_000 })
  const epochs = await earn(world, poolId, first)
  const claim = (some: number[]) => {
    const claimed = { payeeId: poolId, account: contributor.address, epochs: some, shares: SHARES, proof }
    return world.gasOf({ from: contributor, contract: 'RoyaltyLedger', method: 'claim', args: [claimed, contributor.address] })
  }
  const at = (i: number) => epochs[i] ?? 0
  const one = await claim([at(0)])
  const two = await claim([at(1), at(2)])
  const apart = await claim([at(3), at(4)])
  measure({ key: 'pool.claim.oneEpoch', value: one, unit: 'gas', bar: 115_000 })
  measure({ key: 'pool.claim.furtherEpoch.sameTable', value: two - one, unit: 'gas', bar: 35_000 })
  measure({ key: 'pool.claim.furtherEpoch.otherTable', value: apart - one, unit: 'gas', bar: 45_000 })
  const left = await world.gasOf({ from: contributor, contract: 'DatasetRegistry', method: 'withdrawFromPool', args: [poolId] })
  measure({ key: 'pool.withdraw', value: left, unit: 'gas', bar: 55_000 })
}

/** One large sale in each of six epochs, pulled to the pool apart from any claim. */
async function earn(world: GasWorld, poolId: string, first: number): Promise<number[]> {
  const [payer, anyone] = [await world.person('reader'), await world.person('relayer')]
  await fill(world, [payer])
  await depositByAuthorization(world, payer, { amount: 200_000_000n, name: 'reader' })
  world.warp(first * EPOCH_SECONDS)
  const model = await registerModel(world, 'of the pool', { datasetIds: [poolId], ppm: 100_000 })
  const epochs = Array.from({ length: 6 }, (_, i) => first + i)
  let spent = 0n
  for (const epoch of epochs) {
    world.warp(epoch * EPOCH_SECONDS)
    const spending = { payer, key: null, from: spent, lanes: [0], price: SALE }
    spent += SALE
    await settle(world, `pool ${epoch}`, { models: [model], spendings: [spending] })
  }
  world.warp((first + epochs.length) * EPOCH_SECONDS)
  await world.gasOf({ from: anyone, contract: 'RoyaltyLedger', method: 'pull', args: [model, 0, epochs] })
  return epochs
}
