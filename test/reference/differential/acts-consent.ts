import {
  announce,
  type DatasetOffer,
  leavePool,
  type Narrowing,
  narrow,
  proveExit,
  registerDataset,
  storeTerms,
  type Table,
  type Terms,
  withdraw,
} from '../model/consent.ts'
import type { Prepared } from './acts.ts'
import { authorityOf, hashOf, type Signature, termsHashOf, termsTuple, type World } from './world.ts'

export type ConsentAct =
  | { kind: 'store-terms'; terms: Terms }
  | { kind: 'register-dataset'; offer: OfferedDataset; signature: Signature | null }
  | { kind: 'narrow'; datasetId: string; narrowing: Narrowing; signature: Signature | null }
  | { kind: 'withdraw'; datasetId: string; named: string; signature: Signature | null }
  | { kind: 'announce'; poolId: string; table: Table }
  | { kind: 'leave-pool'; poolId: string; account: string; signature: Signature | null }
  | { kind: 'prove-exit'; poolId: string; account: string; proof: Proof }

export type OfferedDataset = Omit<DatasetOffer, 'id'> & { commitment: string; salt: string }

/** `shares` is what is said; `proven` is whether the proof is a true one of just that in the table. */
export interface Proof {
  tableIndex: number
  shares: bigint
  path: string[]
  proven: boolean
}

type Of<K extends ConsentAct['kind']> = Extract<ConsentAct, { kind: K }> & { from: string }

const NOBODY = `0x${'0'.repeat(40)}`
const contract = 'DatasetRegistry'

export function datasetIdOf({ owner, commitment, salt }: OfferedDataset): string {
  return hashOf(['address', 'bytes32', 'bytes32'], [owner, commitment, salt])
}

export function prepareConsent(world: World, act: ConsentAct & { from: string }): Prepared {
  switch (act.kind) {
    case 'store-terms':
      return {
        transaction: { contract, method: 'storeTerms', args: [termsTuple(act.terms)] },
        perform: (coop) => ({ refusals: storeTerms(coop, { hash: termsHashOf(act.terms), terms: act.terms }) }),
      }
    case 'register-dataset':
      return prepareRegistration(world, act)
    case 'narrow':
      return prepareNarrowing(world, act)
    case 'withdraw':
      return prepareWithdrawal(world, act)
    case 'announce':
      return prepareTable(act)
    case 'leave-pool':
      return prepareLeaving(world, act)
    case 'prove-exit':
      return prepareProof(act)
  }
}

function prepareRegistration(world: World, { offer, signature, from }: Of<'register-dataset'>): Prepared {
  const registration = { ...offer, recovery: offer.recovery ?? NOBODY }
  const deadline = signature?.deadline ?? 0
  const digest = () => world.digest(contract, 'RegisterDataset', { ...registration, deadline })
  const transaction =
    signature === null
      ? { contract, method: 'register', args: [registration] }
      : { contract, method: 'registerBySig', args: [registration, deadline, signed(world, signature, digest())] }
  return {
    transaction: transaction as Prepared['transaction'],
    perform: (coop) => ({
      refusals: registerDataset(coop, { ...offer, id: datasetIdOf(offer) }, authorityOf(from, signature)),
    }),
  }
}

function prepareNarrowing(world: World, { datasetId, narrowing, signature, from }: Of<'narrow'>): Prepared {
  const deadline = signature?.deadline ?? 0
  const digest = () => world.digest(contract, 'NarrowDataset', { datasetId, ...narrowing, deadline })
  const args = signature === null ? [] : [deadline, signed(world, signature, digest())]
  return {
    transaction: {
      contract,
      method: signature === null ? 'narrow' : 'narrowBySig',
      args: [datasetId, narrowing, ...args],
    },
    perform: (coop) => ({ refusals: narrow(coop, { datasetId, narrowing }, authorityOf(from, signature)) }),
  }
}

/** Without a signature the sender is who is named. */
function prepareWithdrawal(world: World, { datasetId, named, signature, from }: Of<'withdraw'>): Prepared {
  const args =
    signature === null ? [] : [named, signed(world, signature, world.digest(contract, 'WithdrawDataset', { datasetId }))]
  return {
    transaction: { contract, method: signature === null ? 'withdraw' : 'withdrawBySig', args: [datasetId, ...args] },
    perform: (coop) => ({
      refusals: withdraw(coop, { datasetId, named: signature === null ? from : named }, authorityOf(from, signature)),
    }),
  }
}

function prepareTable({ poolId, table, from }: Of<'announce'>): Prepared {
  const { root, totalShares, fromEpoch, digest: dataDigest } = table
  return {
    transaction: { contract, method: 'announceShareTable', args: [poolId, { root, totalShares, fromEpoch, dataDigest }] },
    perform: (coop) => ({ refusals: announce(coop, poolId, table, { by: from }) }),
  }
}

function prepareLeaving(world: World, { poolId, account, signature, from }: Of<'leave-pool'>): Prepared {
  const digest = () => world.digest(contract, 'WithdrawFromPool', { poolId, account })
  const args = signature === null ? [] : [account, signed(world, signature, digest())]
  return {
    transaction: {
      contract,
      method: signature === null ? 'withdrawFromPool' : 'withdrawFromPoolBySig',
      args: [poolId, ...args],
    },
    perform: (coop) => ({
      refusals: leavePool(coop, { poolId, account: signature === null ? from : account }, authorityOf(from, signature)),
    }),
  }
}

function prepareProof({ poolId, account, proof }: Of<'prove-exit'>): Prepared {
  const { tableIndex, shares, path, proven } = proof
  return {
    transaction: { contract, method: 'proveExit', args: [poolId, account, tableIndex, shares, path] },
    // A history that was shortened may lack the table: then nothing is proven.
    perform: (coop) => {
      const table = coop.datasets.get(poolId)?.tables[tableIndex]
      const line = table?.lines.find((each) => each.account === account && each.shares === shares)
      return { refusals: proveExit(coop, { poolId, account, shares: proven && line ? shares : null }) }
    },
  }
}

function signed(world: World, { by, spoiled }: Signature, digest: string): string {
  return world.sign(by, digest, spoiled)
}
