import { purposesOfMask } from '../../services/core/consent.ts'
import { GranaryError } from '../../services/core/errors.ts'
import { formatDollars } from '../../services/core/money.ts'
import { floatsOf, fromJsonTensor, type JsonTensor, toJsonTensor } from '../../services/core/tensors.ts'
import type { Meter } from '../../services/sdk/meter.ts'
import { makeSealingKey } from '../../services/sdk/sealing.ts'
import { hamTexts, invoiceInput, spamTexts, voiceInput } from '../models/examples.ts'
import { spamShards } from '../models/spam-corpus.ts'
import {
  type Contribution,
  contribute,
  joinAsMember,
  openTerms,
  type RegisteredModel,
  strictTerms,
  trainAndRegister,
  untilServed,
} from './chapters.ts'
import { type Check, same, settledLanes, sumOf } from './ledger-sheet.ts'
import { type Person, until, World, type WorldOptions } from './world.ts'

export interface StoryOptions {
  world: WorldOptions
  /** Private keys of genesis members, who vouch and vote. */
  memberKeys: readonly string[]
  /** Starts a worker for a fresh provider's session key; disposed when the story ends. */
  startWorker: (sessionPrivateKey: string) => Promise<AsyncDisposable>
  print: (line: string) => void
  /** How many inferences of the spam model are bought by voucher and by API key. */
  purchases?: { byVoucher: number; byKey: number }
  /** Called in the middle of the buying, for tests that break things. */
  interrupt?: (stage: 'buying' | 'settling') => Promise<void>
}

export interface StoryReport {
  balances: Record<string, { address: string; before: string; after: string }>
  transactions: { who: string; what: string; transaction: string }[]
  checks: { what: string; left: string; right: string; holds: boolean }[]
  facts: Record<string, unknown>
  holds: boolean
}

const DOLLAR = 1_000_000n
const PRICES = { spam: 400n, voice: 200n, ocr: 1500n }
const STAKE = 100n * DOLLAR
const DEPOSIT = 20n * DOLLAR

interface Cast {
  ada: Person
  ben: Person
  author: Person
  operator: Person
  developer: Person
  members: Person[]
}

/** The seven chapters with fresh people, on a running cooperative; the report says whether every unit is accounted for. */
export async function runStory(options: StoryOptions): Promise<StoryReport> {
  await using stack = new AsyncDisposableStack()
  const world = stack.use(new World(options.world))
  const fromBlock = await world.blockNumber()
  const cast = await meet(world, options)
  const session = await world.person('session')
  const before = await balancesOf(world, cast)
  const print = (chapter: string, line: string) => options.print(`${chapter.padEnd(10)} ${line}`)

  const contributions = await chapterContribute(world, cast, print)
  const spam = await chapterDerive(world, { cast, contributions, print })
  const models = await sellableModels(cast.developer, spam)
  stack.use(await options.startWorker(session.wallet.privateKey))
  await chapterProvide(world, { cast, sessionKey: session.address, models, print })
  const bought = await chapterInfer(world, { cast, models, print, options })
  await chapterSettle(world, { cast, meter: bought.meter, fromBlock, print })
  await options.interrupt?.('settling')
  const claimed = await chapterReward(world, { cast, contributions, spam, fromBlock, print })
  await chapterWithdraw(world, { cast, contribution: contributions[1], models, meter: bought.meter, print })
  const fee = await chapterGovern(world, { cast, models, meter: bought.meter, fromBlock, print })

  const checks = await balanceSheet(world, { cast, spam, meter: bought.meter, fromBlock, before, claimed, fee })
  const after = await balancesOf(world, cast)
  const balances = Object.fromEntries(
    Object.entries(after).map(([name, { address, amount }]) => [
      name,
      { address, before: String(before[name]?.amount ?? 0n), after: String(amount) },
    ]),
  )
  const holds = checks.every((check) => check.holds)
  return {
    balances,
    transactions: world.transactions,
    checks: checks.map(({ what, left, right, holds: ok }) => ({ what, left: String(left), right: String(right), holds: ok })),
    facts: {
      inferences: bought.count,
      spamDigest: spam.model.manifest.onnx.sha256,
      protocolFeePpm: fee.ppm,
      claimed: String(claimed),
    },
    holds,
  }
}

type Print = (chapter: string, line: string) => void

async function meet(world: World, { memberKeys }: StoryOptions): Promise<Cast> {
  const [ada, ben, author, operator, developer] = await Promise.all(
    ['Ada', 'Ben', 'Author', 'Provider', 'Developer'].map((name) => world.person(name)),
  )
  const members = await Promise.all(memberKeys.map((key, index) => world.person(`Member ${index + 1}`, key)))
  if (!ada || !ben || !author || !operator || !developer) throw new TypeError('people are missing')
  const proposer = members[0]
  // Contributors, author and developer never hold gas: all they do is signed and relayed.
  await world.giveGas([operator, ...(proposer ? [proposer] : [])])
  return { ada, ben, author, operator, developer, members }
}

async function chapterContribute(world: World, { ada, ben, members }: Cast, print: Print): Promise<[Contribution, Contribution]> {
  for (const person of [ada, ben]) {
    const memberId = await joinAsMember(world, { person, vouchers: members })
    print('contribute', `${person.name} joins as member ${memberId}, vouched for by three members, without gas`)
  }
  const [first, second] = spamShards()
  if (!first || !second) throw new TypeError('the corpus has two shards')
  const now = await world.timestamp()
  const one = await contribute(world, { owner: ada, shard: first, terms: openTerms(now) })
  const two = await contribute(world, { owner: ben, shard: second, terms: strictTerms(now) })
  for (const { owner, shard, terms, dataset } of [one, two]) {
    print(
      'consent',
      `${owner.name} registers ${shard.name} (${shard.rows} rows, encrypted as ${dataset.cid.slice(0, 14)}…): royalty ${Number(terms.royaltyPpm) / 10_000} %, for ${purposesOfMask(terms.purposes).join(', ')}`,
    )
  }
  return [one, two]
}

async function chapterDerive(
  world: World,
  { cast, contributions, print }: { cast: Cast; contributions: Contribution[]; print: Print },
): Promise<RegisteredModel> {
  const spam = await trainAndRegister(world, { author: cast.author, contributions, authorPpm: 100_000 })
  print(
    'derive',
    `${cast.author.name} trains ${spam.name} on both (accuracy ${spam.metrics.accuracy ?? '?'}), digest ${spam.model.manifest.onnx.sha256.slice(0, 14)}…, and registers its lineage`,
  )
  return spam
}

interface Sellable {
  spam: { modelId: string; name: string }
  voice: { modelId: string; name: string }
  ocr: { modelId: string; name: string }
}

/** The third-party models are those that are in the catalog already. */
async function sellableModels(developer: Person, spam: RegisteredModel): Promise<Sellable> {
  const listed = (await developer.granary.models()) as { modelId: string; name: string }[]
  const find = (name: string) => {
    const model = listed.find((candidate) => candidate.name === name)
    if (!model) throw new GranaryError('model.unknown', `The catalog has no ${name}: npm start seeds it.`)
    return model
  }
  return { spam, voice: find('silero-vad'), ocr: find('pp-ocrv4-rec') }
}

async function chapterProvide(
  world: World,
  { cast, sessionKey, models, print }: { cast: Cast; sessionKey: string; models: Sellable; print: Print },
): Promise<void> {
  const { operator, developer } = cast
  await world.giveDollars(operator, STAKE)
  await operator.granary.provide.register({
    sessionKey,
    encryptionKey: makeSealingKey().publicKey,
    name: operator.name,
    stake: STAKE,
  })
  const offers = [
    { ...models.spam, unit: 1, unitPrice: PRICES.spam },
    { ...models.voice, unit: 3, unitPrice: PRICES.voice },
    { ...models.ocr, unit: 4, unitPrice: PRICES.ocr },
  ]
  for (const { modelId, unit, unitPrice } of offers) await operator.granary.provide.offer({ modelId, unit, unitPrice })
  await untilServed(
    developer,
    offers.map(({ modelId }) => modelId),
    { provider: operator.address, timeoutMs: 90_000 },
  )
  print(
    'infer',
    `${operator.name} stakes ${formatDollars(STAKE)} and offers three models; its worker has fetched them by CID and passed their golden samples`,
  )
}

async function chapterInfer(
  world: World,
  { cast, models, print, options }: { cast: Cast; models: Sellable; print: Print; options: StoryOptions },
): Promise<{ meter: Meter; count: number }> {
  const { developer } = cast
  const { byVoucher, byKey } = options.purchases ?? { byVoucher: 150, byKey: 100 }
  await world.giveDollars(developer, DEPOSIT)
  const deposit = await developer.granary.account.deposit(DEPOSIT)
  world.note(developer.name, 'deposits by signature', deposit.transaction)
  const meter = await developer.granary.account.meter({ maxPerRequest: DOLLAR })
  await until('the deposit to be confirmed', async () => (await meter.standing())?.deposit === String(DEPOSIT), 30_000)
  print('infer', `${developer.name} deposits ${formatDollars(DEPOSIT)} by signature, without gas`)

  const refusal = await refusalOf(() =>
    developer.granary.context.http.json({ method: 'POST', path: '/v1/infer', body: textBody(models.spam.modelId, 0) }),
  )
  print('infer', `an unpaid call: ${refusal.status} ${refusal.code}`)
  if (refusal.status !== 402) throw refusal

  const texts = [...hamTexts, ...spamTexts]
  const half = Math.floor(byVoucher / 2)
  const first = await inParallel(half, (index) => meter.infer(textBody(models.spam.modelId, index % texts.length)))
  await options.interrupt?.('buying')
  const rest = await inParallel(byVoucher - half, (index) => meter.infer(textBody(models.spam.modelId, index % texts.length)))
  const labels = [...first, ...rest].flatMap(({ outputs }) => outputs.find(({ name }) => name === 'label')?.data ?? [])
  print(
    'infer',
    `${labels.length} mails bought by voucher: ${labels.filter((label) => label === 'spam').length} spam, ${labels.filter((label) => label === 'ham').length} ham`,
  )

  const voice = await meter.infer({ model: models.voice.modelId, inputs: voiceInput().map(toJsonTensor) } as never)
  const probability = voice.outputs.find(({ name }) => name === 'probability') as JsonTensor | undefined
  const speech = probability ? Math.max(...floatsOf(fromJsonTensor(probability))) : 0
  const ocr = await meter.infer({ model: models.ocr.modelId, inputs: invoiceInput().map(toJsonTensor) } as never)
  print(
    'infer',
    `voice activity up to ${speech.toFixed(2)} for ${voice.units} s of audio; the picture reads "${String(ocr.outputs[0]?.data[0])}"`,
  )

  const { apiKey } = await developer.granary.account.createApiKey({ cap: 2n * DOLLAR, lifeSeconds: 3600, label: 'demo' })
  await until('the key to be confirmed', () => keyAccepted(developer, { apiKey, model: models.spam.modelId }), 30_000)
  await inParallel(byKey - 1, (index) => developer.granary.infer(textBody(models.spam.modelId, index % texts.length), { apiKey }))
  print('infer', `${byKey} more by API key`)
  return { meter, count: byVoucher + 2 + byKey }
}

async function keyAccepted(developer: Person, { apiKey, model }: { apiKey: string; model: string }): Promise<boolean> {
  try {
    await developer.granary.infer(textBody(model, 0), { apiKey })
    return true
  } catch (error) {
    if (error instanceof GranaryError && (error.code === 'credential.ended' || error.code === 'account.unknown')) return false
    throw error
  }
}

async function chapterSettle(
  world: World,
  { cast, meter, fromBlock, print }: { cast: Cast; meter: Meter; fromBlock: number; print: Print },
): Promise<void> {
  await untilSettled(meter)
  const lanes = await settledLanes(world, { provider: cast.operator.address, fromBlock })
  const gross = sumOf(lanes, (lane) => lane.gross)
  const provider = gross - sumOf(lanes, (lane) => lane.protocolFee + lane.collectorFee + lane.royalties)
  for (const batchId of new Set(lanes.map((lane) => lane.batchId))) world.note('settler', `settles batch ${batchId}`, batchId)
  print(
    'settle',
    `${formatDollars(gross)} charged: ${formatDollars(provider)} to the provider, ${formatDollars(sumOf(lanes, (l) => l.royalties))} to the models' payees, ${formatDollars(sumOf(lanes, (l) => l.protocolFee))} to the treasury`,
  )
}

async function untilSettled(meter: Meter): Promise<void> {
  await until(
    'every request to be settled',
    async () => (await meter.statement(500)).every(({ state }) => state === 'FINAL' || state === 'VOIDED'),
    60_000,
  )
}

async function chapterReward(
  world: World,
  {
    cast,
    contributions,
    spam,
    fromBlock,
    print,
  }: { cast: Cast; contributions: Contribution[]; spam: RegisteredModel; fromBlock: number; print: Print },
): Promise<bigint> {
  const credited = (await world.events('RoyaltyLedger', 'IncomeCredited', fromBlock)).filter(
    ({ modelId }) => modelId === spam.modelId,
  )
  const epochs = [...new Set(credited.map(({ epoch }) => BigInt(String(epoch))))].sort((a, b) => Number(a - b))
  const last = epochs[epochs.length - 1] ?? 0n
  await until('the epoch to close', async () => (await cast.ada.granary.earnings.currentEpoch()) > last, 40_000)
  let claimed = 0n
  for (const { owner, dataset } of contributions) {
    const pulled = await owner.granary.earnings.pull(spam.modelId, dataset.datasetId, epochs)
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

async function chapterWithdraw(
  world: World,
  {
    cast,
    contribution,
    models,
    meter,
    print,
  }: { cast: Cast; contribution: Contribution; models: Sellable; meter: Meter; print: Print },
): Promise<void> {
  const { owner, dataset } = contribution
  const relayed = await owner.granary.consent.withdraw(dataset.datasetId)
  world.note(owner.name, 'withdraws consent', relayed.transaction)
  // The gateway that relayed it has seen its block; the refusal must be there at the very next call that follows a new head.
  const refused = await refusalOf(() => meter.infer(textBody(models.spam.modelId, 0)))
  if (refused.code !== 'consent.refused' && refused.code !== 'provider.refused') throw refused
  const other = await meter.infer({
    model: models.voice.modelId,
    inputs: voiceInput({ seconds: 0.5 }).map(toJsonTensor),
  } as never)
  print(
    'consent',
    `${owner.name} withdraws by signature; the next call: ${refused.status} ${refused.code} (${refused.evidence.reason ?? refused.message}); ${models.voice.name} goes on at ${other.charged} units`,
  )
  if (cast.members.length === 0) throw new TypeError('nobody can vote')
}

async function chapterGovern(
  world: World,
  { cast, models, meter, fromBlock, print }: { cast: Cast; models: Sellable; meter: Meter; fromBlock: number; print: Print },
): Promise<{ ppm: number; lanes: number }> {
  const [proposer, ...others] = cast.members
  if (!proposer) throw new TypeError('nobody can propose')
  await untilSettled(meter)
  const current = Number(await world.read<bigint>('CooperativeParameters', 'protocolFeePpm'))
  const ppm = current === 20_000 ? 15_000 : 20_000
  const description = `Set the protocol fee to ${ppm / 10_000} % (${cast.developer.address.slice(0, 10)})`
  const proposal = await proposer.granary.govern.propose(
    { contract: 'CooperativeParameters', method: 'setProtocolFee', args: [ppm] },
    description,
  )
  await until('voting to open', async () => (await proposer.granary.govern.state(proposal.proposalId)) === 'active', 20_000)
  for (const member of [proposer, ...others]) {
    const vote = await member.granary.govern.vote(proposal.proposalId, 1)
    world.note(member.name, 'votes for the proposal', vote.transaction)
  }
  await until(
    'the vote to succeed',
    async () => (await proposer.granary.govern.state(proposal.proposalId)) === 'succeeded',
    60_000,
  )
  await proposer.granary.govern.queue(proposal)
  await until('the timelock to run out', async () => isExecutable(world, proposal.proposalId), 30_000)
  const executed = await proposer.granary.govern.execute(proposal)
  world.note('anyone', 'executes the proposal', executed.transaction)
  const settledBefore = (await settledLanes(world, { provider: cast.operator.address, fromBlock })).length
  for (let index = 0; index < 5; index++)
    await meter.infer({ model: models.voice.modelId, inputs: voiceInput({ seconds: 25 }).map(toJsonTensor) } as never)
  await untilSettled(meter)
  const lanes = (await settledLanes(world, { provider: cast.operator.address, fromBlock })).slice(settledBefore)
  for (const { gross, protocolFee } of lanes) {
    if (protocolFee !== (gross * BigInt(ppm)) / 1_000_000n)
      throw new GranaryError('internal', `A settlement after the vote took ${protocolFee} of ${gross}.`)
  }
  print(
    'govern',
    `${cast.members.length} members vote the protocol fee from ${current / 10_000} % to ${ppm / 10_000} %; the timelock executes; the next settlement takes ${sumOf(lanes, (l) => l.protocolFee)} of ${sumOf(lanes, (l) => l.gross)}`,
  )
  return { ppm, lanes: lanes.length }
}

async function isExecutable(world: World, proposalId: bigint): Promise<boolean> {
  const eta = await world.read<bigint>('CooperativeGovernor', 'proposalEta', proposalId)
  return eta > 0n && BigInt(await world.timestamp()) > eta
}

interface Held {
  address: string
  amount: bigint
}

async function balancesOf(world: World, { ada, ben, author, operator, developer }: Cast): Promise<Record<string, Held>> {
  const { InferenceEscrow, ProviderRegistry } = world.options.contracts
  const involved = [ada, ben, author, operator, developer].map(({ name, address }) => ({ name, address }))
  involved.push(
    { name: 'InferenceEscrow', address: InferenceEscrow ?? '' },
    { name: 'ProviderRegistry', address: ProviderRegistry ?? '' },
  )
  const held = await Promise.all(
    involved.map(async ({ name, address }) => [name, { address, amount: await world.balanceOf(address) }] as const),
  )
  return Object.fromEntries(held)
}

/** Every unit that came in, from both ends: what people hold now, and what the escrow owes to whom. */
async function balanceSheet(
  world: World,
  options: {
    cast: Cast
    spam: RegisteredModel
    meter: Meter
    fromBlock: number
    before: Record<string, Held>
    claimed: bigint
    fee: { ppm: number }
  },
): Promise<Check[]> {
  const { cast, spam, meter, fromBlock, before, claimed } = options
  const lanes = await settledLanes(world, { provider: cast.operator.address, fromBlock })
  const after = await balancesOf(world, cast)
  const moved = (name: string) => (after[name]?.amount ?? 0n) - (before[name]?.amount ?? 0n)
  const balance = await world.read<{ deposit: bigint; charged: bigint }>('InferenceEscrow', 'balance', meter.accountId)
  const credit = await world.read<bigint>('InferenceEscrow', 'credit', cast.operator.address)
  const lines = await meter.statement(500)
  const gross = sumOf(lanes, (lane) => lane.gross)
  const fees = sumOf(lanes, (lane) => lane.protocolFee + lane.collectorFee)
  const royalties = sumOf(lanes, (lane) => lane.royalties)
  const spamIncome = sumOf(
    lanes.filter(({ modelId }) => modelId === spam.modelId),
    (lane) => lane.royalties,
  )
  const income = await incomeOf(world, spam.modelId, fromBlock)
  const escrow = world.options.contracts.InferenceEscrow ?? ''
  return [
    same(
      'what the ledger charged = what the chain settled',
      sumOf(
        lines.filter(({ state }) => state === 'FINAL'),
        ({ charged }) => BigInt(charged ?? 0),
      ),
      gross,
    ),
    same("charged to the developer's account on chain = settled with this provider", balance.charged, gross),
    same('the account holds the whole deposit', balance.deposit, DEPOSIT),
    same("provider's part = paid out + still credited", gross - fees - royalties, moved('Provider') + credit),
    same("the model's income by epoch = what its lanes credited", income.total, spamIncome),
    same("contributors claimed their share of the model's income, rounded down per epoch", claimed, income.datasets),
    same('contributors received what was claimed', moved('Ada') + moved('Ben'), claimed),
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
  const credited = (await world.events('RoyaltyLedger', 'IncomeCredited', fromBlock)).filter((event) => event.modelId === modelId)
  const epochs = new Set(credited.map(({ epoch }) => BigInt(String(epoch))))
  const payees = await world.read<{ ppm: bigint; isDataset: boolean }[]>('ModelRegistry', 'payees', modelId)
  const payeesPpm = sumOf(payees, ({ ppm }) => ppm)
  let total = 0n
  let datasets = 0n
  for (const epoch of epochs) {
    const amount = await world.read<bigint>('RoyaltyLedger', 'income', modelId, epoch)
    total += amount
    datasets += sumOf(
      payees.filter(({ isDataset }) => isDataset),
      ({ ppm }) => (amount * ppm) / payeesPpm,
    )
  }
  return { total, datasets }
}

function textBody(model: string, index: number) {
  const texts = [...hamTexts, ...spamTexts]
  return { model, inputs: { text: texts[index] ?? '' } }
}

const PARALLEL = 8

async function inParallel<T>(count: number, act: (index: number) => Promise<T>): Promise<T[]> {
  const results: T[] = []
  let next = 0
  const lane = async () => {
    while (next < count) {
      const index = next++
      results[index] = await act(index)
    }
  }
  await Promise.all(Array.from({ length: Math.min(PARALLEL, count) }, lane))
  return results
}

async function refusalOf(act: () => Promise<unknown>): Promise<GranaryError> {
  try {
    await act()
  } catch (error) {
    if (error instanceof GranaryError) return error
    throw error
  }
  throw new GranaryError('internal', 'A call that had to be refused was answered.')
}
