import { ZeroHash } from 'ethers'
import { ANYWHERE, purposesMask, type Terms, termsFlags } from '../../services/core/consent.ts'
import { leastShares, purposesOfLineage } from '../../services/core/lineage.ts'
import type { UnitName } from '../../services/core/manifest.ts'
import { nullifierOf, VOUCHES } from '../../services/core/membership.ts'
import { unitIndex } from '../../services/core/metering.ts'
import type { RegisteredDataset } from '../../services/sdk/consent.ts'
import { decryptBytes } from '../../services/sdk/index.ts'
import { makeSealingKey, openContentKey, sealContentKey } from '../../services/sdk/sealing.ts'
import { type BuiltModel, buildManifest, type ModelDraft, spamDraft, thirdPartyModels } from '../models/catalog.ts'
import { digestOfShard, type SpamShard } from '../models/spam-corpus.ts'
import { spamSeed, trainSpam } from '../models/train-spam.ts'
import { type Person, until, type World } from './world.ts'

/** The acts that seeding, the demo and its tests have in common. */

const YEAR_SECONDS = 365 * 24 * 3600

/** Terms as the two contributors of the story offer them. */
export function openTerms(now: number): Terms {
  return {
    validFrom: now - 60,
    validUntil: now + 2 * YEAR_SECONDS,
    purposes: purposesMask(['research', 'commercial-service', 'internal-analytics', 'education', 'public-interest']),
    prohibitions: purposesMask(['surveillance']),
    flags: termsFlags.derivatives | termsFlags.attribution,
    noticeSeconds: 0,
    royaltyPpm: 100_000,
    withdrawal: 'stop',
    sunsetSeconds: 0,
    retrainSeconds: 0,
    floorPrice: 0n,
    jurisdictions: ANYWHERE,
  }
}

/** Narrower, shorter and dearer: personal mail, so withdrawal has no notice. */
export function strictTerms(now: number): Terms {
  return {
    ...openTerms(now),
    validUntil: now + YEAR_SECONDS,
    purposes: purposesMask(['research', 'commercial-service', 'education']),
    prohibitions: purposesMask(['surveillance', 'advertising']),
    flags: termsFlags.personal | termsFlags.derivatives,
    royaltyPpm: 150_000,
  }
}

export interface Contribution {
  owner: Person
  shard: SpamShard
  terms: Terms
  dataset: RegisteredDataset
}

export async function contribute(world: World, { owner, shard, terms }: Omit<Contribution, 'dataset'>): Promise<Contribution> {
  const dataset = await owner.granary.consent.register({
    bytes: shard.bytes,
    title: shard.name,
    licence: 'CC0-1.0',
    description: `${shard.rows} mails of the SpamAssassin public corpus, as rows of text and label.`,
    terms,
  })
  world.note(owner.name, `registers dataset ${shard.name}`, dataset.transaction)
  return { owner, shard, terms, dataset }
}

/** The contributor seals the content key to the author, who fetches the encrypted bytes by CID and opens them. */
export async function releaseForTraining(author: Person, { dataset }: Contribution): Promise<Uint8Array> {
  const reader = makeSealingKey()
  const sealed = sealContentKey(dataset.contentKey, { publicKey: reader.publicKey, context: dataset.datasetId })
  const { bytes } = await author.granary.context.http.send({
    method: 'GET',
    path: `/v1/content/${dataset.cid}`,
    repeatable: true,
  })
  return decryptBytes(bytes, openContentKey(sealed, { secretKey: reader.secretKey, context: dataset.datasetId }))
}

export interface RegisteredModel {
  modelId: string
  name: string
  model: BuiltModel
}

/** Trains on what was released, registers with both datasets in the lineage at their terms' royalty. */
export async function trainAndRegister(
  world: World,
  { author, contributions, authorPpm }: { author: Person; contributions: Contribution[]; authorPpm: number },
): Promise<RegisteredModel & { metrics: Record<string, number> }> {
  const shards = await Promise.all(contributions.map((contribution) => releaseForTraining(author, contribution)))
  const trained = trainSpam({ shards, seed: spamSeed })
  const training = {
    author: author.name,
    datasets: contributions.map(({ dataset, shard }) => ({
      datasetId: dataset.datasetId,
      rowsDigest: digestOfShard(shard.bytes),
      rows: shard.rows,
    })),
  }
  const contributed = contributions.map(({ dataset, terms }) => ({ datasetId: dataset.datasetId, terms }))
  const datasets = leastShares(contributed)
  const purposes = purposesOfLineage(contributed)
  const draft = spamDraft(trained, training)
  return { ...(await registerDraft(world, { author, draft, datasets, purposes, authorPpm })), metrics: trained.metrics }
}

/** Public weights: no dataset in the lineage, and no share for whoever entered them here. */
export async function registerThirdParty(world: World, curator: Person): Promise<RegisteredModel[]> {
  const purposes = purposesMask([
    'research',
    'commercial-service',
    'internal-analytics',
    'education',
    'public-interest',
    'healthcare',
  ])
  const registered: RegisteredModel[] = []
  for (const draft of thirdPartyModels())
    registered.push(await registerDraft(world, { author: curator, draft, datasets: [], purposes, authorPpm: 0 }))
  return registered
}

async function registerDraft(
  world: World,
  options: {
    author: Person
    draft: ModelDraft
    datasets: { datasetId: string; ppm: number }[]
    purposes: number
    authorPpm: number
  },
): Promise<RegisteredModel> {
  const { author, draft, datasets, purposes, authorPpm } = options
  const model = await buildManifest(draft, (bytes) => author.granary.context.put(bytes))
  const { modelId, transaction } = await author.granary.derive.register({
    manifest: model.manifest,
    datasets,
    parents: [],
    purposes,
    authorPpm,
    derivativePpm: 20_000,
  })
  world.note(author.name, `registers model ${model.manifest.name}`, transaction)
  return { modelId, name: model.manifest.name, model }
}

export interface Offer {
  modelId: string
  unit: UnitName
  unitPrice: bigint
}

/** Registers the operator, stakes and offers; its worker picks the offers up from the chain. */
export async function openProvider(
  world: World,
  options: { operator: Person; sessionKey: string; encryptionKey: string; stake: bigint; offers: readonly Offer[] },
): Promise<void> {
  const { operator, sessionKey, encryptionKey, stake, offers } = options
  const staked = await operator.granary.provide.register({ sessionKey, encryptionKey, name: operator.name, stake })
  world.note(operator.name, `stakes ${stake}`, staked)
  for (const { modelId, unit, unitPrice } of offers) {
    world.note(
      operator.name,
      `offers ${modelId}`,
      await operator.granary.provide.offer({ modelId, unit: unitIndex(unit), unitPrice }),
    )
  }
}

/** Until the gateway has seen manifests and offers, and a worker of this provider has passed the golden samples. */
export async function untilServed(
  person: Person,
  modelIds: readonly string[],
  { provider, timeoutMs }: { provider: string; timeoutMs: number },
): Promise<void> {
  await until(
    `the gateway to list ${modelIds.length} models as served by ${provider}`,
    async () => {
      const models = (await person.granary.models()) as { modelId: string; servedBy: string[] }[]
      return modelIds.every((modelId) => models.find((model) => model.modelId === modelId)?.servedBy.includes(provider))
    },
    timeoutMs,
  )
}

/** Joins with the registrar's admission and three members' vouches; the nullifier stands for the person's identifier. */
export async function joinAsMember(world: World, { person, vouchers }: { person: Person; vouchers: Person[] }): Promise<string> {
  const nullifier = nullifierOf(ZeroHash, person.address)
  const application = await person.granary.contribute.application(nullifier)
  const admission = await person.granary.contribute.requestAdmission(application)
  const vouches = await Promise.all(vouchers.slice(0, VOUCHES).map((member) => member.granary.contribute.vouch(application)))
  const { memberId, relayed } = await person.granary.contribute.join(application, { admission, vouches })
  world.note(person.name, `joins as member ${memberId}`, relayed.transaction)
  return memberId
}
