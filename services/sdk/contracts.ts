import { Contract, FetchRequest, Interface, type InterfaceAbi, JsonRpcProvider, type Signer } from 'ethers'
import { GranaryError } from '../core/errors.ts'
import { abi } from '../core/generated/abi.ts'

/** Direct access to the chain, for those who trust no gateway: reads, and transactions by the caller's own wallet. */
export interface Contracts {
  read<T>(contract: string, method: string, args: readonly unknown[]): Promise<T>
  /** Sends with the wallet, which pays gas, and waits for its block. */
  send(
    contract: string,
    method: string,
    args: readonly unknown[],
  ): Promise<{ transaction: string; block: number; events: { name: string; args: Record<string, unknown> }[] }>
  /** What a mined transaction told one of our contracts. */
  calldata(contract: string, transaction: string): Promise<string>
  timestamp(): Promise<number>
  /** All events of one name whose indexed arguments are these; null is any. */
  events(
    contract: string,
    filter: { name: string; indexed: readonly unknown[]; fromBlock: number },
  ): Promise<{ transaction: string; args: Record<string, unknown> }[]>
}

const TIMEOUT_MS = 30_000
/** Nodes bound how many blocks they search at once; a range that was refused is searched in halves. */
const MOST_LOG_CALLS = 500

/** Of a node that is not known yet. */
export async function chainIdOf(rpcUrl: string): Promise<bigint> {
  try {
    return BigInt(await openProvider(rpcUrl, 1n).send('eth_chainId', []))
  } catch (cause) {
    throw new GranaryError('chain.unavailable', `The node at ${rpcUrl} does not answer.`, { cause })
  }
}

function openProvider(rpcUrl: string, chainId: bigint): JsonRpcProvider {
  const request = new FetchRequest(rpcUrl)
  request.timeout = TIMEOUT_MS
  return new JsonRpcProvider(request, chainId, { staticNetwork: true, cacheTimeout: -1, pollingInterval: 100 })
}

export function openContracts(options: {
  rpcUrl: string
  chainId: bigint
  addresses: Readonly<Record<string, string>>
  wallet: Signer | null
}): Contracts {
  const { rpcUrl, chainId, addresses, wallet } = options
  const provider = openProvider(rpcUrl, chainId)

  function contract(name: string, runner: Signer | JsonRpcProvider): Contract {
    const address = addresses[name]
    const known = (abi as unknown as Record<string, InterfaceAbi>)[name]
    if (!address || !known) throw new GranaryError('config.invalid', `The deployment has no contract ${name}.`)
    return new Contract(address, known, runner)
  }

  return {
    async read<T>(name: string, method: string, args: readonly unknown[]) {
      try {
        return (await contract(name, provider)
          .getFunction(method)
          .staticCall(...args)) as T
      } catch (cause) {
        throw revertOf(cause, name)
      }
    },
    async send(name, method, args) {
      if (!wallet) throw new GranaryError('config.invalid', 'A wallet is needed to send transactions.')
      try {
        const target = contract(name, wallet.connect(provider))
        const sent = await target.getFunction(method).send(...args)
        const receipt = await sent.wait(1, 60_000)
        if (!receipt)
          throw new GranaryError('chain.unavailable', 'The transaction was not mined in time.', { transaction: sent.hash })
        const events = receipt.logs.flatMap((log) => {
          const parsed = target.interface.parseLog(log)
          return parsed ? [{ name: parsed.name, args: parsed.args.toObject() as Record<string, unknown> }] : []
        })
        return { transaction: receipt.hash, block: receipt.blockNumber, events }
      } catch (cause) {
        throw revertOf(cause, name)
      }
    },
    async calldata(name, transaction) {
      const found = await provider.getTransaction(transaction)
      if (found?.blockNumber != null && found.to?.toLowerCase() === addresses[name]?.toLowerCase()) return found.data
      throw new GranaryError('chain.reverted', `There is no mined transaction ${transaction} to ${name}.`, { transaction })
    },
    async timestamp() {
      const block = await provider.getBlock('latest')
      if (!block) throw new GranaryError('chain.unavailable', 'The chain has no block.')
      return block.timestamp
    },
    async events(name, filter) {
      try {
        return await eventsIn(contract(name, provider), provider, filter)
      } catch (cause) {
        throw revertOf(cause, name)
      }
    },
  }
}

async function eventsIn(
  target: Contract,
  provider: JsonRpcProvider,
  { name, indexed, fromBlock }: { name: string; indexed: readonly unknown[]; fromBlock: number },
): Promise<{ transaction: string; args: Record<string, unknown> }[]> {
  const topics = target.interface.encodeFilterTopics(name, [...indexed])
  const ranges = [{ from: fromBlock, to: await provider.getBlockNumber() }]
  const found: { transaction: string; args: Record<string, unknown> }[] = []
  for (let calls = 0; ranges.length > 0; calls++) {
    const { from, to } = ranges.pop() ?? { from: 0, to: 0 }
    try {
      const logs = await provider.getLogs({ address: await target.getAddress(), topics, fromBlock: from, toBlock: to })
      for (const log of logs)
        found.push({ transaction: log.transactionHash, args: target.interface.parseLog(log)?.args.toObject() ?? {} })
    } catch (cause) {
      if (from >= to || calls >= MOST_LOG_CALLS) throw cause
      const middle = Math.floor((from + to) / 2)
      ranges.push({ from: middle + 1, to }, { from, to: middle })
    }
  }
  return found
}

/** The contract's typed error by name, with its evidence. */
function revertOf(cause: unknown, name: string): GranaryError {
  if (cause instanceof GranaryError) return cause
  const data = (cause as { data?: unknown }).data
  if (typeof data === 'string' && data.length >= 10) {
    for (const known of Object.values(abi)) {
      const parsed = new Interface(known as unknown as InterfaceAbi).parseError(data)
      if (parsed) {
        const args = parsed.args.map((arg) => (typeof arg === 'bigint' ? arg.toString() : arg))
        return new GranaryError('chain.reverted', `${name} refused: ${parsed.name}(${args.join(', ')}).`, {
          cause,
          error: parsed.name,
          args,
        })
      }
    }
  }
  if ((cause as { code?: unknown }).code === 'INSUFFICIENT_FUNDS')
    return new GranaryError('chain.unfunded', 'The wallet can’t pay the gas of this transaction.', { cause })
  return new GranaryError(
    'chain.unavailable',
    `The chain did not answer for ${name}: ${(cause as Error).message?.slice(0, 200)}`,
    { cause },
  )
}
