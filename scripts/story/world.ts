import { Contract, HDNodeWallet, Interface, type InterfaceAbi, JsonRpcProvider, NonceManager, Wallet } from 'ethers'
import { GranaryError } from '../../services/core/errors.ts'
import { abi } from '../../services/core/generated/abi.ts'
import { Granary } from '../../services/sdk/granary.ts'
import { DEV_ACCOUNT_KEY } from '../local/keys.ts'

export interface WorldOptions {
  gatewayUrl: string
  rpcUrl: string
  chainId: bigint
  /** With Token. */
  contracts: Record<string, string>
}

/** A person with a wallet of their own, acting through the SDK. */
export interface Person {
  name: string
  wallet: Wallet
  address: string
  granary: Granary
}

/**
 * A development chain with people on it: fresh wallets, gas and test dollars from the account that every development chain
 * prefunds. Nothing of this exists on a real chain.
 */
export class World implements AsyncDisposable {
  readonly options: WorldOptions
  readonly provider: JsonRpcProvider
  readonly transactions: { who: string; what: string; transaction: string }[] = []
  readonly #faucet: NonceManager

  constructor(options: WorldOptions) {
    this.options = options
    this.provider = new JsonRpcProvider(options.rpcUrl, options.chainId, {
      staticNetwork: true,
      cacheTimeout: -1,
      pollingInterval: 100,
    })
    this.#faucet = new NonceManager(new Wallet(DEV_ACCOUNT_KEY, this.provider))
  }

  /** Without a key, a wallet nobody has seen before. */
  async person(name: string, key?: string): Promise<Person> {
    const wallet = new Wallet(key ?? HDNodeWallet.createRandom().privateKey)
    const { gatewayUrl, rpcUrl } = this.options
    const granary = await Granary.open({ gatewayUrl, rpcUrl, wallet })
    return { name, wallet, address: wallet.address.toLowerCase(), granary }
  }

  async giveGas(people: readonly { address: string }[], wei = 10n ** 18n): Promise<void> {
    const sent = []
    for (const { address } of people) sent.push(await this.#faucet.sendTransaction({ to: address, value: wei }))
    await Promise.all(sent.map((transaction) => transaction.wait(1, 30_000)))
  }

  /** Test dollars out of nothing: on development chains anyone may mint. */
  async giveDollars(person: { name: string; address: string }, amount: bigint): Promise<void> {
    const token = this.contract('Token').connect(this.#faucet) as Contract
    const sent = await token.getFunction('mint').send(person.address, amount)
    await sent.wait(1, 30_000)
    this.note(person.name, `receives ${amount} base units of test dollars`, sent.hash)
  }

  contract(name: string): Contract {
    const address = this.options.contracts[name]
    const known = (abi as unknown as Record<string, InterfaceAbi>)[name]
    if (!address || !known) throw new GranaryError('config.invalid', `The deployment has no contract ${name}.`)
    return new Contract(address, known, this.provider)
  }

  async read<T>(contract: string, method: string, ...args: unknown[]): Promise<T> {
    return (await this.contract(contract)
      .getFunction(method)
      .staticCall(...args)) as T
  }

  async balanceOf(address: string): Promise<bigint> {
    return this.read<bigint>('Token', 'balanceOf', address)
  }

  /** Events of one contract since a block, decoded, with their transaction. */
  async events(contract: string, event: string, fromBlock: number): Promise<Record<string, unknown>[]> {
    const known = new Interface((abi as unknown as Record<string, InterfaceAbi>)[contract] as InterfaceAbi)
    const topic = known.getEvent(event)?.topicHash
    const logs = await this.provider.getLogs({
      address: this.options.contracts[contract] ?? '',
      fromBlock,
      topics: [topic ?? null],
    })
    return logs.map((log) => ({ ...known.parseLog(log)?.args.toObject(), transaction: log.transactionHash }))
  }

  async blockNumber(): Promise<number> {
    return this.provider.getBlockNumber()
  }

  async timestamp(): Promise<number> {
    return (await this.provider.getBlock('latest'))?.timestamp ?? 0
  }

  note(who: string, what: string, transaction: string): void {
    this.transactions.push({ who, what, transaction })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.provider.destroy()
  }
}

/** Waits for something that another process or the chain brings about; says what it waited for when it never came. */
export async function until(what: string, done: () => Promise<boolean>, timeoutMs: number): Promise<void> {
  const started = performance.now()
  while (performance.now() - started < timeoutMs) {
    if (await done()) return
    await new Promise((resolve) => setTimeout(resolve, 250))
  }
  throw new GranaryError('deadline.exceeded', `Waited ${Math.round(timeoutMs / 1000)} s in vain: ${what}.`)
}
