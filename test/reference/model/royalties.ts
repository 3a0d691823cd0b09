import { type Line, tableIn } from './consent.ts'
import { type Authority, type Cooperative, epochAt, increase, notTheActOf, payOut, type Refusal } from './cooperative.ts'
import type { Model } from './lineage.ts'

export interface Claim {
  payeeId: string
  account: string
  epochs: number[]
  /** What the claim says to hold in a pool's table, and which table its proof is a true one for; null for single payees. */
  share: { line: Line; provenIn: string | null } | null
}

export interface Signed {
  digest: string
  relayer: string
  relayerFee: bigint
  maxRelayerFee: bigint
}

const MAX_EPOCHS = 64
const CLAIM = { sender: 'RoyaltyNotPayee', signature: 'RoyaltySignatureInvalid', expired: 'RoyaltySignatureExpired' }

/** Moves one payee's part of a model's income to its pot; again moves only what is new. */
export function pull(
  cooperative: Cooperative,
  { modelId, index, epochs }: { modelId: string; index: number; epochs: number[] },
): Refusal[] {
  const model = cooperative.models.get(modelId)
  const payee = model?.payees[index]
  const refusals: Refusal[] = []
  if (model === undefined || payee === undefined) refusals.push('RoyaltyPayeeMismatch')
  if (epochs.length > MAX_EPOCHS) refusals.push('RoyaltyEpochsInvalid')
  if (refusals.length > 0 || model === undefined || payee === undefined) return refusals
  for (const epoch of epochs) {
    const name = `${modelId} ${index} ${epoch}`
    const part = allocationOf(cooperative, { model, index, epoch }) - (cooperative.pulled.get(name) ?? 0n)
    increase(cooperative.pulled, name, part)
    increase(cooperative.pots, `${payee.id} ${epoch}`, part)
  }
  return []
}

/** A payee's part of what the model earned for its payees so far, rounded down. */
export function allocationOf(
  { income }: Cooperative,
  { model, index, epoch }: { model: Model; index: number; epoch: number },
): bigint {
  const payee = model.payees[index]
  if (payee === undefined || model.payeesPpm === 0) return 0n
  return ((income.get(`${model.id} ${epoch}`) ?? 0n) * BigInt(payee.ppm)) / BigInt(model.payeesPpm)
}

/** Pays what is due in closed epochs, each by the table in force in it; a relayer's fee comes out of the amount. */
export function claim(
  cooperative: Cooperative,
  claimed: Claim,
  { to, authority, signed }: { to: string; authority: Authority; signed: Signed | null },
): Refusal[] {
  const { rules, now, usedSignatures } = cooperative
  const refusals = notTheActOf(claimed.account, authority, { ...CLAIM, now })
  if (signed !== null && usedSignatures.has(signed.digest)) refusals.push('RoyaltySignatureUsed')
  if (signed !== null && signed.relayerFee > signed.maxRelayerFee) refusals.push('RoyaltyFeeTooHigh')
  refusals.push(...refusalsOfEpochs(claimed.epochs, epochAt(rules, now)), ...refusalsOfPayee(cooperative, claimed))
  const dues = claimed.epochs.map((epoch) => ({ epoch, due: dueIn(cooperative, claimed, epoch) }))
  const amount = dues.reduce((sum, { due }) => sum + due, 0n)
  if (amount === 0n) refusals.push('RoyaltyNothingToClaim')
  if (signed !== null && signed.relayerFee > amount) refusals.push('RoyaltyFeeTooHigh')
  if (refusals.length > 0) return refusals
  for (const { epoch, due } of dues) {
    increase(cooperative.paid, `${claimed.payeeId} ${epoch}`, due)
    increase(cooperative.drawn, `${claimed.payeeId} ${epoch} ${claimed.account}`, due)
  }
  if (signed !== null) usedSignatures.add(signed.digest)
  const fee = signed?.relayerFee ?? 0n
  cooperative.unpaidIncome -= amount
  payOut(cooperative, to, amount - fee)
  if (signed !== null) payOut(cooperative, signed.relayer, fee)
  return []
}

function refusalsOfEpochs(epochs: readonly number[], current: number): Refusal[] {
  const refusals: Refusal[] = []
  const rising = epochs.every((epoch, i) => i === 0 || epoch > (epochs[i - 1] ?? 0))
  if (epochs.length === 0 || epochs.length > MAX_EPOCHS || !rising) refusals.push('RoyaltyEpochsInvalid')
  if (epochs.some((epoch) => epoch >= current)) refusals.push('RoyaltyEpochOpen')
  return refusals
}

function refusalsOfPayee({ datasets, models }: Cooperative, { payeeId, account, epochs, share }: Claim): Refusal[] {
  const dataset = datasets.get(payeeId)
  if (dataset?.isPool) {
    const proven = (epoch: number) => share !== null && share.provenIn === tableIn(dataset, epoch)?.root
    return epochs.every(proven) ? [] : ['RoyaltyProofInvalid']
  }
  // Single owners and authors show no shares: nothing proves those.
  const refusals = share === null ? [] : ['RoyaltyProofInvalid']
  const payee = dataset?.owner ?? models.get(payeeId)?.author
  if (payee === undefined) refusals.push('RoyaltyPayeeUnknown')
  else if (payee !== account) refusals.push('RoyaltyNotPayee')
  return refusals
}

/** The share of the epoch's pot less what was drawn; never more than is left, however many shares a steward gave out. */
export function dueIn(cooperative: Cooperative, { payeeId, account, share }: Claim, epoch: number): bigint {
  const { datasets, pots, paid, drawn } = cooperative
  const pot = pots.get(`${payeeId} ${epoch}`) ?? 0n
  const left = pot - (paid.get(`${payeeId} ${epoch}`) ?? 0n)
  const dataset = datasets.get(payeeId)
  const table = dataset?.isPool ? tableIn(dataset, epoch) : undefined
  if (dataset?.isPool && (table === undefined || share === null)) return 0n
  const part = table === undefined || share === null ? pot : (pot * share.line.shares) / table.totalShares
  const due = part - (drawn.get(`${payeeId} ${epoch} ${account}`) ?? 0n)
  return due < left ? due : left
}
