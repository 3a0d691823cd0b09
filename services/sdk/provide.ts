import type { Context } from './granary.ts'

/** Chapter 4, the provider's side: stake and offers; a provider pays its own gas. */
export class Provide {
  readonly #context: Context

  constructor(context: Context) {
    this.#context = context
  }

  /** Registers the operator, approves and stakes. */
  async register(options: { sessionKey: string; encryptionKey: string; name: string; stake: bigint }): Promise<void> {
    const contracts = this.#context.contracts()
    const registry = this.#context.facts.contracts.ProviderRegistry
    await contracts.send('ProviderRegistry', 'register', [options.sessionKey, options.encryptionKey, options.name])
    await contracts.send('Token', 'approve', [registry, options.stake])
    await contracts.send('ProviderRegistry', 'stake', [options.stake])
  }

  async offer(options: { modelId: string; unit: number; unitPrice: bigint }): Promise<void> {
    await this.#context.contracts().send('ProviderRegistry', 'setOffer', [options.modelId, options.unit, options.unitPrice])
  }

  async endOffer(modelId: string): Promise<void> {
    await this.#context.contracts().send('ProviderRegistry', 'endOffer', [modelId])
  }
}
