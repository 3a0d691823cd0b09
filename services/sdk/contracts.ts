import { Contract, Interface, type InterfaceAbi, JsonRpcProvider, type Signer } from 'ethers'
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
}

export function openContracts(options: {
  rpcUrl: string
  chainId: bigint
  addresses: Readonly<Record<string, string>>
  wallet: Signer | null
}): Contracts {
  const { rpcUrl, chainId, addresses, wallet } = options
  const provider = new JsonRpcProvider(rpcUrl, chainId, { staticNetwork: true, cacheTimeout: -1, pollingInterval: 100 })

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
  }
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
  return new GranaryError(
    'chain.unavailable',
    `The chain did not answer for ${name}: ${(cause as Error).message?.slice(0, 200)}`,
    { cause },
  )
}
