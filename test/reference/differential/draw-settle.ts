import { id } from 'ethers'
import type { Account } from '../model/accounts.ts'
import type { Lane } from '../model/settlement.ts'
import type { SettleAct, SignedRow } from './acts-settle.ts'
import { anyAccount, configOf, drawConfig } from './draw-escrow.ts'
import { anyModel } from './draw-models.ts'
import { COLLECTORS, type Drawn, KEYS, oneOf, PROVIDERS, type Scene, someone } from './scene.ts'

const UNKNOWN = id('unknown')
const ZERO_HASH = `0x${'0'.repeat(64)}`
const NOBODY = `0x${'0'.repeat(40)}`
/** The most that a row can say, of money and of a ceiling. */
const MOST_MONEY = 2n ** 80n - 1n
const MOST_CEILING = 2n ** 128n - 1n
/** More than anybody has. */
const FUNDS = 10n ** 12n

export function drawBatch(scene: Scene): Drawn | null {
  const { random, past, cooperative } = scene
  if (random.chance(0.08)) return drawRepeat(scene)
  const known = anyAccount(scene)
  if ((known === null || cooperative.models.size === 0) && random.chance(0.9)) return null
  const collector = random.chance(0.95) && known !== null ? known.collector : oneOf(scene, COLLECTORS)
  const lanes = Array.from({ length: random.between(1, 3) }, () => drawLane(scene))
  const spent = new Map<string, bigint>()
  const rows = Array.from({ length: random.between(1, 4) }, () => drawRow(scene, { collector, lanes: lanes.length, spent }))
  const batch: SettleAct = {
    kind: 'settle',
    collector,
    batchId: id(`batch ${past.length}`),
    lanes,
    rows,
    ...rootAndSignature(scene, collector),
  }
  const from = batch.signature === null && random.chance(0.985) ? collector : someone(scene)
  return { ...batch, from }
}

function rootAndSignature(scene: Scene, collector: string): Pick<SettleAct, 'receiptsRoot' | 'signature'> {
  const { random } = scene
  const by = random.chance(0.96) ? collector : someone(scene)
  const signature = random.chance(0.3) ? { by, spoiled: random.chance(0.04), deadline: null } : null
  return { receiptsRoot: random.chance(0.02) ? ZERO_HASH : id('receipts'), signature }
}

/** A batch again, as it was or with other rows under its id. */
function drawRepeat({ past, random, cooperative }: Scene): Drawn | null {
  const earlier = past.flatMap((act) => (act.kind === 'settle' && act.receiptsRoot !== ZERO_HASH ? [act] : []))
  const batch = random.any(earlier)
  if (batch === null) return null
  const executed = cooperative.batches.has(`${batch.collector} ${batch.batchId}`)
  const { at: _at, ...again } = batch
  return executed && random.chance(0.3) ? { ...again, rows: again.rows.slice(1), from: batch.collector, signature: null } : again
}

function drawLane(scene: Scene): Lane {
  const { random, cooperative } = scene
  const { now, rules } = cooperative
  const serving = [...cooperative.models.values()].filter(({ storedEnds }) => [...storedEnds.values()].some((end) => end > now))
  const model = serving.length > 0 && random.chance(0.9) ? random.any(serving) : anyModel(scene)
  const purposes = [...(model?.storedEnds ?? [])].filter(([, end]) => end > now || random.chance(0.2))
  const purpose = random.chance(0.96) ? (random.any(purposes)?.[0] ?? 0) : random.pick([0, 1, 2, 3, 31, 32, 255])
  const end = model?.storedEnds.get(purpose) ?? now
  const servedAt = random.weighted([
    [now - random.between(0, 200), 20],
    [now - rules.maxSettlementSeconds + random.between(-1, 1), 1.5],
    [now + random.between(0, 2), 1],
    [Math.min(now, end + random.between(-1, 1)), 2],
  ])
  return {
    modelId: random.chance(0.99) ? (model?.id ?? UNKNOWN) : UNKNOWN,
    provider: random.chance(0.99) ? oneOf(scene, PROVIDERS) : NOBODY,
    ...{ purpose, lastServedAt: Math.max(0, servedAt) },
  }
}

interface RowPlace {
  collector: string
  lanes: number
  /** What earlier rows of the batch are to spend, by account and key. */
  spent: Map<string, bigint>
}

function drawRow(scene: Scene, { collector, lanes, spent }: RowPlace): SignedRow {
  const { random, world } = scene
  const account = random.chance(0.97) ? anyAccount(scene, collector) : null
  const config = account === null ? { ...drawConfig(scene), collector } : configOf(account)
  const key = drawKey(scene, account) ?? config.payer
  const parts = Array.from({ length: random.chance(0.97) ? random.between(1, 3) : 0 }, () => ({
    lane: random.chance(0.995) ? random.below(lanes) : lanes,
    amount: drawAmount(scene),
  }))
  const sum = parts.reduce((total, { amount }) => total + amount, 0n)
  const name = `${world.named(config).id} ${key}`
  const known = key === config.payer ? account?.ownSpent : account?.keys.get(key)?.spent
  const from = spent.get(name) ?? known ?? 0n
  const ceiling = capped(from + sum + BigInt(random.below(1000)))
  const row: SignedRow = {
    ...{ payer: config.payer, thawSeconds: config.thawSeconds, salt: config.salt, key, from, parts },
    ...{ ceiling, signer: key, signedCeiling: ceiling },
  }
  if (random.chance(0.2)) return spoil(scene, row, sum)
  if (sum < FUNDS) spent.set(name, from + sum)
  return row
}

function spoil(scene: Scene, row: SignedRow, sum: bigint): SignedRow {
  const { random } = scene
  const lower = sum > 0n ? capped(row.from + sum) - 1n : 0n
  return random.pick<SignedRow>([
    { ...row, from: row.from + BigInt(random.between(1, 9)) },
    { ...row, from: row.from > 0n ? row.from - 1n : 1n },
    { ...row, signer: someone(scene) },
    { ...row, ceiling: capped(row.ceiling + 1n) },
    { ...row, ceiling: lower, signedCeiling: lower },
    { ...row, thawSeconds: row.thawSeconds + 1 },
  ])
}

/** Null for the payer's own. */
function drawKey(scene: Scene, account: Account | null): string | null {
  const { random, cooperative } = scene
  if (random.chance(0.5)) return null
  const keys = [...(account?.keys ?? [])]
  const good = keys.filter(
    ([, { notAfter, revokedAt }]) => revokedAt === 0 && notAfter + (account?.thawSeconds ?? 0) >= cooperative.now,
  )
  const granted = random.any(good.length > 0 && random.chance(0.8) ? good : keys)
  return granted === null ? (random.chance(0.15) ? oneOf(scene, KEYS) : null) : granted[0]
}

function drawAmount({ random }: Scene): bigint {
  return random.weighted([
    [BigInt(random.between(1, 999)), 6],
    [BigInt(random.between(1000, 60_000)), 6],
    [BigInt(random.between(100_000, 2_000_000)), 1],
    [0n, 0.4],
    [MOST_MONEY, 0.1],
  ])
}

function capped(amount: bigint): bigint {
  return amount > MOST_CEILING ? MOST_CEILING : amount
}
