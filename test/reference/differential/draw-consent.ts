import { id } from 'ethers'
import type { Dataset, Line, Table, Terms } from '../model/consent.ts'
import { epochAt, NEVER } from '../model/cooperative.ts'
import type { Proof } from './acts-consent.ts'
import { proofOf, rootOf } from './merkle.ts'
import { type Drawn, OWNERS, oneOf, type Scene, signedOrSent, someone } from './scene.ts'

const ANYWHERE = (1n << 256n) - 1n
const ZERO_HASH = `0x${'0'.repeat(64)}`
const UNKNOWN = id('unknown')
const SPOILED: ((terms: Terms) => Partial<Terms>)[] = [
  ({ validFrom }) => ({ validUntil: validFrom }),
  ({ purposes }) => ({ prohibitions: purposes }),
  () => ({ flags: 8 }),
  () => ({ flags: 3, noticeSeconds: 1 }),
  () => ({ royaltyPpm: 500_001 }),
  () => ({ withdrawal: 'stop', sunsetSeconds: 1 }),
  () => ({ withdrawal: 'sunset', sunsetSeconds: 0 }),
  () => ({ retrainSeconds: 3650 * 86_400 + 1 }),
  () => ({ jurisdictions: 0n }),
]

export function drawTerms(scene: Scene): Drawn {
  const { cooperative, random } = scene
  const { now } = cooperative
  const withdrawal = random.pick(['stop', 'stop', 'sunset', 'keep-trained'] as const)
  const personal = random.chance(0.3)
  const terms: Terms = {
    validFrom: random.chance(0.85) ? now - random.between(0, 100) : now + random.between(1, 200),
    validUntil: random.chance(0.5) ? now + random.between(800, 6000) : NEVER - random.below(2),
    purposes: random.pick([0b1111, 0b0111, 0b1011, 0b11, 2 ** 31 + 0b0011]),
    prohibitions: random.pick([0, 0, 0b0100, 0b1000]),
    flags: (personal ? 1 : 0) | (random.chance(0.85) ? 2 : 0) | (random.chance(0.2) ? 4 : 0),
    noticeSeconds: personal ? 0 : random.pick([0, 20, 150, 700]),
    royaltyPpm: random.pick([0, 1, 33_333, 50_000, 123_456]),
    withdrawal,
    sunsetSeconds: withdrawal === 'sunset' ? random.between(1, 1500) : 0,
    retrainSeconds: random.pick([0, 30, 400, 1500]),
    floorPrice: BigInt(random.below(3)),
    jurisdictions: random.chance(0.6) ? ANYWHERE : BigInt(random.between(1, 255)),
  }
  const spoiled = random.chance(0.08) ? random.pick(SPOILED)(terms) : {}
  return { kind: 'store-terms', from: someone(scene), terms: { ...terms, ...spoiled } }
}

export function drawDataset(scene: Scene): Drawn | null {
  const { cooperative, random, past } = scene
  const termsHash = random.chance(0.03) ? UNKNOWN : random.any([...cooperative.terms.keys()])
  if (termsHash === null) return null
  const owner = oneOf(scene, OWNERS)
  const again = random.chance(0.04) ? [...cooperative.datasets.values()].find((dataset) => dataset.owner === owner) : undefined
  const number =
    again === undefined ? past.length : past.findIndex((act) => act.kind === 'register-dataset' && act.offer.owner === owner)
  const offer = {
    ...{ owner, termsHash, isPool: random.chance(0.55), recovery: random.chance(0.5) ? null : someone(scene) },
    ...{ commitment: id(`commitment ${number}`), salt: id('salt') },
  }
  return { kind: 'register-dataset', offer, ...signedOrSent(scene, owner, true) }
}

export function drawNarrowing(scene: Scene): Drawn | null {
  const { random, cooperative } = scene
  const dataset = anyDataset(scene)
  if (dataset === null) return null
  const narrowing = {
    removePurposes: random.chance(0.6) ? 1 << random.below(5) : 0,
    removeJurisdictions: random.chance(0.3) ? 1n << BigInt(random.below(9)) : 0n,
    endsAt: random.chance(0.4) ? cooperative.now + random.between(-50, 1500) : 0,
  }
  return { kind: 'narrow', datasetId: dataset.id, narrowing, ...signedOrSent(scene, dataset.owner, true) }
}

export function drawWithdrawal(scene: Scene): Drawn | null {
  const { random } = scene
  const dataset = anyDataset(scene)
  if (dataset === null) return null
  const named = random.chance(0.35) && dataset.recovery !== null ? dataset.recovery : dataset.owner
  const datasetId = random.chance(0.02) ? UNKNOWN : dataset.id
  const signed = signedOrSent(scene, named, false)
  return { kind: 'withdraw', datasetId, named: random.chance(0.05) ? someone(scene) : named, ...signed }
}

/** Three lines at most; sometimes more shares are given out than there are in all. */
export function drawTable(scene: Scene): Drawn | null {
  const { random, cooperative, world } = scene
  const pool = random.chance(0.03) ? anyDataset(scene) : anyPool(scene)
  if (pool === null) return null
  const members = world.people.slice(random.below(4)).slice(0, random.between(1, 3))
  const lines = members.map(({ address }) => ({ account: address, shares: BigInt(random.between(1, 1000)) }))
  const given = lines.reduce((sum, { shares }) => sum + shares, 0n)
  const fault = random.chance(0.06) ? random.below(3) : -1
  const epoch = epochAt(cooperative.rules, cooperative.now)
  const table: Table = {
    root: fault === 0 ? ZERO_HASH : rootOf(lines),
    totalShares: fault === 1 ? 0n : random.chance(0.8) ? given + BigInt(random.below(3)) : (given + 1n) / 2n,
    fromEpoch:
      epoch +
      random.weighted([
        [1, 12],
        [2, 4],
        [3, 2],
        [0, 1],
        [1001, 0.5],
      ]),
    digest: fault === 2 ? ZERO_HASH : id('table'),
    lines,
  }
  return { kind: 'announce', poolId: pool.id, table, from: random.chance(0.95) ? pool.owner : someone(scene) }
}

export function drawLeaving(scene: Scene): Drawn | null {
  const { random } = scene
  const pool = random.chance(0.04) ? anyDataset(scene) : anyPool(scene)
  if (pool === null) return null
  const staying = pool.tables.flatMap(({ lines }) => lines).filter((line) => !pool.left.has(line.account) || random.chance(0.15))
  const account = random.any(staying)?.account ?? someone(scene)
  return { kind: 'leave-pool', poolId: pool.id, account, ...signedOrSent(scene, account, false) }
}

/** Mostly of somebody who has left and did not show it yet, with a path that is true. */
export function drawProof(scene: Scene): Drawn | null {
  const { random } = scene
  const pool = random.chance(0.03) ? anyDataset(scene) : anyPool(scene)
  if (pool === null) return null
  const tableIndex = random.below(Math.max(1, pool.tables.length))
  const lines = pool.tables[tableIndex]?.lines ?? []
  const unproven = lines.filter(({ account }) => pool.left.has(account) && pool.exits.every((exit) => exit.account !== account))
  if (unproven.length === 0 && random.chance(0.8)) return null
  const line = random.any(unproven.length > 0 && random.chance(0.9) ? unproven : lines)
  if (line === null) return null
  const proof: Proof = { tableIndex, shares: line.shares, path: proofOf(lines, lines.indexOf(line)), proven: true }
  const fault = random.chance(0.15) ? random.below(3) : -1
  if (fault === 0) return prove(scene, { pool, line, proof: { ...proof, shares: line.shares + 1n, proven: false } })
  if (fault === 1) return prove(scene, { pool, line, proof: { ...proof, path: [...proof.path, UNKNOWN], proven: false } })
  if (fault === 2) return prove(scene, { pool, line, proof: { ...proof, tableIndex: pool.tables.length, proven: false } })
  return prove(scene, { pool, line, proof })
}

function prove(scene: Scene, { pool, line, proof }: { pool: Dataset; line: Line; proof: Proof }): Drawn {
  return { kind: 'prove-exit', from: someone(scene), poolId: pool.id, account: line.account, proof }
}

export function anyDataset({ cooperative, random }: Scene): Dataset | null {
  return random.any([...cooperative.datasets.values()])
}

export function anyPool({ cooperative, random }: Scene): Dataset | null {
  return random.any([...cooperative.datasets.values()].filter(({ isPool }) => isPool))
}
