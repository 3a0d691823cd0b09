import { id } from 'ethers'
import { permitsTraining } from '../model/consent.ts'
import type { Model } from '../model/lineage.ts'
import type { OfferedModel } from './acts-models.ts'
import { AUTHORS, type Drawn, oneOf, type Scene, signedOrSent, someone } from './scene.ts'

const UNKNOWN = id('unknown')
const FULL_MASK = 2 ** 32 - 1

/** Mostly of data that may be used now, and for purposes that it is given for. */
export function drawModel(scene: Scene): Drawn | null {
  const { cooperative, random, past } = scene
  const datasets = [...cooperative.datasets.values()].filter(
    (dataset) => permitsTraining(cooperative, dataset) || random.chance(0.1),
  )
  const models = [...cooperative.models.values()]
  if (datasets.length === 0 && models.length === 0 && random.chance(0.9)) return null
  const chosen = datasets.slice(random.below(2)).slice(0, random.between(1, 3))
  const parents = models.length > 0 && random.chance(0.55) ? models.slice(random.below(2)).slice(0, random.between(1, 2)) : []
  const masks = [...chosen, ...parents].map(({ purposes }) => purposes)
  const inherited = parents.flatMap(({ payees }) =>
    payees.map((payee) => cooperative.datasets.get(payee.id)?.purposes ?? FULL_MASK),
  )
  const granted = [...masks, ...inherited].reduce((all, mask) => (all & mask) >>> 0, FULL_MASK)
  const author = oneOf(scene, AUTHORS)
  const offer: OfferedModel = {
    author,
    onnxDigest: id(`onnx ${past.length}`),
    manifestDigest: id('manifest'),
    datasets: chosen.map((dataset) => ({
      datasetId: dataset.id,
      ppm: Math.max(
        0,
        dataset.terms.royaltyPpm +
          random.weighted([
            [0, 3],
            [7777, 3],
            [100_000, 0.4],
            [-1, 0.15],
          ]),
      ),
    })),
    parents: parents.map((parent) => parent.id),
    purposes: random.chance(0.94) ? granted : (granted | (1 << random.below(6))) >>> 0,
    authorPpm: random.pick([0, 1, 99_999, 200_000]),
    derivativePpm: random.pick([0, 10_001, 50_000]),
  }
  return { kind: 'register-model', offer: spoil(scene, offer), ...signedOrSent(scene, author, true) }
}

function spoil({ random, past }: Scene, offer: OfferedModel): OfferedModel {
  if (random.chance(0.93)) return offer
  const again = random.any(past.flatMap((act) => (act.kind === 'register-model' ? [act.offer] : [])))
  const [dataset] = offer.datasets
  const faults: OfferedModel[] = [
    { ...offer, parents: [...offer.parents, UNKNOWN] },
    { ...offer, parents: [...offer.parents, ...offer.parents] },
    { ...offer, authorPpm: 900_000 },
    { ...offer, datasets: [...offer.datasets, { datasetId: UNKNOWN, ppm: 5 }] },
    ...(dataset === undefined ? [] : [{ ...offer, datasets: [...offer.datasets, dataset] }]),
    ...(again === null ? [] : [again]),
  ]
  return random.pick(faults)
}

export function drawSync(scene: Scene): Drawn | null {
  const model = anyModel(scene)
  if (model === null) return null
  return { kind: 'sync', from: someone(scene), modelId: scene.random.chance(0.03) ? UNKNOWN : model.id }
}

export function drawSuspension(scene: Scene): Drawn | null {
  const { random, cooperative } = scene
  const { timelock, governor } = cooperative.rules
  const model = anyModel(scene)
  if (model === null) return null
  const from = random.weighted([
    [timelock, 4],
    [governor, 3],
    [someone(scene), 1],
  ])
  const until = random.chance(0.25) ? 0 : cooperative.now + random.between(0, 600)
  return { kind: 'suspend', from, modelId: random.chance(0.03) ? UNKNOWN : model.id, until }
}

export function anyModel({ cooperative, random }: Scene): Model | null {
  return random.any([...cooperative.models.values()])
}
