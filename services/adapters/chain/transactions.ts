import { Transaction, type Wallet } from 'ethers'
import type { Call, SignedTransaction } from '../../core/chain-records.ts'
import { GranaryError } from '../../core/errors.ts'
import type { ContractCodec } from './contract-codec.ts'
import type { JsonRpc } from './json-rpc.ts'
import { signTransaction } from './signed-transaction.ts'

const GAS_MARGIN_PERCENT = 25n
const FALLBACK_TIP = 1_000_000_000n
/** Nodes keep a transaction unless another of its nonce offers a tenth more, in the fee as in the tip. */
const RAISE_DIVISOR = 8n
/** Times that a new transaction offers an eighth more, while its nonce is found taken: up to four times today's fees. */
const MOST_RAISES = 12
/** A node that does not count what it knows for so long does not lag. */
const LAG_MS = 30_000
/** One that offers so much more than today's transactions and is not taken waits for something else than money. */
const MOST_TIMES_TODAYS = 8n
/** Transactions that may have to be sent, or told again; and how many of them are told at a time. */
const KEPT = 256
const MOST_RETOLD = 16

export interface Transactions {
  estimate(call: Call): Promise<bigint>
  prepare(call: Call, replaces?: SignedTransaction): Promise<SignedTransaction>
  broadcast(transaction: SignedTransaction): Promise<void>
  /** prepare and broadcast, one at a time, so that two of one sender never take the same nonce; `signed` comes in between. */
  dispatch(call: Call, signed?: (transaction: SignedTransaction) => Promise<void>): Promise<SignedTransaction>
  /** Sends again, as it is, what was sent here up to this one and no block has: behind a gap that a reorganisation left nothing is mined. */
  retell(transaction: SignedTransaction): Promise<void>
}

interface Sender {
  rpc: JsonRpc
  codec: ContractCodec
  wallet: Wallet
  chainId: bigint
}

/** Signs for one sender: gas by estimate and margin, EIP-1559 fees for twice the current base fee, nonces in order. */
export function openTransactions(sender: Sender, now = () => performance.now()): Transactions {
  // The last that was made and sent here: one that is only told again says nothing of the nonces before it.
  let sent: SignedTransaction | null = null
  const unsent = new Set<string>()
  const kept = new Map<number, SignedTransaction>()
  const nextNonce = openNonces(sender, now)
  let turn: Promise<unknown> = Promise.resolve()

  const inTurn = <T>(act: () => Promise<T>): Promise<T> => {
    const result = turn.then(act)
    turn = result.catch(() => undefined)
    return result
  }
  const prepare = async (call: Call, replaces?: SignedTransaction) => {
    const transaction = await sign(sender, { call, nonce: replaces?.nonce ?? (await nextNonce(sent)), replaces })
    unsent.add(transaction.hash)
    forgetOldest(unsent)
    return transaction
  }
  const broadcast = async (transaction: SignedTransaction) => {
    await send(sender, transaction)
    if (unsent.delete(transaction.hash) && (sent === null || transaction.nonce >= sent.nonce)) sent = transaction
    kept.delete(transaction.nonce)
    kept.set(transaction.nonce, transaction)
    forgetOldest(kept)
  }
  return {
    estimate: (call) => estimate(sender, call),
    prepare: (call, replaces) => inTurn(() => prepare(call, replaces)),
    broadcast: (transaction) => inTurn(() => broadcast(transaction)),
    dispatch: (call, signed) => inTurn(() => dispatch(call, signed)),
    async retell(transaction) {
      const { rpc, wallet } = sender
      const counted = Number(await rpc.send('eth_getTransactionCount', [wallet.address, 'latest']))
      const before = [...kept.values()].filter(({ nonce }) => nonce >= counted && nonce < transaction.nonce)
      const first = before.sort((left, right) => left.nonce - right.nonce).slice(0, MOST_RETOLD)
      for (const { raw } of [...first, transaction]) await rpc.ask('eth_sendRawTransaction', [raw])
    },
  }

  /** A node may hold another transaction of that nonce, which it did not count, as after a reorganisation: then this one offers more. */
  async function dispatch(call: Call, signed?: (transaction: SignedTransaction) => Promise<void>): Promise<SignedTransaction> {
    let refused: SignedTransaction | undefined
    for (let raises = 0; ; raises += 1) {
      const transaction = await prepare(call, refused)
      await signed?.(transaction)
      try {
        await broadcast(transaction)
        return transaction
      } catch (error) {
        const isTaken = error instanceof GranaryError && error.evidence.error === 'NonceTaken'
        if (!isTaken || raises === MOST_RAISES) throw error
        refused = transaction
      }
    }
  }
}

function forgetOldest<Key>(kept: Set<Key> | Map<Key, unknown>): void {
  const [oldest] = kept.keys()
  if (kept.size > KEPT && oldest !== undefined) kept.delete(oldest)
}

/**
 * A node's count may lag behind what was just sent; one that has forgotten what was sent has lost it, and is right. One that
 * knows what was sent and still does not count it misses an earlier one, as after a reorganisation: nothing is mined until that
 * nonce is used again.
 */
function openNonces({ rpc, wallet }: Sender, now: () => number): (sent: SignedTransaction | null) => Promise<number> {
  let stuck: { at: number; since: number } | null = null
  return async (sent) => {
    const counted = Number(await rpc.send('eth_getTransactionCount', [wallet.address, 'pending']))
    if (sent === null || counted > sent.nonce || !(await isKnown(rpc, sent.hash))) {
      stuck = null
      return counted
    }
    if (stuck?.at !== counted) stuck = { at: counted, since: now() }
    if (now() - stuck.since <= LAG_MS) return sent.nonce + 1
    // The next one may be missing as well.
    stuck.at = counted + 1
    return counted
  }
}

interface Signing {
  call: Call
  nonce: number
  replaces: SignedTransaction | undefined
}

async function sign(sender: Sender, { call, nonce, replaces }: Signing): Promise<SignedTransaction> {
  const { rpc, wallet, chainId } = sender
  const request = requestOf(sender, call)
  const [estimated, fees, balance] = await Promise.all([
    // What is replaced would else count as done, and the same call after it mostly takes less gas.
    estimate(sender, call, { request, block: replaces ? 'latest' : 'pending' }),
    replaces ? raisedFees(rpc, replaces) : currentFees(rpc),
    rpc.send('eth_getBalance', [wallet.address, 'latest']),
  ])
  const gasLimit = (estimated * (100n + GAS_MARGIN_PERCENT)) / 100n
  const required = gasLimit * fees.maxFeePerGas
  const available = BigInt(String(balance))
  if (available < required) throw unfunded(wallet.address, { required: required.toString(), available: available.toString() })
  const { to, data } = request
  return signTransaction(wallet, { chainId, to, data, nonce, gasLimit, ...fees })
}

function requestOf({ codec, wallet }: Sender, call: Call) {
  return { from: wallet.address, to: codec.addressOf(call.contract), data: codec.encode(call) }
}

async function estimate(
  sender: Sender,
  call: Call,
  { request = requestOf(sender, call), block = 'pending' }: { request?: object; block?: 'pending' | 'latest' } = {},
): Promise<bigint> {
  const { rpc, codec } = sender
  const answer = await rpc.ask('eth_estimateGas', [request, block])
  if (answer.ok) return BigInt(String(answer.result))
  const { refusal, cause } = answer
  if (refusal.reverted) throw codec.refusal(call, { data: refusal.data, cause })
  const what = `${call.contract}.${call.method}`
  throw new GranaryError('chain.unavailable', `The chain cannot estimate ${what}: ${refusal.message}`, { cause })
}

/** What a transaction pays for a unit of gas in the next block, about. */
export async function currentGasPrice(rpc: JsonRpc): Promise<bigint> {
  const { baseFee, tip } = await feesNow(rpc)
  return baseFee + tip
}

interface Fees {
  maxFeePerGas: bigint
  maxPriorityFeePerGas: bigint
}

async function currentFees(rpc: JsonRpc): Promise<Fees> {
  const { baseFee, tip } = await feesNow(rpc)
  return { maxFeePerGas: 2n * baseFee + tip, maxPriorityFeePerGas: tip }
}

/** Today's, or what nodes take in the place of the other, whichever is more. */
async function raisedFees(rpc: JsonRpc, { raw, hash }: SignedTransaction): Promise<Fees> {
  const [{ maxFeePerGas, maxPriorityFeePerGas }, other] = [await currentFees(rpc), Transaction.from(raw)]
  const raised = (fee: bigint | null) => (fee ?? 0n) + (fee ?? 0n) / RAISE_DIVISOR + 1n
  const [fee, tip] = [raised(other.maxFeePerGas), raised(other.maxPriorityFeePerGas)]
  if (fee > MOST_TIMES_TODAYS * maxFeePerGas)
    throw new GranaryError('chain.unavailable', `Transaction ${hash} offers far more than others, and no block takes it.`, {
      hash,
      maxFeePerGas: String(other.maxFeePerGas),
    })
  return {
    maxFeePerGas: fee > maxFeePerGas ? fee : maxFeePerGas,
    maxPriorityFeePerGas: tip > maxPriorityFeePerGas ? tip : maxPriorityFeePerGas,
  }
}

async function feesNow(rpc: JsonRpc): Promise<{ baseFee: bigint; tip: bigint }> {
  const block = await rpc.send('eth_getBlockByNumber', ['latest', false])
  const isPriced = typeof block === 'object' && block !== null && 'baseFeePerGas' in block
  const baseFee = isPriced ? BigInt(String(block.baseFeePerGas)) : 0n
  const asked = await rpc.ask('eth_maxPriorityFeePerGas', [])
  return { baseFee, tip: asked.ok ? BigInt(String(asked.result)) : FALLBACK_TIP }
}

async function send({ rpc, wallet }: Sender, transaction: SignedTransaction): Promise<void> {
  const answer = await rpc.ask('eth_sendRawTransaction', [transaction.raw])
  if (answer.ok || (await isKnown(rpc, transaction.hash))) return
  const { message } = answer.refusal
  if (/insufficient funds/i.test(message)) throw unfunded(wallet.address, { cause: answer.cause })
  const isTaken = /underpriced|replacement/i.test(message)
  const isUsed = /nonce/i.test(message) && /low|used/i.test(message)
  const error = isTaken ? 'NonceTaken' : isUsed ? 'NonceUsed' : 'TransactionRefused'
  throw new GranaryError('chain.reverted', `The chain refuses transaction ${transaction.hash}: ${message}`, {
    cause: answer.cause,
    contract: null,
    error,
    args: { nonce: transaction.nonce, message },
  })
}

/** Nodes refuse a transaction that they already hold, each in other words. */
async function isKnown(rpc: JsonRpc, hash: string): Promise<boolean> {
  const answer = await rpc.ask('eth_getTransactionByHash', [hash])
  return answer.ok && answer.result !== null
}

function unfunded(address: string, evidence: { cause?: unknown; required?: string; available?: string }): GranaryError {
  const sender = address.toLowerCase()
  return new GranaryError('chain.unfunded', `${sender} has not enough of the chain's currency to pay for gas.`, {
    sender,
    ...evidence,
  })
}
