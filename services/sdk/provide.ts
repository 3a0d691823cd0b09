import type { Context } from './context.ts'

/** Chapter 4, the provider's side: stake and offers; a provider pays its own gas. */
export class Provide {
  readonly #context: Context

  constructor(context: Context) {
    this.#context = context
  }

  /** Registers the operator, approves and stakes. */
  async register(options: { sessionKey: string; encryptionKey: string; name: string; stake: bigint }): Promise<string> {
    const contracts = this.#context.contracts()
    const registry = this.#context.facts.contracts.ProviderRegistry
    await contracts.send('ProviderRegistry', 'register', [options.sessionKey, options.encryptionKey, options.name])
    await contracts.send('Token', 'approve', [registry, options.stake])
    return (await contracts.send('ProviderRegistry', 'stake', [options.stake])).transaction
  }

  async offer(options: { modelId: string; unit: number; unitPrice: bigint }): Promise<string> {
    const { modelId, unit, unitPrice } = options
    return (await this.#context.contracts().send('ProviderRegistry', 'setOffer', [modelId, unit, unitPrice])).transaction
  }

  async endOffer(modelId: string): Promise<void> {
    await this.#context.contracts().send('ProviderRegistry', 'endOffer', [modelId])
  }
}
