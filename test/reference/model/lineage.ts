import { DERIVATIVES_ALLOWED, permitsTraining, purposesIn, serveEnd } from './consent.ts'
import { type Authority, type Cooperative, NEVER, notTheActOf, type Refusal } from './cooperative.ts'

export interface ModelOffer {
  id: string
  author: string
  onnxDigest: string
  manifestDigest: string
  datasets: { datasetId: string; ppm: number }[]
  parents: string[]
  purposes: number
  authorPpm: number
  derivativePpm: number
}

export interface Model {
  id: string
  author: string
  onnxDigest: string
  manifestDigest: string
  registeredAt: number
  suspendedUntil: number
  purposes: number
  derivativePpm: number
  payees: Payee[]
  payeesPpm: number
  /** What settlement reads; only a sync lowers it. */
  storedEnds: Map<number, number>
}

export interface Payee {
  id: string
  isDataset: boolean
  ppm: number
  /** When the data entered the lineage; 0 for models. */
  trainedAt: number
}

export type Unservable =
  | 'UnknownModel'
  | 'PurposeNotGranted'
  | 'JurisdictionNotGranted'
  | 'NotYetValid'
  | 'ConsentEnded'
  | 'Suspended'

const MAX_PAYEES = 32
const MAX_ROYALTIES_PPM = 500_000
const MAX_FEES_PPM = 150_000
const ALL_PPM = 1_000_000
const ANYWHERE = (1n << 256n) - 1n
const NOT_STATED = 255
const MODEL = { sender: 'ModelNotAuthor', signature: 'ModelSignatureInvalid', expired: 'ModelSignatureExpired' }

export function registerModel(cooperative: Cooperative, offer: ModelOffer, authority: Authority): Refusal[] {
  const { models, now } = cooperative
  const refusals = notTheActOf(offer.author, authority, { ...MODEL, now })
  if (models.has(offer.id)) refusals.push('ModelExists')
  if (hasTwice(offer.parents) || hasTwice(offer.datasets.map(({ datasetId }) => datasetId))) refusals.push('ModelDuplicateParent')
  if (offer.datasets.length > MAX_PAYEES || offer.parents.length > MAX_PAYEES) refusals.push('ModelTooManyPayees')
  if (offer.parents.some((parent) => !models.has(parent))) refusals.push('ModelUnknown')
  const royalties = flatten(cooperative, offer)
  refusals.push(...refusalsOfConsent(cooperative, offer, royalties))
  const payees = offer.authorPpm === 0 ? royalties : [...royalties, payeeOf(offer.id, offer.authorPpm)]
  if (payees.length > MAX_PAYEES) refusals.push('ModelTooManyPayees')
  const payeesPpm = sumOf(payees)
  if (sumOf(royalties) > MAX_ROYALTIES_PPM || payeesPpm + MAX_FEES_PPM > ALL_PPM) refusals.push('ModelSharesTooHigh')
  if (refusals.length > 0) return refusals
  const { datasets: _datasets, parents: _parents, authorPpm: _authorPpm, ...said } = offer
  const model = { ...said, registeredAt: now, suspendedUntil: 0, payees, payeesPpm }
  const storedEnds = new Map(purposesIn(offer.purposes).map((purpose) => [purpose, liveEnd(cooperative, model, purpose)]))
  models.set(offer.id, { ...model, storedEnds })
  return []
}

/**
 * Its own datasets, then of each parent whom the parent pays, and the parent itself by what it asks of derivatives. Who is
 * reached on several paths is paid once, by the highest share, and counts as trained at the earliest time.
 */
function flatten({ models, now }: Cooperative, { datasets, parents }: ModelOffer): Payee[] {
  const found = new Map<string, Payee>()
  const meet = (payee: Payee) => {
    const known = found.get(payee.id) ?? payee
    const ppm = Math.max(known.ppm, payee.ppm)
    found.set(payee.id, { ...payee, ppm, trainedAt: Math.min(known.trainedAt, payee.trainedAt) })
  }
  for (const { datasetId, ppm } of datasets) meet({ id: datasetId, isDataset: true, ppm, trainedAt: now })
  for (const id of parents) {
    const parent = models.get(id)
    for (const payee of parent?.payees ?? []) if (payee.id !== id) meet(payee)
    if (parent !== undefined && parent.derivativePpm > 0) meet(payeeOf(id, parent.derivativePpm))
  }
  return [...found.values()]
}

function refusalsOfConsent(cooperative: Cooperative, offer: ModelOffer, royalties: readonly Payee[]): Refusal[] {
  const refusals: Refusal[] = []
  const { datasets, models } = cooperative
  const parents = offer.parents.flatMap((id) => models.get(id) ?? [])
  const inherited = parents.flatMap(({ payees }) => payees.filter(({ isDataset }) => isDataset))
  for (const { id } of inherited) {
    const flags = datasets.get(id)?.terms.flags ?? 0
    if ((flags & DERIVATIVES_ALLOWED) === 0) refusals.push('ModelDerivativesNotAllowed')
  }
  for (const { datasetId, ppm } of offer.datasets) {
    if (ppm < (datasets.get(datasetId)?.terms.royaltyPpm ?? 0)) refusals.push('ModelShareTooLow')
  }
  let granted = 2 ** 32 - 1
  for (const { purposes } of parents) granted = (granted & purposes) >>> 0
  for (const { id, isDataset } of royalties) {
    if (!isDataset) continue
    const dataset = datasets.get(id)
    if (!permitsTraining(cooperative, dataset)) refusals.push('ModelTrainingNotPermitted')
    granted = (granted & (dataset?.purposes ?? 0)) >>> 0
  }
  if ((offer.purposes & ~granted) !== 0) refusals.push('ModelPurposesTooWide')
  return refusals
}

/** Lowers the stored ends to what consent says now. */
export function syncModel(cooperative: Cooperative, modelId: string): Refusal[] {
  const model = cooperative.models.get(modelId)
  if (model === undefined) return ['ModelUnknown']
  for (const [purpose, end] of model.storedEnds) {
    model.storedEnds.set(purpose, Math.min(end, liveEnd(cooperative, model, purpose)))
  }
  return []
}

/** The timelock sets a suspension, the governor (for its guardian) only makes one longer. */
export function suspend(
  { models, rules }: Cooperative,
  { modelId, until }: { modelId: string; until: number },
  { by }: Authority,
): Refusal[] {
  const model = models.get(modelId)
  const refusals: Refusal[] = []
  if (by !== rules.timelock && by !== rules.governor) refusals.push('ModelNotGovernance')
  if (model === undefined) return [...refusals, 'ModelUnknown']
  if (refusals.length > 0) return refusals
  model.suspendedUntil = by === rules.timelock ? until : Math.max(until, model.suspendedUntil)
  return []
}

/** When consent ends the model's service of a purpose that it has, as of now. */
export function liveEnd({ datasets }: Cooperative, { payees }: Pick<Model, 'payees'>, purpose: number): number {
  let end = NEVER
  for (const { id, isDataset, trainedAt } of payees) {
    const dataset = isDataset ? datasets.get(id) : undefined
    if (dataset !== undefined) end = Math.min(end, serveEnd(dataset, purpose, trainedAt))
  }
  return end
}

export interface Use {
  modelId: string
  purpose: number
  jurisdiction: number
  at: number
}

/** All that speaks against this use, with the dataset or model it is because of; nothing = it is servable. */
export function whyUnservable(cooperative: Cooperative, use: Use): { reason: Unservable; because: string }[] {
  const { modelId, purpose, jurisdiction, at } = use
  const model = cooperative.models.get(modelId)
  if (model === undefined) return [{ reason: 'UnknownModel', because: modelId }]
  if (!model.storedEnds.has(purpose)) return [{ reason: 'PurposeNotGranted', because: modelId }]
  const places = jurisdiction === NOT_STATED ? ANYWHERE : 1n << BigInt(jurisdiction)
  const reasons: { reason: Unservable; because: string }[] = []
  for (const { id, isDataset, trainedAt } of model.payees) {
    const dataset = isDataset ? cooperative.datasets.get(id) : undefined
    if (dataset === undefined) continue
    if ((dataset.jurisdictions & places) !== places) reasons.push({ reason: 'JurisdictionNotGranted', because: id })
    if (at < dataset.terms.validFrom) reasons.push({ reason: 'NotYetValid', because: id })
    if (at >= serveEnd(dataset, purpose, trainedAt)) reasons.push({ reason: 'ConsentEnded', because: id })
  }
  // Consent is told before a suspension.
  if (reasons.length === 0 && at < model.suspendedUntil) reasons.push({ reason: 'Suspended', because: modelId })
  return reasons
}

function payeeOf(modelId: string, ppm: number): Payee {
  return { id: modelId, isDataset: false, ppm, trainedAt: 0 }
}

function sumOf(payees: readonly Payee[]): number {
  return payees.reduce((sum, { ppm }) => sum + ppm, 0)
}

function hasTwice(ids: readonly string[]): boolean {
  return new Set(ids).size < ids.length
}
