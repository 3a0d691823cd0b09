import { Interface, id } from 'ethers'
import { abi } from '../../../services/core/generated/abi.ts'
import type { Measure } from './figures.ts'
import { peopleOf } from './settling.ts'
import { FOUNDERS, type GasWorld } from './world.ts'

const FOR = 1
const QUORUM = 4

/** An ordinary proposal among twenty members: its quorum is a fifth of them. */
export async function measureVotes(world: GasWorld, measure: Measure): Promise<void> {
  const founders = await peopleOf(world, 'founder', FOUNDERS)
  const contract = 'CooperativeGovernor'
  const call = new Interface(abi.CooperativeParameters).encodeFunctionData('setProtocolFee', [5000])
  const targets = [world.addresses.CooperativeParameters]
  const description = 'Halve the fee'
  const [proposer] = founders
  if (!proposer) throw new Error('no founders')
  await world.gasOf({ from: proposer, contract, method: 'propose', args: [targets, [0], [call], description] })
  const proposalId = await world.read(contract, 'getProposalId', [targets, [0], [call], id(description)])
  world.warp(world.now() + 2 * 86_400)
  const costs: number[] = []
  for (const from of founders.slice(0, QUORUM + 2)) {
    costs.push(await world.gasOf({ from, contract, method: 'castVote', args: [proposalId, FOR] }))
  }
  measure({ key: 'vote.first', value: costs[0] ?? 0, unit: 'gas', bar: 130_000 })
  measure({ key: 'vote.beforeQuorum', value: Math.max(...costs.slice(1, QUORUM - 1)), unit: 'gas', bar: 100_000 })
  measure({ key: 'vote.reachesQuorum', value: costs[QUORUM - 1] ?? 0, unit: 'gas' })
  measure({ key: 'vote.afterQuorum', value: Math.max(...costs.slice(QUORUM)), unit: 'gas', bar: 75_000 })
}
