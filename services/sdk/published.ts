import { accountIdOf } from '../core/accounts.ts'
import { GranaryError } from '../core/errors.ts'
import { chargeOf, isLaneOf, type PublishedBatch, type PublishedReceipt } from '../core/published-batch.ts'
import { auditBatch } from './audit.ts'
import { type Contracts, openContracts } from './contracts.ts'

/** What published batches and the chain say together of one account. */
export interface PublishedAccount {
  accountId: string
  payer: string
  receipts: number
  /** By the receipts in these batches. */
  charged: bigint
  /** By the escrow: more than `charged` where a batch is left out. */
  onChain: bigint
}

export interface PublishedAudit {
  escrow: string
  chainId: string
  batches: { batchId: string; transaction: string; receipts: number }[]
  accounts: PublishedAccount[]
}

/**
 * Holds published batches, wherever they came from, against the transactions that settled them, and sums them up by account:
 * a node is asked, and no gateway. Throws `receipt.wrong` where a batch is not what the chain executed, or is given
 * twice, or charges a job that was charged before.
 */
export async function auditPublished(files: readonly Uint8Array[], { rpcUrl }: { rpcUrl: string }): Promise<PublishedAudit> {
  const parsed = files.map(parse)
  const [first] = parsed
  if (!first) throw new GranaryError('request.malformed', 'Give at least one published batch.')
  const { chainId, escrow, token } = first
  const contracts = openContracts({
    rpcUrl,
    chainId: BigInt(chainId),
    addresses: { InferenceEscrow: escrow },
    wallet: null,
  })
  const batches: PublishedAudit['batches'] = []
  const accounts = new Map<string, PublishedAccount>()
  const jobs = new Set<string>()
  for (const [index, batch] of parsed.entries()) {
    const { batchId, collector } = batch
    if (batch.chainId !== chainId || batch.escrow !== escrow || batches.some((other) => other.batchId === batchId))
      throw new GranaryError('receipt.wrong', 'The batches are not different ones of one escrow.', { batchId })
    const [settled] = await contracts.events('InferenceEscrow', {
      name: 'BatchSettled',
      indexed: [collector, batchId],
      fromBlock: 0,
    })
    if (!settled) throw new GranaryError('receipt.wrong', 'The chain has settled no such batch.', { batchId, collector })
    const calldata = await contracts.calldata('InferenceEscrow', settled.transaction)
    const { heads } = auditBatch(files[index] ?? new Uint8Array(), calldata)
    batches.push({ batchId, transaction: settled.transaction, receipts: heads.length })
    const isCharged = await chargedIn(batch, contracts)
    sum(batch, { accounts, jobs, isCharged, escrow: { chainId: BigInt(chainId), address: escrow, token } })
  }
  for (const account of accounts.values()) {
    const { charged } = await contracts.read<{ charged: bigint }>('InferenceEscrow', 'balance', [account.accountId])
    account.onChain = charged
    if (charged < account.charged)
      throw new GranaryError('receipt.wrong', 'The escrow has charged less than the receipts of its batches say.', {
        accountId: account.accountId,
        receipts: account.charged.toString(),
        onChain: charged.toString(),
      })
  }
  return { escrow, chainId, batches, accounts: [...accounts.values()] }
}

type IsCharged = (receipt: PublishedReceipt, row: number) => boolean

/** Rows that the contract skipped and lanes that it refused were charged to nobody. */
async function chargedIn({ batchId, lanes }: PublishedBatch, contracts: Contracts): Promise<IsCharged> {
  const told = (name: string) => contracts.events('InferenceEscrow', { name, indexed: [batchId], fromBlock: 0 })
  const [skipped, refused] = await Promise.all([told('RowSkipped'), told('LaneRefused')])
  const rows = new Set(skipped.map(({ args }) => Number(args.row)))
  const lost = refused.flatMap(({ args }) => lanes[Number(args.lane)] ?? [])
  return (receipt, row) => !rows.has(row) && !lost.some((lane) => isLaneOf(lane, receipt))
}

function sum(
  { collector, rows }: PublishedBatch,
  {
    accounts,
    jobs,
    isCharged,
    escrow,
  }: {
    accounts: Map<string, PublishedAccount>
    jobs: Set<string>
    isCharged: IsCharged
    escrow: Parameters<typeof accountIdOf>[1]
  },
): void {
  for (const [index, { payer, thawSeconds, salt, receipts }] of rows.entries()) {
    const accountId = accountIdOf({ payer, collector, thawSeconds, salt }, escrow)
    const known = accounts.get(accountId) ?? { accountId, payer, receipts: 0, charged: 0n, onChain: 0n }
    const charged = receipts.filter((receipt) => isCharged(receipt, index))
    for (const { job } of charged) {
      if (jobs.size === jobs.add(job.jobId).size)
        throw new GranaryError('receipt.wrong', 'One job is charged twice.', { accountId, jobId: job.jobId })
    }
    accounts.set(accountId, {
      ...known,
      receipts: known.receipts + charged.length,
      charged: charged.reduce((total, receipt) => total + chargeOf(receipt), known.charged),
    })
  }
}

function parse(bytes: Uint8Array): PublishedBatch {
  let parsed: PublishedBatch
  try {
    parsed = JSON.parse(new TextDecoder().decode(bytes)) as PublishedBatch
  } catch (cause) {
    throw new GranaryError('request.malformed', 'A published batch is JSON.', { cause })
  }
  if (parsed?.format === 'granary-batch/1') return parsed
  throw new GranaryError('request.malformed', 'This is no published batch: it is not of the format granary-batch/1.')
}
