import { GranaryError } from '../../services/core/errors.ts'
import type { Proposal } from '../../services/sdk/govern.ts'
import { voiceInput } from '../models/examples.ts'
import { tensorBody } from './buying.ts'
import { settledLanes, sumOf } from './ledger-sheet.ts'
import { untilSettled } from './rewarding.ts'
import type { Purchases, Shelf, Telling } from './telling.ts'
import { until } from './world.ts'

/** Chapter 7: members change the protocol fee, and the next settlement takes it; returns the new fee. */
export async function changeProtocolFee(
  telling: Telling,
  { models, purchases }: { models: Shelf; purchases: Purchases },
): Promise<number> {
  const { world, cast, print } = telling
  await untilSettled(purchases.meter)
  const current = Number(await world.read<bigint>('CooperativeParameters', 'protocolFeePpm'))
  const ppm = current === 20_000 ? 15_000 : 20_000
  const executedIn = await decide(telling, ppm)
  const inputs = voiceInput({ seconds: 10 })
  for (let index = 0; index < 5; index++) await purchases.meter.infer(tensorBody(models.voice.modelId, inputs))
  await untilSettled(purchases.meter)
  const lanes = await settledLanes(world, executedIn + 1)
  const wrong = lanes.find(({ gross, protocolFee }) => protocolFee !== (gross * BigInt(ppm)) / 1_000_000n)
  if (lanes.length === 0 || wrong)
    throw new GranaryError(
      'internal',
      `The settlement after the vote took ${wrong?.protocolFee ?? 'nothing'} of ${wrong?.gross ?? 0}.`,
    )
  const taken = sumOf(lanes, ({ protocolFee }) => protocolFee)
  print(
    'govern',
    `${cast.members.length} members vote the protocol fee from ${current / 10_000} % to ${ppm / 10_000} %, the timelock executes, and the next settlement takes ${taken} of ${sumOf(lanes, ({ gross }) => gross)} units`,
  )
  return ppm
}

/** Proposal, votes by signature, timelock; the block in which it was executed. */
async function decide({ world, cast }: Telling, ppm: number): Promise<number> {
  const [proposer] = cast.members
  if (!proposer) throw new TypeError('nobody can propose')
  const { govern } = proposer.granary
  const description = `Set the protocol fee to ${ppm / 10_000} % (proposed for ${cast.developer.address.slice(0, 10)})`
  const proposal = await govern.propose({ contract: 'CooperativeParameters', method: 'setProtocolFee', args: [ppm] }, description)
  world.note(proposer.name, 'proposes the fee', proposal.transaction)
  const state = () => govern.state(proposal.proposalId)
  await until('voting to open', async () => (await state()) === 'active', 20_000)
  for (const member of cast.members) {
    const vote = await member.granary.govern.vote(proposal.proposalId, 'for')
    world.note(member.name, 'votes for the proposal', vote.transaction)
  }
  await until('the vote to end', async () => (await state()) === 'succeeded', 60_000)
  world.note('anyone', 'queues the proposal', (await govern.queue(proposal)).transaction)
  await until('the timelock to run out', () => isDue(proposal), 30_000)
  const executed = await govern.execute(proposal)
  world.note('anyone', 'executes the proposal', executed.transaction)
  return executed.block

  async function isDue({ proposalId }: Proposal): Promise<boolean> {
    const eta = await world.read<bigint>('CooperativeGovernor', 'proposalEta', proposalId)
    return eta > 0n && BigInt(await world.timestamp()) > eta
  }
}
