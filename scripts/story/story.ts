import { purposesOfMask } from '../../services/core/consent.ts'
import { GranaryError } from '../../services/core/errors.ts'
import { formatDollars } from '../../services/core/money.ts'
import { makeSealingKey } from '../../services/sdk/sealing.ts'
import { spamShards } from '../models/spam-corpus.ts'
import { buyInferences } from './buying.ts'
import { contribute, joinAsMember, openProvider, openTerms, strictTerms, trainAndRegister, untilServed } from './chapters.ts'
import { changeProtocolFee } from './governing.ts'
import { balanceSheet, balancesOf } from './ledger-sheet.ts'
import { awaitSettlement, claimRoyalties, withdrawConsent } from './rewarding.ts'
import { type Cast, type Contributions, PRICES, type Shelf, STAKE, type StoryOptions, type Telling } from './telling.ts'
import { World } from './world.ts'

export interface StoryReport {
  balances: Record<string, { address: string; before: string; after: string }>
  transactions: { who: string; what: string; transaction: string }[]
  checks: { what: string; left: string; right: string; holds: boolean }[]
  facts: Record<string, unknown>
  holds: boolean
}

/** The seven chapters with fresh people, on a running cooperative; the report says whether every unit is accounted for. */
export async function runStory(options: StoryOptions): Promise<StoryReport> {
  await using stack = new AsyncDisposableStack()
  const world = stack.use(new World(options.world))
  const fromBlock = await world.blockNumber()
  const cast = await meet(world, options)
  const print = (chapter: string, line: string) => options.print(`${chapter.padEnd(10)} ${line}`)
  const telling: Telling = { world, cast, options, fromBlock, print }
  const before = await balancesOf(telling)

  const contributions = await joinAndRegister(telling)
  const models = await train(telling, contributions)
  const session = await world.person('session')
  stack.use(await options.startWorker(session.wallet.privateKey))
  await offerModels(telling, { models, sessionKey: session.address })
  const purchases = await buyInferences(telling, models)
  await awaitSettlement(telling, purchases)
  await options.interrupt?.('rewarding')
  const claimed = await claimRoyalties(telling, { contributions, models })
  await withdrawConsent(telling, { contributions, models, purchases })
  const protocolFeePpm = await changeProtocolFee(telling, { models, purchases })

  const checks = await balanceSheet(telling, { spam: models.spam, purchases, before, claimed })
  const after = await balancesOf(telling)
  const balances = Object.entries(after).map(([name, { address, amount }]) => {
    return [name, { address, before: String(before[name]?.amount ?? 0n), after: String(amount) }] as const
  })
  return {
    balances: Object.fromEntries(balances),
    transactions: world.transactions,
    checks: checks.map(({ what, left, right, holds }) => ({ what, left: String(left), right: String(right), holds })),
    facts: {
      inferences: purchases.count,
      spamDigest: models.spam.model.manifest.onnx.sha256,
      protocolFeePpm,
      claimed: String(claimed),
    },
    holds: checks.every(({ holds }) => holds),
  }
}

async function meet(world: World, { memberKeys }: StoryOptions): Promise<Cast> {
  const [ada, ben, author, operator, developer] = await Promise.all(
    ['Ada', 'Ben', 'Author', 'Provider', 'Developer'].map((name) => world.person(name)),
  )
  const members = await Promise.all(memberKeys.map((key, index) => world.person(`Member ${index + 1}`, key)))
  const [proposer] = members
  if (!ada || !ben || !author || !operator || !developer || !proposer) throw new TypeError('people are missing')
  // Contributors, author and developer never hold gas: all that they do is signed and relayed.
  await world.giveGas([operator, proposer])
  return { ada, ben, author, operator, developer, members }
}

/** Chapters 1 and 2: two people join, and offer their data under terms of their own. */
async function joinAndRegister({ world, cast, print }: Telling): Promise<Contributions> {
  for (const person of [cast.ada, cast.ben]) {
    const memberId = await joinAsMember(world, { person, vouchers: cast.members })
    print('contribute', `${person.name} joins as member ${memberId}, vouched for by three members, without gas`)
  }
  const [first, second] = spamShards()
  if (!first || !second) throw new TypeError('the corpus has two shards')
  const now = await world.timestamp()
  const contributions: Contributions = [
    await contribute(world, { owner: cast.ada, shard: first, terms: openTerms(now) }),
    await contribute(world, { owner: cast.ben, shard: second, terms: strictTerms(now) }),
  ]
  for (const { owner, shard, terms, dataset } of contributions) {
    const purposes = purposesOfMask(terms.purposes).join(', ')
    print(
      'consent',
      `${owner.name} registers ${shard.name} (${shard.rows} rows, encrypted, ${dataset.cid.slice(0, 14)}…) for ${purposes}, at a royalty of ${terms.royaltyPpm / 10_000} %`,
    )
  }
  return contributions
}

/** Chapter 3: an author trains on what was released, and registers the model with its lineage. */
async function train({ world, cast, print }: Telling, contributions: Contributions): Promise<Shelf> {
  const spam = await trainAndRegister(world, { author: cast.author, contributions, authorPpm: 100_000 })
  const digest = spam.model.manifest.onnx.sha256.slice(0, 14)
  print(
    'derive',
    `${cast.author.name} trains ${spam.name} on both (accuracy ${spam.metrics.accuracy ?? '?'}, digest ${digest}…) and registers its lineage`,
  )
  const listed = (await cast.developer.granary.models()) as { modelId: string; name: string }[]
  const find = (name: string) => {
    const model = listed.find((candidate) => candidate.name === name)
    if (!model) throw new GranaryError('model.unknown', `The catalog has no ${name}: npm start seeds it.`)
    return model
  }
  return { spam, voice: find('silero-vad'), ocr: find('pp-ocrv4-rec') }
}

/** Chapter 4, the provider's side. */
async function offerModels(
  { world, cast, print }: Telling,
  { models, sessionKey }: { models: Shelf; sessionKey: string },
): Promise<void> {
  const { operator, developer } = cast
  await world.giveDollars(operator, STAKE)
  const offers = [
    { modelId: models.spam.modelId, unit: 'text', unitPrice: PRICES.spam },
    { modelId: models.voice.modelId, unit: 'audio-second', unitPrice: PRICES.voice },
    { modelId: models.ocr.modelId, unit: 'image', unitPrice: PRICES.ocr },
  ] as const
  await openProvider(world, { operator, sessionKey, encryptionKey: makeSealingKey().publicKey, stake: STAKE, offers })
  await untilServed(
    developer,
    offers.map(({ modelId }) => modelId),
    { provider: operator.address, timeoutMs: 90_000 },
  )
  print(
    'infer',
    `${operator.name} stakes ${formatDollars(STAKE)} and offers three models; its worker fetched them by CID and passed their golden samples`,
  )
}
