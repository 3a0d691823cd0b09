import { type ModelOffer, registerModel, suspend, syncModel } from '../model/lineage.ts'
import type { Prepared } from './acts.ts'
import { authorityOf, hashOf, type Signature, type World } from './world.ts'

export type ModelAct =
  | { kind: 'register-model'; offer: OfferedModel; signature: Signature | null }
  | { kind: 'sync'; modelId: string }
  | { kind: 'suspend'; modelId: string; until: number }

export type OfferedModel = Omit<ModelOffer, 'id'>

const contract = 'ModelRegistry'
const REGISTRATION = 'tuple(address,bytes32,bytes32,tuple(bytes32,uint32)[],bytes32[],uint32,uint32,uint32)'

export function modelIdOf(offer: OfferedModel): string {
  return hashOf([REGISTRATION], [registrationOf(offer)])
}

export function prepareModel(world: World, act: ModelAct & { from: string }): Prepared {
  const { from } = act
  switch (act.kind) {
    case 'register-model':
      return prepareRegistration(world, { ...act, from })
    case 'sync':
      return {
        transaction: { contract, method: 'sync', args: [act.modelId] },
        perform: (coop) => ({ refusals: syncModel(coop, act.modelId) }),
      }
    case 'suspend':
      return {
        transaction: { contract, method: 'suspend', args: [act.modelId, act.until] },
        perform: (coop) => ({ refusals: suspend(coop, act, { by: from }) }),
      }
  }
}

function prepareRegistration(
  world: World,
  { offer, signature, from }: Extract<ModelAct, { kind: 'register-model' }> & { from: string },
): Prepared {
  const modelId = modelIdOf(offer)
  const registration = registrationOf(offer)
  const deadline = signature?.deadline ?? 0
  const digest = () => world.digest(contract, 'RegisterModel', { modelId, author: offer.author, deadline })
  const args = signature === null ? [] : [deadline, world.sign(signature.by, digest(), signature.spoiled)]
  return {
    transaction: { contract, method: signature === null ? 'register' : 'registerBySig', args: [registration, ...args] },
    perform: (coop) => ({ refusals: registerModel(coop, { ...offer, id: modelId }, authorityOf(from, signature)) }),
  }
}

function registrationOf(offer: OfferedModel): unknown[] {
  const { author, onnxDigest, manifestDigest, datasets, parents, purposes, authorPpm, derivativePpm } = offer
  const shares = datasets.map(({ datasetId, ppm }) => [datasetId, ppm])
  return [author, onnxDigest, manifestDigest, shares, parents, purposes, authorPpm, derivativePpm]
}
