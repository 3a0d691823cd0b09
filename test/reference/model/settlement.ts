import { type Account, accountOf, collectorFeeOf, type Named } from './accounts.ts'
import { type Authority, type Cooperative, epochAt, increase, MILLION, type Refusal } from './cooperative.ts'
import { entitleLane } from './dust.ts'

export interface Lane {
  modelId: string
  provider: string
  purpose: number
  lastServedAt: number
}

export interface Row {
  account: Named
  /** The payer, or a granted key. */
  key: string
  from: bigint
  ceiling: bigint
  /** Whether the voucher's signature is the key's, over this account and this ceiling. */
  signed: boolean
  parts: { lane: number; amount: bigint }[]
}

export interface Batch {
  collector: string
  batchId: string
  lanes: Lane[]
  rows: Row[]
  receiptsRoot: string
}

export type Skip = 'Stale' | 'Unsigned' | 'OverCeiling' | 'OverCap' | 'Unfunded' | 'KeyEnded' | 'LaneRefused'

export interface Settled {
  refusals: Refusal[]
  /** All that is wrong with each row that was skipped. */
  skipped: Map<number, Skip[]>
  refusedLanes: number[]
}

const NOBODY = `0x${'0'.repeat(40)}`
const ZERO_HASH = `0x${'0'.repeat(64)}`
const MAX_LANES = 64

/** A bad row changes nothing but itself, a refused lane takes nothing, an executed batch is over. */
export function settle(cooperative: Cooperative, batch: Batch, { by, deadline }: Authority): Settled {
  const settled: Settled = { refusals: [], skipped: new Map(), refusedLanes: [] }
  const { collector, lanes, rows, receiptsRoot } = batch
  if (by !== collector) settled.refusals.push(deadline === undefined ? 'EscrowNotCollector' : 'EscrowSignatureInvalid')
  const name = batchKey(batch)
  if (cooperative.batches.has(name)) return settled
  if (receiptsRoot === ZERO_HASH) settled.refusals.push('EscrowReceiptsRootMissing')
  if (lanes.length > MAX_LANES) settled.refusals.push('EscrowBatchTooLarge')
  if (rows.some(({ parts }) => parts.some(({ lane }) => lane >= lanes.length))) settled.refusals.push('EscrowLaneUnknown')
  if (settled.refusals.length > 0) return settled

  cooperative.batches.set(name, receiptsRoot)
  const open = lanes.map((lane) => isCreditable(cooperative, lane))
  settled.refusedLanes = open.flatMap((isOpen, lane) => (isOpen ? [] : [lane]))
  const grosses = lanes.map(() => 0n)
  for (const [index, row] of rows.entries()) {
    const parts = row.parts.filter(({ lane }) => open[lane])
    const sum = parts.reduce((total, { amount }) => total + amount, 0n)
    const skips = whySkip(cooperative, row, sum)
    if (skips.length > 0) settled.skipped.set(index, skips)
    else charge(accountOf(cooperative, row.account), row.key, sum)
    for (const { lane, amount } of skips.length > 0 ? [] : parts) grosses[lane] = (grosses[lane] ?? 0n) + amount
  }
  for (const [index, lane] of lanes.entries()) splitLane(cooperative, { collector, lane, gross: grosses[index] ?? 0n })
  return settled
}

export function batchKey({ collector, batchId }: Pick<Batch, 'collector' | 'batchId'>): string {
  return `${collector} ${batchId}`
}

/** Served neither in the future, nor too long ago, nor at or after the model's stored end; and by somebody. */
function isCreditable({ models, rules, now }: Cooperative, { modelId, provider, purpose, lastServedAt }: Lane): boolean {
  const end = models.get(modelId)?.storedEnds.get(purpose) ?? 0
  const inTime = lastServedAt <= now && now - lastServedAt <= rules.maxSettlementSeconds
  return inTime && lastServedAt < end && provider !== NOBODY
}

/** `sum` is of the parts that can be credited: the others stay the payer's and must fit nothing. */
function whySkip(cooperative: Cooperative, row: Row, sum: bigint): Skip[] {
  const account = accountOf(cooperative, row.account)
  const own = row.key === row.account.payer
  const key = account.keys.get(row.key)
  const skips: Skip[] = []
  if (sum === 0n) skips.push('LaneRefused')
  if (row.from !== (own ? account.ownSpent : (key?.spent ?? 0n))) skips.push('Stale')
  if (!row.signed) skips.push('Unsigned')
  if (row.from + sum > row.ceiling) skips.push('OverCeiling')
  if (!own && row.from + sum > (key?.cap ?? 0n)) skips.push('OverCap')
  if (account.charged + sum > account.deposit) skips.push('Unfunded')
  if (!own && cooperative.now > collectableUntil(account, row.key)) skips.push('KeyEnded')
  return skips
}

/** A key's vouchers settle for one thaw after acceptance ended; for a key without a grant there is nothing to settle. */
function collectableUntil({ keys, thawSeconds }: Account, address: string): number {
  const key = keys.get(address)
  if (key === undefined || key.notAfter === 0) return 0
  return Math.min(key.notAfter, key.revokedAt === 0 ? key.notAfter : key.revokedAt) + thawSeconds
}

function charge(account: Account, address: string, sum: bigint): void {
  account.charged += sum
  const key = account.keys.get(address)
  if (address === account.payer) account.ownSpent += sum
  else if (key !== undefined) key.spent += sum
}

/** Fees and royalties round down, the provider takes the rest; one credit to the model's income stands for all payees. */
function splitLane(cooperative: Cooperative, { collector, lane, gross }: { collector: string; lane: Lane; gross: bigint }): void {
  const model = cooperative.models.get(lane.modelId)
  if (gross === 0n || model === undefined) return
  const { credits, income, treasury, protocolFeePpm, rules, now } = cooperative
  const collectorFeePpm = collectorFeeOf(cooperative, collector)
  const protocolFee = partOf(gross, protocolFeePpm)
  const collectorFee = partOf(gross, collectorFeePpm)
  const royalties = partOf(gross, model.payeesPpm)
  const rest = gross - protocolFee - collectorFee - royalties
  increase(credits, treasury, protocolFee)
  increase(credits, collector, collectorFee)
  increase(credits, lane.provider, rest)
  const epoch = epochAt(rules, now)
  increase(income, `${model.id} ${epoch}`, royalties)
  cooperative.unpaidIncome += royalties
  entitleLane(cooperative.exact, {
    ...{ gross, model, epoch, rest, protocolFee, collectorFee, protocolFeePpm, collectorFeePpm },
    ...{ treasury, collector, provider: lane.provider },
  })
}

function partOf(gross: bigint, ppm: number): bigint {
  return (gross * BigInt(ppm)) / MILLION
}
