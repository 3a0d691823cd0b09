import { keccak256, type Wallet } from 'ethers'
import { GranaryError } from '../../core/errors.ts'
import type { Call, SignedTransaction } from '../../core/ports.ts'
import type { ContractCodec } from './contract-codec.ts'
import type { JsonRpc } from './json-rpc.ts'

const GAS_MARGIN_PERCENT = 25n
const FALLBACK_TIP = 1_000_000_000n

export interface Transactions {
  prepare(call: Call, nonce?: number): Promise<SignedTransaction>
  broadcast(transaction: SignedTransaction): Promise<void>
  /** prepare and broadcast, one at a time, so that two of one sender never take the same nonce. */
  dispatch(call: Call): Promise<SignedTransaction>
}

/** Signs for one sender: gas by estimate and margin, EIP-1559 fees for twice the current base fee, nonces in order. */
export function openTransactions(options: { rpc: JsonRpc; codec: ContractCodec; wallet: Wallet; chainId: bigint }): Transactions {
  const { rpc, codec, wallet, chainId } = options
  let sent: SignedTransaction | null = null
  let turn: Promise<unknown> = Promise.resolve()

  const inTurn = <T>(act: () => Promise<T>): Promise<T> => {
    const result = turn.then(act)
    turn = result.catch(() => undefined)
    return result
  }

  /** A node's count may lag behind what was just sent; one that has forgotten what was sent has lost it, and is right. */
  async function nextNonce(): Promise<number> {
    const counted = Number(await rpc.send('eth_getTransactionCount', [wallet.address, 'pending']))
    if (sent === null || counted > sent.nonce) return counted
    return (await isKnown(rpc, sent.hash)) ? sent.nonce + 1 : counted
  }

  async function estimate(call: Call, to: string, data: string): Promise<bigint> {
    const answer = await rpc.ask('eth_estimateGas', [{ from: wallet.address, to, data }, 'pending'])
    if (answer.ok) return (BigInt(String(answer.result)) * (100n + GAS_MARGIN_PERCENT)) / 100n
    if (answer.refusal.reverted) throw codec.refusal(call, answer.refusal.data, answer.cause)
    throw new GranaryError(
      'chain.unavailable',
      `The chain cannot estimate ${call.contract}.${call.method}: ${answer.refusal.message}`,
      {
        cause: answer.cause,
      },
    )
  }

  async function fees(): Promise<{ maxFeePerGas: bigint; maxPriorityFeePerGas: bigint }> {
    const block = await rpc.send('eth_getBlockByNumber', ['latest', false])
    const baseFee =
      typeof block === 'object' && block !== null && 'baseFeePerGas' in block ? BigInt(String(block.baseFeePerGas)) : 0n
    const tip = await rpc.ask('eth_maxPriorityFeePerGas', [])
    const maxPriorityFeePerGas = tip.ok ? BigInt(String(tip.result)) : FALLBACK_TIP
    return { maxFeePerGas: 2n * baseFee + maxPriorityFeePerGas, maxPriorityFeePerGas }
  }

  async function prepare(call: Call, nonce?: number): Promise<SignedTransaction> {
    const to = codec.addressOf(call.contract)
    const data = codec.encode(call)
    const [gasLimit, fee, balance, chosen] = await Promise.all([
      estimate(call, to, data),
      fees(),
      rpc.send('eth_getBalance', [wallet.address, 'latest']),
      nonce ?? nextNonce(),
    ])
    const required = gasLimit * fee.maxFeePerGas
    if (BigInt(String(balance)) < required) throw unfunded(wallet.address, { required, available: BigInt(String(balance)) })
    const raw = await wallet.signTransaction({ type: 2, chainId, to, data, nonce: chosen, gasLimit, ...fee })
    return { raw, hash: keccak256(raw), nonce: chosen }
  }

  async function broadcast(transaction: SignedTransaction): Promise<void> {
    const answer = await rpc.ask('eth_sendRawTransaction', [transaction.raw])
    if (!answer.ok && !(await isKnown(rpc, transaction.hash))) {
      const { message } = answer.refusal
      if (/insufficient funds/i.test(message)) throw unfunded(wallet.address, {}, answer.cause)
      const error = /nonce/i.test(message) && /low|used/i.test(message) ? 'NonceUsed' : 'TransactionRefused'
      throw new GranaryError('chain.reverted', `The chain refuses transaction ${transaction.hash}: ${message}`, {
        cause: answer.cause,
        contract: null,
        error,
        args: { nonce: transaction.nonce, message },
      })
    }
    sent = transaction
  }

  return {
    prepare: (call, nonce) => inTurn(() => prepare(call, nonce)),
    broadcast: (transaction) => inTurn(() => broadcast(transaction)),
    dispatch: (call) =>
      inTurn(async () => {
        const transaction = await prepare(call)
        await broadcast(transaction)
        return transaction
      }),
  }
}

/** Nodes refuse a transaction that they already hold, each in other words. */
async function isKnown(rpc: JsonRpc, hash: string): Promise<boolean> {
  const answer = await rpc.ask('eth_getTransactionByHash', [hash])
  return answer.ok && answer.result !== null
}

function unfunded(sender: string, facts: { required?: bigint; available?: bigint }, cause?: unknown): GranaryError {
  return new GranaryError('chain.unfunded', `${sender.toLowerCase()} has not enough of the chain's currency to pay for gas.`, {
    cause,
    sender: sender.toLowerCase(),
    ...Object.fromEntries(Object.entries(facts).map(([name, value]) => [name, value.toString()])),
  })
}
