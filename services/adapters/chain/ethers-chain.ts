import { setTimeout as delay } from 'node:timers/promises'
import { Wallet } from 'ethers'
import type { Call, ChainEvent, Head, SignedTransaction, TransactionOutcome } from '../../core/chain-records.ts'
import { GranaryError } from '../../core/errors.ts'
import type { Chain } from '../../core/ports.ts'
import type { Log } from '../log.ts'
import type { Deployment } from '../settings.ts'
import { type ContractCodec, openContractCodec, type RpcLog } from './contract-codec.ts'
import { type JsonRpc, openJsonRpc, type RpcAnswer } from './json-rpc.ts'
import { currentGasPrice, openTransactions, type Transactions } from './transactions.ts'

const LOG_RANGE_BLOCKS = 2000
const POLL_MS = 100
/** A node may forget a transaction when it restarts; telling it again costs nothing. */
const REBROADCAST_MS = 5000

export interface EthersChainOptions {
  rpcUrl: string
  deployment: Deployment
  /** Pays gas; without one the adapter only reads. */
  key?: Wallet | string
  /** Of each request. */
  timeoutMs?: number
  log?: Log
}

/** Any EVM JSON-RPC node. Refuses to open (`config.invalid`) on another chain than the deployment's. */
export async function openEthersChain(options: EthersChainOptions): Promise<Chain> {
  const { rpcUrl, deployment, timeoutMs = 10_000, log } = options
  const wallet = typeof options.key === 'string' ? new Wallet(options.key) : options.key
  const rpc = openJsonRpc({ rpcUrl, timeoutMs })
  try {
    const actual = BigInt(String(await rpc.send('eth_chainId', [])))
    if (actual !== deployment.chainId) {
      throw new GranaryError(
        'config.invalid',
        `The chain at the RPC URL is ${actual}, the deployment is on ${deployment.chainId}.`,
        {
          actual: actual.toString(),
          expected: deployment.chainId.toString(),
        },
      )
    }
  } catch (error) {
    rpc.close()
    throw error
  }
  const addresses = lowerCase({ ...deployment.contracts, Token: deployment.token })
  const codec = openContractCodec(addresses)
  const transactions = wallet ? openTransactions({ rpc, codec, wallet, chainId: deployment.chainId }) : null
  return chainOf({ rpc, codec, addresses, transactions, sender: wallet?.address.toLowerCase() ?? null, deployment, log })
}

interface Parts {
  rpc: JsonRpc
  codec: ContractCodec
  addresses: Readonly<Record<string, string>>
  transactions: Transactions | null
  sender: string | null
  deployment: Deployment
  log: Log | undefined
}

function chainOf(parts: Parts): Chain {
  const { rpc, codec, addresses, transactions, sender, deployment, log } = parts
  const signing = (): Transactions => {
    if (!transactions) throw new GranaryError('config.invalid', 'This process has no key to pay gas with.')
    return transactions
  }
  return {
    chainId: deployment.chainId,
    addresses,
    sender,
    async head() {
      const head = headOf(await rpc.send('eth_getBlockByNumber', ['latest', false]))
      if (!head) throw new GranaryError('chain.unavailable', 'The chain has no block yet.')
      return head
    },
    block: async (number) => headOf(await rpc.send('eth_getBlockByNumber', [hex(number), false])),
    events: (fromBlock, toBlock, names) => readEvents(parts, { fromBlock, toBlock, names }),
    async find({ contract, name, args }, fromBlock, toBlock) {
      const filter = { address: codec.addressOf(contract), topics: codec.topicsOf({ contract, name, args }) }
      return eventsOf(codec, await rpc.send('eth_getLogs', [{ ...filter, fromBlock: hex(fromBlock), toBlock: hex(toBlock) }]))
    },
    async callOf(transaction) {
      const found = (await rpc.send('eth_getTransactionByHash', [transaction])) as { to: string | null; input: string } | null
      return found === null ? null : codec.callOf(found.to, found.input)
    },
    read: async (call, block) =>
      viewed(codec, { call, block, answer: await rpc.ask('eth_call', viewOf(codec, { call, block })) }),
    async readAll(calls, block) {
      const answers = await rpc.askAll(
        'eth_call',
        calls.map((call) => viewOf(codec, { call, block })),
      )
      return calls.flatMap((call, index) => {
        const answer = answers[index]
        return answer ? [viewed(codec, { call, block, answer })] : []
      })
    },
    estimate: async (call) => signing().estimate(call),
    prepare: async (call, { replaces } = {}) => signing().prepare(call, replaces),
    broadcast: async (transaction) => signing().broadcast(transaction),
    outcome: (hash) => readOutcome(parts, hash),
    gasPrice: () => currentGasPrice(rpc),
    async submit(call, { confirmations = 1, timeoutMs = 60_000, signed } = {}) {
      const transactions = signing()
      const transaction = await transactions.dispatch(call, signed)
      log?.debug({ event: 'transaction.sent', contract: call.contract, method: call.method, hash: transaction.hash })
      const outcome = await awaitOutcome({ parts, transactions, transaction, confirmations, timeoutMs })
      if (!outcome.succeeded) throw await whyItFailed(parts, call, outcome)
      return outcome
    },
    async [Symbol.asyncDispose]() {
      rpc.close()
    },
  }
}

interface View {
  call: Call
  block: number | undefined
}

function viewOf(codec: ContractCodec, { call, block }: View): unknown[] {
  return [{ to: codec.addressOf(call.contract), data: codec.encode(call) }, block === undefined ? 'latest' : hex(block)]
}

function viewed(codec: ContractCodec, { call, block, answer }: View & { answer: RpcAnswer }): unknown {
  if (answer.ok) return codec.decode(call, String(answer.result))
  const { refusal, cause } = answer
  if (refusal.reverted) throw codec.refusal(call, { data: refusal.data, cause })
  throw new GranaryError('chain.unavailable', `The chain cannot answer ${call.contract}.${call.method}: ${refusal.message}`, {
    cause,
    ...(block === undefined ? {} : { block }),
  })
}

/** The token's own events are left out: on a public chain they are everybody's. */
async function readEvents(
  { rpc, codec, addresses }: Parts,
  { fromBlock, toBlock, names }: { fromBlock: number; toBlock: number; names: readonly string[] | undefined },
): Promise<ChainEvent[]> {
  const ours = Object.entries(addresses).flatMap(([name, address]) => (name === 'Token' ? [] : [address]))
  const wanted = { address: ours, ...(names ? { topics: [codec.firstTopicsOf(names)] } : {}) }
  const events: ChainEvent[] = []
  for (let from = fromBlock; from <= toBlock; from += LOG_RANGE_BLOCKS) {
    const to = Math.min(from + LOG_RANGE_BLOCKS - 1, toBlock)
    events.push(...eventsOf(codec, await rpc.send('eth_getLogs', [{ ...wanted, fromBlock: hex(from), toBlock: hex(to) }])))
  }
  return events.sort((left, right) => left.block - right.block || left.logIndex - right.logIndex)
}

async function readOutcome({ rpc, codec }: Parts, hash: string): Promise<TransactionOutcome | null> {
  const receipt = (await rpc.send('eth_getTransactionReceipt', [hash])) as RpcReceipt | null
  if (receipt === null) return null
  return {
    hash,
    block: Number(receipt.blockNumber),
    blockHash: receipt.blockHash,
    succeeded: BigInt(receipt.status) === 1n,
    gasUsed: BigInt(receipt.gasUsed),
    events: eventsOf(codec, receipt.logs),
  }
}

async function awaitOutcome(wait: {
  parts: Parts
  transactions: Transactions
  transaction: SignedTransaction
  confirmations: number
  timeoutMs: number
}): Promise<TransactionOutcome> {
  const { parts, transactions, transaction, confirmations, timeoutMs } = wait
  const started = performance.now()
  let told = started
  while (performance.now() - started < timeoutMs) {
    const outcome = await readOutcome(parts, transaction.hash).catch(unlessUnavailable)
    if (outcome && (confirmations <= 1 || (await depthOf(parts, outcome)) >= confirmations)) return outcome
    if (!outcome && performance.now() - told > REBROADCAST_MS) {
      told = performance.now()
      await transactions.retell(transaction).catch(unlessUnavailable)
    }
    await delay(POLL_MS)
  }
  throw new GranaryError('chain.unavailable', `Transaction ${transaction.hash} was sent, but its outcome is not known in time.`, {
    hash: transaction.hash,
    nonce: transaction.nonce,
    timeoutMs,
  })
}

async function depthOf({ rpc }: Parts, outcome: TransactionOutcome): Promise<number> {
  const head = await rpc.send('eth_blockNumber', []).catch(unlessUnavailable)
  return head === null ? 0 : Number(head) - outcome.block + 1
}

/** While waiting for a sent transaction, a silent chain is no answer: the wait has its own end. */
function unlessUnavailable(error: unknown): null {
  if (error instanceof GranaryError && error.code === 'chain.unavailable') return null
  throw error
}

/** Calls again on the state after the block: most refusals repeat there with their typed error. */
async function whyItFailed({ rpc, codec, sender }: Parts, call: Call, outcome: TransactionOutcome): Promise<GranaryError> {
  const request = { from: sender, to: codec.addressOf(call.contract), data: codec.encode(call) }
  const answer = await rpc.ask('eth_call', [request, hex(outcome.block)])
  const refusal = codec.refusal(call, answer.ok ? { data: null } : { data: answer.refusal.data, cause: answer.cause })
  const { hash: transaction, gasUsed } = outcome
  return new GranaryError(refusal.code, refusal.message, {
    ...refusal.evidence,
    cause: refusal.cause,
    transaction,
    gasUsed: gasUsed.toString(),
  })
}

interface RpcReceipt {
  blockNumber: string
  blockHash: string
  status: string
  gasUsed: string
  logs: RpcLog[]
}

function eventsOf(codec: ContractCodec, logs: unknown): ChainEvent[] {
  if (!Array.isArray(logs)) throw new GranaryError('chain.unavailable', 'The chain answered eth_getLogs with no list.')
  return logs.flatMap((log: RpcLog) => codec.event(log) ?? [])
}

function headOf(block: unknown): Head | null {
  if (typeof block !== 'object' || block === null) return null
  const { number, hash, parentHash, timestamp } = block as Record<string, unknown>
  return { number: Number(number), hash: String(hash), parentHash: String(parentHash), timestamp: Number(timestamp) }
}

function lowerCase(addresses: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(addresses).map(([name, address]) => [name, address.toLowerCase()]))
}

function hex(number: number): string {
  return `0x${number.toString(16)}`
}
