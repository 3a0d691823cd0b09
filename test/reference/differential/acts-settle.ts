import { id, keccak256 } from 'ethers'
import { encodeRows } from '../../../services/core/rows.ts'
import type { AccountConfig } from '../model/accounts.ts'
import { type Batch, type Lane, settle } from '../model/settlement.ts'
import type { Prepared } from './acts.ts'
import { compact } from './people.ts'
import { authorityOf, hashOf, type Signature, type World } from './world.ts'

export interface SettleAct {
  kind: 'settle'
  collector: string
  batchId: string
  lanes: Lane[]
  rows: SignedRow[]
  receiptsRoot: string
  /** The collector's, where the batch is relayed. */
  signature: Signature | null
}

export interface SignedRow {
  payer: string
  thawSeconds: number
  salt: string
  key: string
  from: bigint
  ceiling: bigint
  parts: { lane: number; amount: bigint }[]
  /** Whose signature the voucher bears, and over which ceiling: the row holds only if both are the row's. */
  signer: string
  signedCeiling: bigint
}

const contract = 'InferenceEscrow'
const LANES = 'tuple(bytes32,address,uint8,uint40)[]'
const USAGE_HEAD = id('usage')

export function prepareSettle(world: World, act: SettleAct & { from: string }): Prepared {
  const { collector, batchId, lanes, receiptsRoot, signature, from } = act
  const rows = encodeRows(act.rows.map((row) => ({ ...row, ...voucherOf(world, row, collector), usageHead: USAGE_HEAD })))
  const collectorSignature = signature === null ? '0x' : signBatch(world, { ...act, rows, signature })
  return {
    transaction: {
      contract,
      method: 'settleBatch',
      args: [{ collector, batchId, lanes, rows, receiptsRoot }, collectorSignature],
    },
    perform(coop) {
      // A collector that sends needs no signature, whatever it brings along.
      const authority = authorityOf(from, from === collector ? null : signature)
      const settled = settle(coop, batchOf(world, act), authority)
      return { refusals: settled.refusals, settled }
    },
  }
}

function batchOf(world: World, { collector, batchId, lanes, rows, receiptsRoot }: SettleAct): Batch {
  return {
    ...{ collector, batchId, lanes, receiptsRoot },
    rows: rows.map((row) => ({
      account: world.named(configOf(row, collector)),
      ...{ key: row.key, from: row.from, ceiling: row.ceiling, parts: row.parts },
      signed: row.signer === row.key && row.signedCeiling === row.ceiling,
    })),
  }
}

function voucherOf(world: World, row: SignedRow, collector: string): { r: string; vs: string } {
  const accountId = world.named(configOf(row, collector)).id
  const voucher = { accountId, key: row.key, ceiling: row.signedCeiling, usageHead: USAGE_HEAD }
  return compact(world.sign(row.signer, world.digest(contract, 'Voucher', voucher), false))
}

function configOf({ payer, thawSeconds, salt }: SignedRow, collector: string): AccountConfig {
  return { payer, collector, thawSeconds, salt }
}

function signBatch(
  world: World,
  {
    collector,
    batchId,
    lanes,
    rows,
    receiptsRoot,
    signature,
  }: Omit<SettleAct, 'rows' | 'signature'> & {
    rows: string
    signature: Signature
  },
): string {
  const tuples = lanes.map(({ modelId, provider, purpose, lastServedAt }) => [modelId, provider, purpose, lastServedAt])
  const digest = world.digest(contract, 'SettleBatch', {
    ...{ collector, batchId, lanesHash: hashOf([LANES], [tuples]), rowsHash: keccak256(rows), receiptsRoot },
  })
  return world.sign(signature.by, digest, signature.spoiled)
}
