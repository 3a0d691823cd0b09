import { readFileSync, writeFileSync } from 'node:fs'
import { auditPublished, auditReceipts, formatDollars, GranaryError, openWitness, type ReceiptsFile } from '../sdk/index.ts'
import { argument, type Command, type Invocation, open, readBytes } from './invocation.ts'

/** Chapter 5, held against the chain: what was paid for, and what the collector has settled. */
export const auditCommands: Record<string, Command> = {
  'account receipts': {
    usage: 'account receipts FILE --key-file F',
    says: 'keeps all receipts of the account in a file',
    async run(invocation) {
      const path = argument(invocation, 0, 'FILE')
      const file = await (await open(invocation)).account.receiptsFile()
      writeFileSync(path, `${JSON.stringify(file, null, 1)}\n`)
      return { lines: [`${file.receipts.length} receipts of account ${file.accountId} in ${path}`], value: file }
    },
  },
  'account verify': {
    usage: 'account verify FILE --rpc URL',
    says: 'holds the receipts of a file against the chain; the gateway is not asked',
    async run(invocation) {
      const rpcUrl = rpcOf(invocation)
      const file = readReceipts(argument(invocation, 0, 'FILE'))
      const audit = await auditReceipts(file, openWitness(file, rpcUrl))
      const unknown = audit.unknownSigners.map((signer) => `signed by ${signer}, which is no provider's session key now`)
      const sums = `settled ${formatDollars(audit.settled)}, pending ${formatDollars(audit.pending)}, voided ${audit.voided}`
      return {
        lines: [`${audit.receipts} receipts hold: ${sums}`, ...unknown],
        value: { ...audit, settled: `${audit.settled}`, pending: `${audit.pending}` },
      }
    },
  },
  'account audit': {
    usage: 'account audit BATCH.json… --rpc URL [--account ID]',
    says: 'holds published batches, as IPFS has them, against the chain, and sums up who paid what; no gateway is asked',
    async run(invocation) {
      argument(invocation, 0, 'BATCH.json')
      const audit = await auditPublished(invocation.args.map(readBytes), { rpcUrl: rpcOf(invocation) })
      const asked = invocation.flags.account
      const accounts = audit.accounts.filter(({ accountId }) => asked === undefined || accountId === String(asked).toLowerCase())
      const batches = audit.batches.map(
        ({ batchId, transaction, receipts }) => `batch ${batchId}: ${receipts} receipts make transaction ${transaction}`,
      )
      const sums = accounts.map(
        ({ accountId, receipts, charged, onChain }) =>
          `account ${accountId}: ${receipts} receipts here for ${formatDollars(charged)}; the escrow has charged ${formatDollars(onChain)}` +
          (onChain === charged ? ', the same' : `: ${formatDollars(onChain - charged)} are in other batches`),
      )
      const lines = [`of escrow ${audit.escrow} on chain ${audit.chainId}`, ...batches, ...sums]
      const value = accounts.map((account) => ({ ...account, charged: `${account.charged}`, onChain: `${account.onChain}` }))
      return { lines, value: { ...audit, accounts: value } }
    },
  },
  'account batch': {
    usage: 'account batch BATCH --rpc URL',
    says: 'rebuilds a settled batch from its receipts and compares it with its transaction',
    async run(invocation) {
      const batch = await (await open(invocation)).account.auditBatch(argument(invocation, 0, 'BATCH'))
      return {
        lines: [`${batch.receipts} receipts make transaction ${batch.transaction}, published as ${batch.cid ?? 'nothing yet'}`],
        value: batch,
      }
    },
  },
}

function rpcOf({ config }: Invocation): string {
  if (config.rpcUrl !== null) return config.rpcUrl
  throw new GranaryError('config.invalid', 'Give --rpc URL: the chain is the witness, not the gateway.')
}

function readReceipts(path: string): ReceiptsFile {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as ReceiptsFile
  } catch (cause) {
    throw new GranaryError('request.malformed', `${path} is no file of receipts.`, { cause })
  }
}
