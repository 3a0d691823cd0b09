import { accountIdOf } from './accounts.ts'
import { GranaryError } from './errors.ts'
import { digestOf, signerOf, structHashOf, type Verifier } from './messages.ts'
import { type BatchArgument, toBatchArgument } from './settlement.ts'
import type { BatchDraft, BatchLane, BatchReceipt, BatchRow, StoredReceipt } from './settlement-ledger.ts'

/**
 * Chapter 5: a settled batch with all its receipts, as the collector publishes it: canonical JSON (RFC 8785), integers
 * beyond 2^53 as decimal strings. Whoever has it rebuilds the transaction's argument byte by byte and needs nobody's word.
 */
export interface PublishedBatch {
  format: 'granary-batch/1'
  chainId: string
  escrow: string
  token: string
  collector: string
  batchId: string
  lanes: BatchLane[]
  rows: PublishedRow[]
}

export interface PublishedRow {
  payer: string
  thawSeconds: number
  salt: string
  key: string
  from: string
  ceiling: string
  usageHead: string
  signature: string
  receipts: PublishedReceipt[]
}

/** A receipt without its account and key, which its row names. */
export interface PublishedReceipt {
  sequence: string
  previousHead: string
  charged: string
  job: PublishedJob
  providerSignature: string
}

/** JobReceipt with `units` and `unitPrice` as decimal strings. */
export interface PublishedJob {
  jobId: string
  modelId: string
  provider: string
  purpose: number
  consentBlock: number
  inputCommitment: string
  outputCommitment: string
  units: string
  unitPrice: string
  servedAt: number
  computeMicros: number
}

export type Escrow = Verifier & { token: string }

/** The address that signed a digest; null for a signature that is none. */
type Recover = (digest: string, signature: string) => string | null

export const MAX_BATCH_BYTES = 32 * 1024 * 1024

export function publishBatch(
  { batchId, collector, lanes, rows }: BatchDraft,
  { receipts, escrow }: { receipts: readonly BatchReceipt[]; escrow: Escrow },
): PublishedBatch {
  const byRequest = new Map(receipts.map((receipt) => [receipt.requestId, receipt]))
  return {
    format: 'granary-batch/1',
    chainId: escrow.chainId.toString(),
    escrow: escrow.address,
    token: escrow.token,
    collector,
    batchId,
    lanes,
    rows: rows.map(({ config, key, from, voucher, requestIds }) => ({
      payer: config.payer,
      thawSeconds: config.thawSeconds,
      salt: config.salt,
      key,
      from: from.toString(),
      ceiling: voucher.ceiling.toString(),
      usageHead: voucher.usageHead,
      signature: voucher.signature,
      receipts: requestIds.map((requestId) => publishReceipt(requestId, byRequest)),
    })),
  }
}

function publishReceipt(requestId: string, byRequest: ReadonlyMap<string, BatchReceipt>): PublishedReceipt {
  const stored = byRequest.get(requestId)
  if (!stored) throw new GranaryError('internal', 'A batch names a request without a receipt.', { requestId })
  const { sequence, previousHead, receipt, providerSignature } = stored
  return {
    sequence: sequence.toString(),
    previousHead,
    charged: (receipt.units * receipt.unitPrice).toString(),
    job: publishedJob(receipt),
    providerSignature,
  }
}

export function publishedJob(receipt: StoredReceipt['receipt']): PublishedJob {
  return { ...receipt, units: receipt.units.toString(), unitPrice: receipt.unitPrice.toString() }
}

/** Canonical, because every object has its keys in their order; sorting them for thousands of receipts takes five times as long. */
export function encodeBatch(batch: PublishedBatch): Uint8Array<ArrayBuffer> {
  const { batchId, chainId, collector, escrow, format, token } = batch
  const lanes = batch.lanes.map(({ lastServedAt, modelId, provider, purpose }) => ({ lastServedAt, modelId, provider, purpose }))
  const rows = batch.rows.map(rowInOrder)
  return new TextEncoder().encode(JSON.stringify({ batchId, chainId, collector, escrow, format, lanes, rows, token }))
}

function rowInOrder(row: PublishedRow): PublishedRow {
  const { ceiling, from, key, payer, salt, signature, thawSeconds, usageHead } = row
  const receipts = row.receipts.map(receiptInOrder)
  return { ceiling, from, key, payer, receipts, salt, signature, thawSeconds, usageHead }
}

function receiptInOrder({ charged, job, previousHead, providerSignature, sequence }: PublishedReceipt): PublishedReceipt {
  const { computeMicros, consentBlock, inputCommitment, jobId, modelId, outputCommitment } = job
  const { provider, purpose, servedAt, unitPrice, units } = job
  const what = { computeMicros, consentBlock, inputCommitment, jobId, modelId, outputCommitment }
  return { charged, job: { ...what, provider, purpose, servedAt, unitPrice, units }, previousHead, providerSignature, sequence }
}

export interface RebuiltBatch {
  argument: BatchArgument
  /** Of all receipts, in order: the leaves of the argument's receiptsRoot. */
  heads: string[]
  /** Who signed for which provider: each must be that provider's session key, as its registry says. */
  signers: { provider: string; signer: string }[]
}

/**
 * Works the argument of settleBatch out of the receipts. Throws `receipt.wrong` where they don't carry what the batch
 * charges: a head that is not its hash, a charge that is not units times price, an account that the row does not name, a
 * lane that no receipt served.
 */
export function rebuildBatch(batch: PublishedBatch, recover: Recover = signerOf): RebuiltBatch {
  const { draft, signers } = rebuild(batch, recover)
  return { argument: toBatchArgument(draft), heads: draft.leaves, signers }
}

/** Without looking who signed: a signature takes longer than all the rest, and the gateway has checked each receipt when it came. */
export function rebuildDraft(batch: PublishedBatch): BatchDraft {
  return rebuild(batch, null).draft
}

function rebuild(batch: PublishedBatch, recover: Recover | null): { draft: BatchDraft; signers: RebuiltBatch['signers'] } {
  if (batch.format !== 'granary-batch/1') throw new GranaryError('receipt.wrong', 'The batch has another format.')
  const escrow = { chainId: BigInt(batch.chainId), address: batch.escrow, token: batch.token }
  const rebuilt: Rebuilding = { batch, escrow, recover, lastServedAt: batch.lanes.map(() => 0), heads: [], signers: new Map() }
  const rows = batch.rows.map((row) => rebuildRow(row, rebuilt))
  for (const [index, lane] of batch.lanes.entries()) {
    if (lane.lastServedAt !== rebuilt.lastServedAt[index])
      throw new GranaryError('receipt.wrong', 'A lane was last served at another time than its receipts say.', { lane: index })
  }
  const { batchId, collector, lanes } = batch
  return { draft: { batchId, collector, lanes, rows, leaves: rebuilt.heads }, signers: [...rebuilt.signers.values()] }
}

/** What the receipts of all rows say together. */
interface Rebuilding {
  batch: PublishedBatch
  escrow: Escrow
  recover: Recover | null
  lastServedAt: number[]
  heads: string[]
  signers: Map<string, RebuiltBatch['signers'][number]>
}

function rebuildRow(row: PublishedRow, rebuilt: Rebuilding): BatchRow {
  const { batch, escrow, recover, lastServedAt, heads, signers } = rebuilt
  const { payer, thawSeconds, salt, key, usageHead, signature } = row
  const config = { payer, collector: batch.collector, thawSeconds, salt }
  const accountId = accountIdOf(config, escrow)
  const parts = new Map<number, bigint>()
  for (const receipt of row.receipts) {
    heads.push(headOf(receipt, { accountId, key }))
    const { provider, servedAt } = receipt.job
    if (recover) {
      const signer = recover(digestOf('InferenceEscrow', 'JobReceipt', escrow, { ...receipt.job }), receipt.providerSignature)
      if (!signer) throw wrong('a provider did not sign it', receipt)
      signers.set(`${provider}:${signer}`, { provider, signer: signer.toLowerCase() })
    }
    const charged = chargeOf(receipt)
    // What cost nothing needs no lane.
    if (charged === 0n) continue
    const lane = batch.lanes.findIndex((candidate) => isLaneOf(candidate, receipt))
    if (lane === -1) throw wrong('no lane of the batch is its', receipt)
    lastServedAt[lane] = Math.max(lastServedAt[lane] ?? 0, servedAt)
    parts.set(lane, (parts.get(lane) ?? 0n) + charged)
  }
  return {
    accountId,
    config,
    key,
    from: BigInt(row.from),
    voucher: { accountId, key, ceiling: BigInt(row.ceiling), usageHead, signature },
    parts: [...parts].map(([lane, amount]) => ({ lane, amount })),
    requestIds: [],
  }
}

/** The receipt's struct hash, which the next receipt of the account names and the batch's root covers. */
export function headOf(receipt: PublishedReceipt, { accountId, key }: { accountId: string; key: string }): string {
  return structHashOf('InferenceEscrow', 'Receipt', {
    jobHash: structHashOf('InferenceEscrow', 'JobReceipt', { ...receipt.job }),
    accountId,
    key,
    sequence: BigInt(receipt.sequence),
    charged: BigInt(receipt.charged),
    previousHead: receipt.previousHead,
  })
}

/** Units times price, and nothing else. */
export function chargeOf(receipt: PublishedReceipt): bigint {
  const charged = BigInt(receipt.charged)
  if (charged !== BigInt(receipt.job.units) * BigInt(receipt.job.unitPrice))
    throw wrong('it does not charge units times price', receipt)
  return charged
}

export function isLaneOf(lane: BatchLane, { job }: PublishedReceipt): boolean {
  return lane.modelId === job.modelId && lane.provider === job.provider && lane.purpose === job.purpose
}

function wrong(why: string, { sequence, job }: PublishedReceipt): GranaryError {
  return new GranaryError('receipt.wrong', `A receipt does not hold: ${why}.`, { sequence, jobId: job.jobId })
}
