import { type Authority, type Cooperative, DAY, epochAt, NEVER, notTheActOf, type Refusal } from './cooperative.ts'

export interface Terms {
  validFrom: number
  validUntil: number
  purposes: number
  prohibitions: number
  flags: number
  noticeSeconds: number
  royaltyPpm: number
  withdrawal: 'stop' | 'sunset' | 'keep-trained'
  sunsetSeconds: number
  retrainSeconds: number
  floorPrice: bigint
  jurisdictions: bigint
}

export const PERSONAL = 1
export const DERIVATIVES_ALLOWED = 2

export interface Dataset {
  id: string
  owner: string
  recovery: string | null
  isPool: boolean
  termsHash: string
  terms: Terms
  registeredAt: number
  endsAt: number
  withdrawn: boolean
  purposes: number
  jurisdictions: bigint
  /** When the notice of a removed purpose is over. */
  removedPurposes: Map<number, number>
  tables: Table[]
  left: Map<string, number>
  /** When each exit was proven, in order. */
  exits: { account: string; at: number }[]
}

export interface Table {
  root: string
  totalShares: bigint
  fromEpoch: number
  digest: string
  lines: Line[]
}

/** What the published data of a table says; a root stands for exactly these lines. */
export interface Line {
  account: string
  shares: bigint
}

const ZERO_HASH = `0x${'0'.repeat(64)}`
const MAX_LEAD_EPOCHS = 1000
const MAX_NOTICE_SECONDS = 30 * DAY
const MAX_PERIOD_SECONDS = 3650 * DAY
const MAX_ROYALTY_PPM = 500_000
const DATASET = { sender: 'DatasetNotOwner', signature: 'DatasetSignatureInvalid', expired: 'DatasetSignatureExpired' }

/** The fields of terms that nobody could keep, or that could be read in two ways. */
export function faultsOf(terms: Terms): (keyof Terms)[] {
  const faults: (keyof Terms)[] = []
  const sunset = terms.withdrawal === 'sunset'
  if (terms.validUntil <= terms.validFrom) faults.push('validUntil')
  if ((terms.purposes & ~terms.prohibitions) === 0) faults.push('purposes')
  if (terms.flags > 7) faults.push('flags')
  if (terms.noticeSeconds > ((terms.flags & PERSONAL) === 0 ? MAX_NOTICE_SECONDS : 0)) faults.push('noticeSeconds')
  if (terms.royaltyPpm > MAX_ROYALTY_PPM) faults.push('royaltyPpm')
  if (sunset ? terms.sunsetSeconds === 0 || terms.sunsetSeconds > MAX_PERIOD_SECONDS : terms.sunsetSeconds > 0)
    faults.push('sunsetSeconds')
  if (terms.retrainSeconds > MAX_PERIOD_SECONDS) faults.push('retrainSeconds')
  if (terms.jurisdictions === 0n) faults.push('jurisdictions')
  return faults
}

/** Stored once by hash; again is a no-op. */
export function storeTerms({ terms: stored }: Cooperative, { hash, terms }: { hash: string; terms: Terms }): Refusal[] {
  if (faultsOf(terms).length > 0) return ['DatasetTermsInvalid']
  stored.set(hash, terms)
  return []
}

export interface DatasetOffer {
  id: string
  owner: string
  recovery: string | null
  isPool: boolean
  termsHash: string
}

export function registerDataset({ datasets, terms, now }: Cooperative, offer: DatasetOffer, authority: Authority): Refusal[] {
  const refusals = notTheActOf(offer.owner, authority, { ...DATASET, now })
  const offered = terms.get(offer.termsHash)
  if (offered === undefined) refusals.push('DatasetTermsUnknown')
  if (offered !== undefined && now >= offered.validUntil) refusals.push('DatasetEnded')
  if (datasets.has(offer.id)) refusals.push('DatasetExists')
  if (refusals.length > 0 || offered === undefined) return refusals
  datasets.set(offer.id, {
    ...offer,
    ...{ terms: offered, registeredAt: now, endsAt: offered.validUntil, withdrawn: false },
    // A prohibition beats a permission.
    ...{ purposes: (offered.purposes & ~offered.prohibitions) >>> 0, jurisdictions: offered.jurisdictions },
    ...{ removedPurposes: new Map(), tables: [], left: new Map(), exits: [] },
  })
  return []
}

export interface Narrowing {
  removePurposes: number
  removeJurisdictions: bigint
  endsAt: number
}

/** Only removes. Purposes end for models after the notice, an end is never sooner than the notice, places go at once. */
export function narrow(
  { datasets, now }: Cooperative,
  { datasetId, narrowing }: { datasetId: string; narrowing: Narrowing },
  authority: Authority,
): Refusal[] {
  const dataset = datasets.get(datasetId)
  const refusals = notTheActOf(dataset?.owner ?? null, authority, { ...DATASET, now })
  if (dataset === undefined) return [...refusals, 'DatasetUnknown']
  if (now >= dataset.endsAt) refusals.push('DatasetEnded')
  const removed = (dataset.purposes & narrowing.removePurposes) >>> 0
  const places = dataset.jurisdictions & narrowing.removeJurisdictions
  const afterNotice = later(now, dataset.terms.noticeSeconds)
  const endsAt = narrowing.endsAt === 0 ? dataset.endsAt : Math.min(dataset.endsAt, Math.max(narrowing.endsAt, afterNotice))
  if (removed === 0 && places === 0n && endsAt === dataset.endsAt) refusals.push('DatasetNothingNarrowed')
  if (refusals.length > 0) return refusals
  for (const purpose of purposesIn(removed)) dataset.removedPurposes.set(purpose, afterNotice)
  dataset.purposes = (dataset.purposes & ~removed) >>> 0
  dataset.jurisdictions &= ~places
  dataset.endsAt = endsAt
  return []
}

/** Of the owner or the recovery address; `named` is whose signature it is said to be. A repeat changes nothing. */
export function withdraw(
  { datasets, now }: Cooperative,
  { datasetId, named }: { datasetId: string; named: string },
  { by }: Authority,
): Refusal[] {
  const dataset = datasets.get(datasetId)
  const refusals = by === named ? [] : ['DatasetSignatureInvalid']
  if (dataset === undefined) return [...refusals, 'DatasetUnknown']
  if (named !== dataset.owner && named !== dataset.recovery) refusals.push('DatasetNotOwner')
  if (refusals.length > 0) return refusals
  if (!dataset.withdrawn) dataset.endsAt = Math.min(dataset.endsAt, later(now, dataset.terms.noticeSeconds))
  dataset.withdrawn = true
  return []
}

export function announce({ datasets, rules, now }: Cooperative, poolId: string, table: Table, { by }: Authority): Refusal[] {
  const pool = datasets.get(poolId)
  if (pool === undefined) return ['DatasetUnknown']
  const refusals: Refusal[] = []
  if (by !== pool.owner) refusals.push('DatasetNotOwner')
  if (!pool.isPool) refusals.push('DatasetNotPool')
  if (table.root === ZERO_HASH || table.totalShares === 0n || table.digest === ZERO_HASH) refusals.push('DatasetTableInvalid')
  const epoch = epochAt(rules, now)
  if (table.fromEpoch <= epoch || table.fromEpoch > epoch + MAX_LEAD_EPOCHS) refusals.push('DatasetTableEpochInvalid')
  if (table.fromEpoch <= (pool.tables.at(-1)?.fromEpoch ?? -1)) refusals.push('DatasetTableTaken')
  if (refusals.length === 0) pool.tables.push(table)
  return refusals
}

/** Needs no proof and never fails for a pool. */
export function leavePool(
  { datasets, now }: Cooperative,
  { poolId, account }: { poolId: string; account: string },
  { by }: Authority,
): Refusal[] {
  const pool = datasets.get(poolId)
  const refusals = by === account ? [] : ['DatasetSignatureInvalid']
  if (pool === undefined) return [...refusals, 'DatasetUnknown']
  if (!pool.isPool) refusals.push('DatasetNotPool')
  if (refusals.length === 0 && !pool.left.has(account)) pool.left.set(account, now)
  return refusals
}

/** Starts the retrain clock; what proves nothing changes nothing. `shares` is what a true proof in that table shows, or null. */
export function proveExit(
  { datasets, now }: Cooperative,
  { poolId, account, shares }: { poolId: string; account: string; shares: bigint | null },
): Refusal[] {
  const pool = datasets.get(poolId)
  if (pool === undefined) return ['DatasetUnknown']
  if (!pool.isPool) return ['DatasetNotPool']
  const known = pool.exits.some((exit) => exit.account === account)
  if (shares !== null && pool.left.has(account) && !known) pool.exits.push({ account, at: now })
  return []
}

export function tableIn(pool: Dataset, epoch: number): Table | undefined {
  return pool.tables.findLast(({ fromEpoch }) => fromEpoch <= epoch)
}

export function permitsTraining({ rules, now }: Cooperative, dataset: Dataset | undefined): boolean {
  if (dataset === undefined || now < dataset.terms.validFrom || now >= dataset.endsAt) return false
  return !dataset.isPool || tableIn(dataset, epochAt(rules, now)) !== undefined
}

/** When a model whose lineage the dataset entered at `trainedAt` must stop serving the purpose; 0 = never permitted. */
export function serveEnd(dataset: Dataset, purpose: number, trainedAt: number): number {
  const { terms } = dataset
  if (purpose > 31 || (((terms.purposes & ~terms.prohibitions) >>> purpose) & 1) === 0) return 0
  const consentEnd = Math.min(dataset.endsAt, dataset.removedPurposes.get(purpose) ?? NEVER)
  const policyEnd = { stop: consentEnd, sunset: later(consentEnd, terms.sunsetSeconds), 'keep-trained': NEVER }[terms.withdrawal]
  const exit = dataset.exits.find(({ at }) => at > trainedAt)
  return exit === undefined ? policyEnd : Math.min(policyEnd, later(exit.at, terms.retrainSeconds))
}

export function purposesIn(mask: number): number[] {
  return Array.from({ length: 32 }, (_, purpose) => purpose).filter((purpose) => ((mask >>> purpose) & 1) === 1)
}

function later(at: number, seconds: number): number {
  return Math.min(NEVER, at + seconds)
}
