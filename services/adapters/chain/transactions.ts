import { keccak256, type Wallet } from 'ethers'
import type { Call, SignedTransaction } from '../../core/chain-records.ts'
import { GranaryError } from '../../core/errors.ts'
import type { ContractCodec } from './contract-codec.ts'
import type { JsonRpc } from './json-rpc.ts'

const GAS_MARGIN_PERCENT = 25n
const FALLBACK_TIP = 1_000_000_000n

export interface Transactions {
  estimate(call: Call): Promise<bigint>
  prepare(call: Call, nonce?: number): Promise<SignedTransaction>
  broadcast(transaction: SignedTransaction): Promise<void>
  /** prepare and broadcast, one at a time, so that two of one sender never take the same nonce; `signed` comes in between. */
  dispatch(call: Call, signed?: (transaction: SignedTransaction) => Promise<void>): Promise<SignedTransaction>
}

interface Sender {
  rpc: JsonRpc
  codec: ContractCodec
  wallet: Wallet
  chainId: bigint
}

/** Signs for one sender: gas by estimate and margin, EIP-1559 fees for twice the current base fee, nonces in order. */
export function openTransactions(sender: Sender): Transactions {
  let sent: SignedTransaction | null = null
  let turn: Promise<unknown> = Promise.resolve()

  const inTurn = <T>(act: () => Promise<T>): Promise<T> => {
    const result = turn.then(act)
    turn = result.catch(() => undefined)
    return result
  }
  const prepare = async (call: Call, nonce?: number) => sign(sender, { call, nonce: nonce ?? (await nextNonce(sender, sent)) })
  const broadcast = async (transaction: SignedTransaction) => {
    await send(sender, transaction)
    sent = transaction
  }
  return {
    estimate: (call) => estimate(sender, call),
    prepare: (call, nonce) => inTurn(() => prepare(call, nonce)),
    broadcast: (transaction) => inTurn(() => broadcast(transaction)),
    dispatch: (call, signed) =>
      inTurn(async () => {
        const transaction = await prepare(call)
        await signed?.(transaction)
        await broadcast(transaction)
        return transaction
      }),
  }
}

/** A node's count may lag behind what was just sent; one that has forgotten what was sent has lost it, and is right. */
async function nextNonce({ rpc, wallet }: Sender, sent: SignedTransaction | null): Promise<number> {
  const counted = Number(await rpc.send('eth_getTransactionCount', [wallet.address, 'pending']))
  if (sent === null || counted > sent.nonce) return counted
  return (await isKnown(rpc, sent.hash)) ? sent.nonce + 1 : counted
}

async function sign(sender: Sender, { call, nonce }: { call: Call; nonce: number }): Promise<SignedTransaction> {
  const { rpc, wallet, chainId } = sender
  const request = requestOf(sender, call)
  const [estimated, fees, balance] = await Promise.all([
    estimate(sender, call, request),
    currentFees(rpc),
    rpc.send('eth_getBalance', [wallet.address, 'latest']),
  ])
  const gasLimit = (estimated * (100n + GAS_MARGIN_PERCENT)) / 100n
  const required = gasLimit * fees.maxFeePerGas
  const available = BigInt(String(balance))
  if (available < required) throw unfunded(wallet.address, { required: required.toString(), available: available.toString() })
  const { to, data } = request
  const raw = await wallet.signTransaction({ type: 2, chainId, to, data, nonce, gasLimit, ...fees })
  return { raw, hash: keccak256(raw), nonce }
}

function requestOf({ codec, wallet }: Sender, call: Call) {
  return { from: wallet.address, to: codec.addressOf(call.contract), data: codec.encode(call) }
}

async function estimate(sender: Sender, call: Call, request = requestOf(sender, call)): Promise<bigint> {
  const { rpc, codec } = sender
  const answer = await rpc.ask('eth_estimateGas', [request, 'pending'])
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

async function currentFees(rpc: JsonRpc): Promise<{ maxFeePerGas: bigint; maxPriorityFeePerGas: bigint }> {
  const { baseFee, tip } = await feesNow(rpc)
  return { maxFeePerGas: 2n * baseFee + tip, maxPriorityFeePerGas: tip }
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
  const error = /nonce/i.test(message) && /low|used/i.test(message) ? 'NonceUsed' : 'TransactionRefused'
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
