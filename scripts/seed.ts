import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { getBytes } from 'ethers'
import { x25519PublicKey } from '../services/core/sessions.ts'
import type { LocalKeys } from './local/keys.ts'
import { curlText } from './models/examples.ts'
import { spamShards } from './models/spam-corpus.ts'
import {
  contribute,
  openProvider,
  openTerms,
  registerThirdParty,
  strictTerms,
  trainAndRegister,
  untilServed,
} from './story/chapters.ts'
import { until, World, type WorldOptions } from './story/world.ts'

export interface SeedOptions {
  world: WorldOptions
  keys: LocalKeys
  /** Where the record of what was seeded is kept. */
  dir: string
  onProgress: (step: string) => void
}

export interface Seeded {
  /** The chain it was seeded on: another one is seeded anew. */
  escrow: string
  apiKey: string
  modelIds: Record<string, string>
}

const DOLLAR = 1_000_000n

/**
 * Puts something real into a new local cooperative: two datasets, the model trained on them, two third-party models, a
 * provider that serves all three, and a developer's account with one API key. Does nothing when that is there already.
 */
export async function seed(options: SeedOptions): Promise<Seeded> {
  const record = join(options.dir, 'seed.json')
  const known = readRecord(record, options.world.contracts.InferenceEscrow ?? '')
  await using world = new World(options.world)
  const operator = await world.person('operator', options.keys.operator.key)
  const seeded = known ?? (await plant(world, options))
  if (!known) {
    writeFileSync(`${record}.tmp`, `${JSON.stringify(seeded, null, 2)}\n`, { mode: 0o600 })
    renameSync(`${record}.tmp`, record)
  }
  options.onProgress('waiting for the provider to load the models')
  await untilServed(operator, Object.values(seeded.modelIds), { provider: operator.address, timeoutMs: 90_000 })
  return seeded
}

async function plant(world: World, { keys, onProgress }: SeedOptions): Promise<Seeded> {
  onProgress('registering two datasets with their terms')
  const operator = await world.person('Local provider', keys.operator.key)
  const [ada, ben, author, curator, developer] = await Promise.all(
    ['Ada', 'Ben', 'Granary examples', 'Granary examples curator', 'developer'].map((name) => world.person(name)),
  )
  if (!ada || !ben || !author || !curator || !developer) throw new TypeError('people are missing')
  await world.giveGas([operator])
  const [first, second] = spamShards()
  if (!first || !second) throw new TypeError('the corpus has two shards')
  const now = await world.timestamp()
  const contributions = [
    await contribute(world, { owner: ada, shard: first, terms: openTerms(now) }),
    await contribute(world, { owner: ben, shard: second, terms: strictTerms(now) }),
  ]
  onProgress('training the spam classifier on them')
  const spam = await trainAndRegister(world, { author, contributions, authorPpm: 100_000 })
  onProgress('registering two third-party models')
  const models = [spam, ...(await registerThirdParty(world, curator))]
  onProgress('staking as a provider and offering the models')
  await world.giveDollars(operator, 100n * DOLLAR)
  const prices = [400n, 200n, 1500n]
  await openProvider(world, {
    operator,
    sessionKey: keys.session.address,
    encryptionKey: x25519PublicKey(getBytes(keys.sealing.key)),
    stake: 100n * DOLLAR,
    offers: models.map(({ modelId, model }, index) => ({
      modelId,
      unit: model.manifest.unit,
      unitPrice: prices[index] ?? 1000n,
    })),
  })
  // Advances of x402 refunds.
  await world.giveDollars({ name: 'collector', address: keys.collector.address }, DOLLAR)
  onProgress("depositing a developer's test dollars and making an API key")
  await world.giveDollars(developer, 100n * DOLLAR)
  const { accountId } = await developer.granary.account.deposit(100n * DOLLAR)
  const { apiKey, key } = await developer.granary.account.createApiKey({
    cap: 100n * DOLLAR,
    lifeSeconds: 10 * 365 * 24 * 3600,
    label: 'seeded',
  })
  await untilFunded(world, accountId, key)
  return {
    escrow: world.options.contracts.InferenceEscrow ?? '',
    apiKey,
    modelIds: Object.fromEntries(models.map(({ name, modelId }) => [name, modelId])),
  }
}

async function untilFunded(world: World, accountId: string, key: string): Promise<void> {
  await until(
    'the deposit and the key to be on chain',
    async () => {
      const balance = await world.read<{ deposit: bigint }>('InferenceEscrow', 'balance', accountId)
      const granted = await world.read<{ cap: bigint }>('InferenceEscrow', 'key', accountId, key)
      return balance.deposit > 0n && granted.cap > 0n
    },
    30_000,
  )
}

function readRecord(path: string, escrow: string): Seeded | null {
  if (!existsSync(path)) return null
  const seeded = JSON.parse(readFileSync(path, 'utf8')) as Seeded
  return seeded.escrow === escrow ? seeded : null
}

/** The two curl lines that `npm start` shows and local.json records. */
export function curlLines(gatewayUrl: string, { apiKey }: Seeded): { tryIt: string; unpaidTry: string } {
  const body = JSON.stringify({ model: 'spam-classifier', inputs: { text: curlText } })
  const common = `${gatewayUrl}/v1/infer -H 'content-type: application/json'`
  return {
    tryIt: `curl -sS --fail-with-body ${common} -H 'authorization: Bearer ${apiKey}' -d '${body}'`,
    unpaidTry: `curl -sS -i ${common} -d '${body}'`,
  }
}
