import { Interface, type InterfaceAbi } from 'ethers'
import { NO_USAGE } from '../core/accounts.ts'
import { GranaryError } from '../core/errors.ts'
import { abi } from '../core/generated/abi.ts'
import { isReceiptIn } from '../core/merkle.ts'
import { digestOf, signerOf } from '../core/messages.ts'
import {
  chargeOf,
  type Escrow,
  headOf,
  type PublishedBatch,
  type PublishedReceipt,
  type RebuiltBatch,
  rebuildBatch,
} from '../core/published-batch.ts'
import { openContracts } from './contracts.ts'

/** An account's receipts as a gateway hands them out, and what names them: a file that can be checked without the gateway. */
export interface ReceiptsFile {
  format: 'granary-receipts/1'
  chainId: string
  contracts: { InferenceEscrow: string; ProviderRegistry: string }
  token: string
  collector: string
  accountId: string
  /** By rising sequence, from the account's first on. */
  receipts: AccountReceipt[]
}

export interface AccountReceipt extends PublishedReceipt {
  key: string
  state: 'COMMITTED' | 'BATCHED' | 'FINAL' | 'VOIDED'
  head: string
  batchId: string | null
  proof: string[] | null
}

/** What the chain says, and nobody else. */
export interface ChainWitness {
  /** Zero where the batch was never executed. */
  batchRoot(collector: string, batchId: string): Promise<string>
  /** What the escrow has charged the account. */
  charged(accountId: string): Promise<bigint>
  operatorOf(sessionKey: string): Promise<string>
}

export interface Audit {
  receipts: number
  settled: bigint
  /** Delivered, and not on the chain yet. */
  pending: bigint
  voided: number
  /** Signers who are no provider's session key now: rotated since, or never one. */
  unknownSigners: string[]
}

/**
 * Holds an account's receipts against the chain: the sequence has no gap, each head is its receipt's hash and the next one's
 * predecessor, each charge is units times price, no job is charged twice, each settled receipt is in the root of a batch that the chain executed,
 * and together they are what the escrow has charged. Throws `receipt.wrong` with the first thing that does not hold.
 */
export async function auditReceipts(file: ReceiptsFile, witness: ChainWitness): Promise<Audit> {
  if (file.format !== 'granary-receipts/1') throw wrong('the file has another format', {})
  const escrow = { chainId: BigInt(file.chainId), address: file.contracts.InferenceEscrow, token: file.token }
  const audit: Audit = { receipts: file.receipts.length, settled: 0n, pending: 0n, voided: 0, unknownSigners: [] }
  const signers = new Map<string, string>()
  const jobs = new Set<string>()
  let previous = NO_USAGE
  for (const [index, receipt] of file.receipts.entries()) {
    checkPlace(receipt, { accountId: file.accountId, sequence: BigInt(index + 1), previous })
    previous = receipt.head
    if (jobs.size === jobs.add(receipt.job.jobId).size) throw wrong('one job is charged twice', { sequence: receipt.sequence })
    signers.set(signerOfJob(receipt, escrow), receipt.job.provider)
    const charged = chargeOf(receipt)
    if (receipt.state === 'VOIDED') audit.voided += 1
    else if (receipt.state === 'FINAL') audit.settled += charged
    else audit.pending += charged
  }
  await checkRoots(file, witness)
  const onChain = await witness.charged(file.accountId)
  // A batch may be on the chain before the gateway has seen it there.
  if (onChain < audit.settled || onChain > audit.settled + audit.pending) {
    throw wrong('the escrow has charged another sum than the receipts add up to', {
      charged: onChain.toString(),
      settled: audit.settled.toString(),
      pending: audit.pending.toString(),
    })
  }
  for (const [signer, provider] of signers) {
    if ((await witness.operatorOf(signer)).toLowerCase() !== provider) audit.unknownSigners.push(signer)
  }
  return audit
}

/** Rebuilds a published batch from its receipts and holds it, byte by byte, against the calldata that settled it. Throws `receipt.wrong`. */
export function auditBatch(bytes: Uint8Array, calldata: string): RebuiltBatch {
  const rebuilt = rebuildBatch(JSON.parse(new TextDecoder().decode(bytes)) as PublishedBatch)
  const escrow = new Interface(abi.InferenceEscrow as unknown as InterfaceAbi)
  const sent = escrow.parseTransaction({ data: calldata })
  // Who relays a batch adds the collector's signature, which is no part of it.
  const signature = sent?.name === 'settleBatch' ? sent.args[1] : '0x'
  if (escrow.encodeFunctionData('settleBatch', [rebuilt.argument, signature]) !== calldata)
    throw wrong('the transaction settled another batch than the receipts make', { batchId: rebuilt.argument.batchId })
  return rebuilt
}

function checkPlace(
  receipt: AccountReceipt,
  { accountId, sequence, previous }: { accountId: string; sequence: bigint; previous: string },
): void {
  const evidence = { sequence: receipt.sequence }
  if (BigInt(receipt.sequence) !== sequence) throw wrong(`receipt ${sequence} is missing`, evidence)
  if (receipt.previousHead !== previous) throw wrong('a receipt does not follow the one before it', evidence)
  if (headOf(receipt, { accountId, key: receipt.key }) !== receipt.head) throw wrong("a receipt's head is not its hash", evidence)
}

function signerOfJob(receipt: AccountReceipt, escrow: Escrow): string {
  const signer = signerOf(digestOf('InferenceEscrow', 'JobReceipt', escrow, { ...receipt.job }), receipt.providerSignature)
  if (!signer) throw wrong('no provider signed a receipt', { sequence: receipt.sequence })
  return signer.toLowerCase()
}

async function checkRoots({ receipts, collector }: ReceiptsFile, witness: ChainWitness): Promise<void> {
  const settled = Map.groupBy(
    receipts.filter(({ state }) => state === 'FINAL'),
    ({ batchId }) => batchId ?? '',
  )
  for (const [batchId, inBatch] of settled) {
    const root = await witness.batchRoot(collector, batchId)
    for (const { head, proof, sequence } of inBatch) {
      if (proof === null || !isReceiptIn(root, head, proof))
        throw wrong('a receipt is said to be settled, but is not in the root of its batch', { sequence, batchId, root })
    }
  }
}

function wrong(why: string, evidence: Record<string, unknown>): GranaryError {
  return new GranaryError('receipt.wrong', `The receipts do not hold: ${why}.`, evidence)
}

/** Asks a node of the reader's own choice. */
export function openWitness(file: ReceiptsFile, rpcUrl: string): ChainWitness {
  const contracts = openContracts({ rpcUrl, chainId: BigInt(file.chainId), addresses: file.contracts, wallet: null })
  return {
    batchRoot: (collector, batchId) => contracts.read<string>('InferenceEscrow', 'batchRoot', [collector, batchId]),
    charged: async (accountId) => (await contracts.read<{ charged: bigint }>('InferenceEscrow', 'balance', [accountId])).charged,
    operatorOf: (sessionKey) => contracts.read<string>('ProviderRegistry', 'operatorOf', [sessionKey]),
  }
}
