import { Signature } from 'ethers'
import type { ChainEvent, TransactionOutcome } from './chain-records.ts'
import { GranaryError } from './errors.ts'
import { receiptsRoot } from './merkle.ts'
import { shareOf } from './money.ts'
import { encodeRows, type Row } from './rows.ts'
import type { BatchDraft, BatchOutcome } from './settlement-ledger.ts'

/** Chapter 5: what a batch is on chain, how a lane's gross is split, and what became of a batch. */

export interface Rates {
  protocolPpm: bigint
  collectorPpm: bigint
  /** All payees of the model together. */
  payeesPpm: bigint
}

export interface Split {
  protocolFee: bigint
  collectorFee: bigint
  royalties: bigint
  provider: bigint
}

/** As InferenceEscrow splits a lane: fees and royalties round down, the provider takes the rest; the four add up to `gross`. */
export function splitLane(gross: bigint, { protocolPpm, collectorPpm, payeesPpm }: Rates): Split {
  const protocolFee = shareOf(gross, protocolPpm)
  const collectorFee = shareOf(gross, collectorPpm)
  const royalties = shareOf(gross, payeesPpm)
  return { protocolFee, collectorFee, royalties, provider: gross - protocolFee - collectorFee - royalties }
}

/** IInferenceEscrow.Batch. */
export interface BatchArgument {
  collector: string
  batchId: string
  lanes: { modelId: string; provider: string; purpose: number; lastServedAt: number }[]
  /** Bytes, by encodeRows. */
  rows: string
  receiptsRoot: string
}

export function toBatchArgument(draft: BatchDraft): BatchArgument {
  return { ...chargesOf(draft), receiptsRoot: receiptsRoot(draft.leaves) }
}

/** The argument but for the root over the receipts, whose tree takes longer than all the rest. */
export function chargesOf({ collector, batchId, lanes, rows }: BatchDraft): Omit<BatchArgument, 'receiptsRoot'> {
  return {
    collector,
    batchId,
    lanes: lanes.map(({ modelId, provider, purpose, lastServedAt }) => ({ modelId, provider, purpose, lastServedAt })),
    rows: encodeRows(rows.map(rowOf)),
  }
}

function rowOf({ config, key, from, voucher, parts }: BatchDraft['rows'][number]): Row {
  return {
    payer: config.payer,
    thawSeconds: config.thawSeconds,
    salt: config.salt,
    key,
    from,
    ceiling: voucher.ceiling,
    usageHead: voucher.usageHead,
    ...compactSignature(voucher.signature),
    parts,
  }
}

/** EIP-2098: the recovery bit moves into the free top bit of s. Takes 65 or 64 bytes; s must be in the lower half order. */
export function compactSignature(signature: string): { r: string; vs: string } {
  try {
    const { r, yParityAndS } = Signature.from(signature)
    return { r, vs: yParityAndS }
  } catch (cause) {
    throw new GranaryError('voucher.forged', 'The signature is malformed.', { cause })
  }
}

/** IInferenceEscrow.Skip, in order. */
export const skipReasons = ['None', 'Stale', 'Unsigned', 'OverCeiling', 'OverCap', 'Unfunded', 'KeyEnded', 'LaneRefused'] as const

/** What became of a batch, from the events of the transaction that executed it; null if this transaction did not. */
export function batchOutcomeOf(batchId: string, transaction: TransactionOutcome): BatchOutcome | null {
  const events = transaction.events.filter(({ contract, args }) => contract === 'InferenceEscrow' && args.batchId === batchId)
  const named = (name: string) => events.filter((event) => event.name === name)
  if (named('BatchSettled').length === 0) return null
  return {
    batchId,
    transaction: transaction.hash,
    block: transaction.block,
    blockHash: transaction.blockHash,
    skippedRows: named('RowSkipped').map(({ args }) => ({
      row: Number(args.row),
      reason: skipReasons[Number(args.reason)] ?? `Unknown${args.reason}`,
    })),
    refusedLanes: named('LaneRefused').map(({ args }) => Number(args.lane)),
    lanes: named('LaneSettled').map(laneOutcomeOf),
  }
}

function laneOutcomeOf({ args }: ChainEvent): BatchOutcome['lanes'][number] {
  const amount = (name: string) => BigInt(String(args[name]))
  return {
    modelId: String(args.modelId),
    provider: String(args.provider),
    gross: amount('gross'),
    protocolFee: amount('protocolFee'),
    collectorFee: amount('collectorFee'),
    royalties: amount('royalties'),
  }
}
