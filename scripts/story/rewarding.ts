import { formatDollars } from '../../services/core/money.ts'
import type { Meter } from '../../services/sdk/meter.ts'
import { voiceInput } from '../models/examples.ts'
import { refusalOf, tensorBody, textBody } from './buying.ts'
import { incomeEpochs, settledLanes, sumOf } from './ledger-sheet.ts'
import type { Contributions, Purchases, Shelf, Telling } from './telling.ts'
import { until } from './world.ts'

/** Chapter 5: the settler brings what was bought on chain. */
export async function awaitSettlement({ world, cast, fromBlock, print }: Telling, { meter }: Purchases): Promise<void> {
  await untilSettled(meter)
  const lanes = (await settledLanes(world, fromBlock)).filter(({ provider }) => provider === cast.operator.address)
  const gross = sumOf(lanes, (lane) => lane.gross)
  const royalties = sumOf(lanes, (lane) => lane.royalties)
  const fees = sumOf(lanes, (lane) => lane.protocolFee + lane.collectorFee)
  for (const transaction of new Set(lanes.map((lane) => lane.transaction))) world.note('settler', 'settles a batch', transaction)
  print(
    'settle',
    `${formatDollars(gross)} charged: ${formatDollars(gross - royalties - fees)} to the provider, ${formatDollars(royalties)} to the models' payees, ${formatDollars(fees)} in fees`,
  )
}

export async function untilSettled(meter: Meter): Promise<void> {
  const ended = async () => (await meter.statement(500)).every(({ state }) => state === 'FINAL' || state === 'VOIDED')
  await until('every request to be settled', ended, 60_000)
}

/** Chapter 6: what the model earned is pulled along its lineage and claimed by signature; returns what contributors got. */
export async function claimRoyalties(
  telling: Telling,
  { contributions, models }: { contributions: Contributions; models: Shelf },
): Promise<bigint> {
  const { world, cast, fromBlock, print } = telling
  const epochs = await incomeEpochs(world, models.spam.modelId, fromBlock)
  const last = epochs[epochs.length - 1] ?? 0n
  await until('the epoch to close', async () => (await cast.ada.granary.earnings.currentEpoch()) > last, 40_000)
  let claimed = 0n
  for (const { owner, dataset } of contributions) {
    const pulled = await owner.granary.earnings.pull(models.spam.modelId, dataset.datasetId, epochs)
    const { amount, relayed } = await owner.granary.earnings.claim(dataset.datasetId, epochs)
    world.note(owner.name, 'pulls royalties', pulled.transaction)
    world.note(owner.name, `claims ${amount}`, relayed.transaction)
    print('reward', `${owner.name} claims ${formatDollars(amount)} for ${dataset.datasetId.slice(0, 10)}…, without gas`)
    claimed += amount
  }
  const paid = await cast.operator.granary.earnings.claimCredit(cast.operator.address)
  world.note(cast.operator.name, 'is paid its credit', paid.transaction)
  return claimed
}

/** Chapter 2 again: a contributor changes their mind, and the very next call is refused while other models go on. */
export async function withdrawConsent(
  telling: Telling,
  options: { contributions: Contributions; models: Shelf; purchases: Purchases },
): Promise<void> {
  const { world, print } = telling
  const { models, purchases } = options
  const { owner, dataset } = options.contributions[1]
  const relayed = await owner.granary.consent.withdraw(dataset.datasetId)
  world.note(owner.name, 'withdraws consent', relayed.transaction)
  const refused = await refusalOf(() => purchases.meter.infer(textBody(models.spam.modelId, 0)))
  if (refused.status !== 451) throw refused
  const other = await purchases.meter.infer(tensorBody(models.voice.modelId, voiceInput({ seconds: 0.5 })))
  print(
    'consent',
    `${owner.name} withdraws by signature, without gas; the next call: ${refused.status} ${refused.code}, ${String(refused.evidence.reason)}; ${models.voice.name} goes on for ${other.charged} units`,
  )
}
