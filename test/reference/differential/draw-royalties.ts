import { id } from 'ethers'
import { type Dataset, tableIn } from '../model/consent.ts'
import { epochAt } from '../model/cooperative.ts'
import { allocationOf } from '../model/royalties.ts'
import type { ClaimedShare, Relay } from './acts-royalties.ts'
import { anyModel } from './draw-models.ts'
import { proofOf } from './merkle.ts'
import { type Drawn, type Scene, someone } from './scene.ts'

const UNKNOWN = id('unknown')

export function drawPull(scene: Scene): Drawn | null {
  const { random, cooperative } = scene
  const earned = [...cooperative.models.values()].filter(({ id: model }) => epochsWith(cooperative.income, model).length > 0)
  const model = random.any(earned) ?? anyModel(scene)
  if (model === null) return null
  const epochs = epochsWith(cooperative.income, model.id)
  const some = random.chance(0.7) ? epochs : epochs.filter(() => random.chance(0.5))
  const index = random.chance(0.97) ? random.below(Math.max(1, model.payees.length)) : model.payees.length
  const fault = random.chance(0.03)
  return {
    ...{ kind: 'pull', from: someone(scene), modelId: random.chance(0.98) ? model.id : UNKNOWN, index },
    epochs: fault ? Array.from({ length: 65 }, (_, i) => i) : random.chance(0.05) ? [...some, ...some] : some,
  }
}

/** Of a payee whose pots hold something, mostly; sometimes of the epoch that is not over, or of anything at all. */
export function drawClaim(scene: Scene): Drawn | null {
  const { random, cooperative } = scene
  const payees = [...new Set([...cooperative.pots.keys()].map((name) => name.split(' ')[0] ?? ''))]
  const everyone = [...cooperative.datasets.keys(), ...cooperative.models.keys()]
  const payeeId = random.chance(0.97) ? (random.any(payees) ?? random.any(everyone)) : UNKNOWN
  if (payeeId === null) return null
  const epochs = epochsOf(scene, payeeId)
  if (epochs.length === 0 && random.chance(0.95)) return null
  const pool = cooperative.datasets.get(payeeId)
  const member = pool?.isPool ? drawShare(scene, pool, epochs) : null
  const owner = pool?.owner ?? cooperative.models.get(payeeId)?.author ?? someone(scene)
  const account = random.chance(0.97) ? (member?.account ?? owner) : someone(scene)
  const share = member?.share ?? (random.chance(0.03) ? { of: account, shares: 1n, path: [], provenIn: null } : null)
  const claimed = { payeeId, account, epochs: member?.epochs ?? epochs, share, to: random.chance(0.7) ? account : someone(scene) }
  return { kind: 'claim', ...claimed, ...senderOf(scene, account) }
}

function senderOf(scene: Scene, account: string): { from: string; relay: Relay | null } {
  const { random, cooperative, past } = scene
  const by = random.chance(0.97) ? account : someone(scene)
  if (random.chance(0.6)) return { from: by, relay: null }
  const maxRelayerFee = BigInt(random.pick([0, 3, 500]))
  const signature = {
    ...{ by, spoiled: random.chance(0.03) },
    deadline: cooperative.now + random.between(random.chance(0.05) ? -30 : 0, 1500),
  }
  const relayerFee = random.chance(0.9) ? (maxRelayerFee * BigInt(random.below(3))) / 2n : maxRelayerFee + 1n
  return { from: someone(scene), relay: { signature, relayerFee, maxRelayerFee, nonce: past.length } }
}

/** Someone who already relayed a claim does it again with the same signature. */
export function drawClaimAgain({ random, past }: Scene): Drawn | null {
  const act = random.any(past.flatMap((each) => (each.kind === 'claim' && each.relay !== null ? [each] : [])))
  if (act === null) return null
  const { at: _at, ...again } = act
  return again
}

function epochsOf({ random, cooperative }: Scene, payeeId: string): number[] {
  const current = epochAt(cooperative.rules, cooperative.now)
  const filled = epochsWith(cooperative.pots, payeeId).filter((epoch) => epoch < current || random.chance(0.1))
  if (payeeId === UNKNOWN) return [current - 1]
  const fault = random.chance(0.06) ? random.below(4) : -1
  if (fault === 0) return []
  if (fault === 1) return [...filled, current].sort((a, b) => a - b)
  if (fault === 2) return [...filled, ...filled]
  if (fault === 3) return Array.from({ length: 65 }, (_, i) => i + 1)
  return random.chance(0.8) ? filled : filled.filter(() => random.chance(0.5))
}

interface Member {
  account: string
  epochs: number[]
  share: ClaimedShare
}

/** A line of the table of one of the epochs; mostly for those epochs only in which that table is in force. */
function drawShare({ random }: Scene, pool: Dataset, epochs: number[]): Member | null {
  const epoch = random.any(epochs)
  const table = epoch === null ? pool.tables[0] : tableIn(pool, epoch)
  const line = random.any(table?.lines ?? [])
  if (table === undefined || line === null) return null
  const mixed = random.chance(0.12)
  const of = epochs.filter((each) => mixed || tableIn(pool, each) === table)
  const path = proofOf(table.lines, table.lines.indexOf(line))
  const fault = random.chance(0.1) ? random.below(2) : -1
  if (fault === 0)
    return { account: line.account, epochs: of, share: { of: line.account, shares: line.shares + 1n, path, provenIn: null } }
  if (fault === 1)
    return {
      account: line.account,
      epochs: of,
      share: { of: line.account, shares: line.shares, path: [...path, UNKNOWN], provenIn: null },
    }
  return { account: line.account, epochs: of, share: { of: line.account, shares: line.shares, path, provenIn: table.root } }
}

/** All that was not yet pulled, then all that was not yet claimed: one act at a time, null once nothing is left. */
export function drawReckoning(scene: Scene): Drawn | null {
  const { cooperative } = scene
  for (const model of cooperative.models.values()) {
    for (const index of model.payees.keys()) {
      const epochs = epochsWith(cooperative.income, model.id).filter(
        (epoch) =>
          allocationOf(cooperative, { model, index, epoch }) > (cooperative.pulled.get(`${model.id} ${index} ${epoch}`) ?? 0n),
      )
      if (epochs.length > 0) return { kind: 'pull', from: someone(scene), modelId: model.id, index, epochs }
    }
  }
  return drawLastClaim(scene)
}

function drawLastClaim(scene: Scene): Drawn | null {
  const { cooperative, past } = scene
  const current = epochAt(cooperative.rules, cooperative.now)
  for (const payeeId of new Set([...cooperative.pots.keys()].map((name) => name.split(' ')[0] ?? ''))) {
    const epochs = epochsWith(cooperative.pots, payeeId).filter((epoch) => epoch < current)
    const dataset = cooperative.datasets.get(payeeId)
    const single = dataset?.owner ?? cooperative.models.get(payeeId)?.author ?? ''
    const tables = dataset?.isPool ? dataset.tables : [null]
    for (const table of tables) {
      const of = epochs.filter((epoch) => table === null || (dataset !== undefined && tableIn(dataset, epoch) === table))
      for (const line of table?.lines ?? [null]) {
        const account = line?.account ?? single
        const done = past.some(
          (act) => act.kind === 'claim' && act.payeeId === payeeId && act.account === account && act.epochs.join() === of.join(),
        )
        if (of.length === 0 || done) continue
        const path = table === null || line === null ? [] : proofOf(table.lines, table.lines.indexOf(line))
        const share =
          table === null || line === null ? null : { of: line.account, shares: line.shares, path, provenIn: table.root }
        return { kind: 'claim', payeeId, account, epochs: of, to: account, share, ...senderOf(scene, account) }
      }
    }
  }
  return null
}

/** In which epochs the books have something under this name, in order. */
function epochsWith(books: Map<string, bigint>, name: string): number[] {
  const epochs: number[] = []
  for (const [key, amount] of books) {
    const [of, epoch] = key.split(' ')
    if (of === name && amount > 0n) epochs.push(Number(epoch))
  }
  return epochs.sort((a, b) => a - b)
}
