import { type Dataset, permitsTraining, purposesIn, serveEnd, tableIn } from '../model/consent.ts'
import { type Cooperative, epochAt } from '../model/cooperative.ts'
import { type Model, whyUnservable } from '../model/lineage.ts'
import type { Ask, Question } from './questions.ts'

const REASONS = [
  'Servable',
  'UnknownModel',
  'PurposeNotGranted',
  'JurisdictionNotGranted',
  'NotYetValid',
  'ConsentEnded',
  'Suspended',
] as const
const NOBODY = `0x${'0'.repeat(40)}`
const ZERO_HASH = `0x${'0'.repeat(64)}`
/** Granted ones, one that nobody grants, and one beyond the mask. */
const PURPOSES = [0, 1, 2, 3, 5, 31, 40]
const UNGRANTED = 5
const ANY_JURISDICTION = 255

export function consentQuestions(cooperative: Cooperative, ask: Ask): Question[] {
  return [...cooperative.datasets.values()].flatMap((dataset) => [
    ...datasetQuestions(cooperative, dataset, ask),
    ...(dataset.isPool ? poolQuestions(dataset, ask) : []),
  ])
}

function datasetQuestions(cooperative: Cooperative, dataset: Dataset, ask: Ask): Question[] {
  const { id, owner, registeredAt, endsAt, withdrawn, isPool, termsHash, recovery, jurisdictions, purposes } = dataset
  const about = 'DatasetRegistry'
  const stored = [owner, registeredAt, endsAt, withdrawn, isPool, termsHash, recovery ?? NOBODY, jurisdictions, purposes]
  return [
    ask(about, 'dataset', [id], stored),
    ask(about, 'trainEnd', [id], [endsAt]),
    ask(about, 'permitsTraining', [id], [permitsTraining(cooperative, dataset)]),
  ]
}

function poolQuestions(pool: Dataset, ask: Ask): Question[] {
  const about = 'DatasetRegistry'
  return [
    ask(about, 'shareTables', [pool.id], [pool.tables.length]),
    ...[...pool.left].map(([account, at]) => ask(about, 'leftPool', [pool.id, account], [at])),
    // Between exits lie the models that only the later ones end.
    ...pool.exits.flatMap(({ at }) =>
      [at - 1, at].map((time) => ask(about, 'serveEnd', [pool.id, 0, time], [serveEnd(pool, 0, time)])),
    ),
  ]
}

/** Of a model from before every exit, of one from now, and of each that there is. */
function endQuestions({ models, now }: Cooperative, dataset: Dataset, ask: Ask): Question[] {
  const trained = [dataset.registeredAt - 1, now]
  for (const { payees } of models.values()) {
    for (const payee of payees) if (payee.id === dataset.id) trained.push(payee.trainedAt)
  }
  return [...new Set(trained)].flatMap((at) =>
    PURPOSES.map((purpose) => ask('DatasetRegistry', 'serveEnd', [dataset.id, purpose, at], [serveEnd(dataset, purpose, at)])),
  )
}

function tableQuestions({ rules, now }: Cooperative, pool: Dataset, ask: Ask): Question[] {
  const epochs = Array.from({ length: 9 }, (_, i) => epochAt(rules, now) - 5 + i)
  return epochs.map((each) => {
    const table = tableIn(pool, each)
    return ask('DatasetRegistry', 'shareTableAt', [pool.id, each], [table?.root ?? ZERO_HASH, table?.totalShares ?? 0n])
  })
}

/** What the registries work out from what they store. */
export function workedOutQuestions(cooperative: Cooperative, ask: Ask): Question[] {
  return [
    ...[...cooperative.datasets.values()].flatMap((dataset) => [
      ...endQuestions(cooperative, dataset, ask),
      ...(dataset.isPool ? tableQuestions(cooperative, dataset, ask) : []),
    ]),
    ...[...cooperative.models.values()].flatMap((model) => servingQuestions(cooperative, model, ask)),
  ]
}

export function modelQuestions(cooperative: Cooperative, ask: Ask): Question[] {
  return [...cooperative.models.values()].flatMap((model) => storedQuestions(model, ask))
}

function storedQuestions(model: Model, ask: Ask): Question[] {
  const { id, author, registeredAt, suspendedUntil, purposes, payeesPpm, derivativePpm, onnxDigest, manifestDigest } = model
  const about = 'ModelRegistry'
  const stored = [author, registeredAt, suspendedUntil, purposes, payeesPpm, derivativePpm, onnxDigest, manifestDigest]
  const payees = model.payees.flatMap(({ id: payee, ppm, isDataset }) => [payee, ppm, isDataset])
  return [
    ask(about, 'model', [id], stored),
    ask(about, 'payees', [id], [32, model.payees.length, ...payees]),
    ...model.payees.map(({ trainedAt }, index) => ask(about, 'trainedAt', [id, index], [trainedAt])),
    ...[...model.storedEnds.keys(), UNGRANTED].map((purpose) =>
      ask(about, 'settlementTerms', [id, purpose], [model.payeesPpm, model.storedEnds.get(purpose) ?? 0]),
    ),
  ]
}

/** Now, just before and at each end that consent sets, for some purposes and places. */
function servingQuestions(cooperative: Cooperative, model: Model, ask: Ask): Question[] {
  const { now, datasets } = cooperative
  const questions: Question[] = []
  for (const purpose of [...purposesIn(model.purposes).slice(0, 2), 40]) {
    const times = new Set([now, model.suspendedUntil])
    for (const { id, trainedAt } of model.payees) {
      const dataset = datasets.get(id)
      const end = dataset === undefined ? 0 : serveEnd(dataset, purpose, trainedAt)
      for (const at of [end - 1, end, (dataset?.terms.validFrom ?? 0) - 1]) if (at > 0) times.add(at)
    }
    for (const at of times) {
      for (const jurisdiction of [ANY_JURISDICTION, 1]) {
        const use = { modelId: model.id, purpose, jurisdiction, at }
        const reasons = whyUnservable(cooperative, use)
        const answers = reasons.map(({ reason, because }) => [false, REASONS.indexOf(reason), because])
        const servable = [true, 0, ZERO_HASH]
        const args = [model.id, purpose, jurisdiction, at]
        questions.push(ask('ModelRegistry', 'isServable', args, ...(reasons.length === 0 ? [servable] : answers)))
      }
    }
  }
  return questions
}
