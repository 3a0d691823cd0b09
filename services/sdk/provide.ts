import { randomBytes } from '@noble/hashes/utils.js'
import { hexlify } from 'ethers'
import { type Context, DEADLINE_SECONDS, type Relayed } from './context.ts'

type OperatorAct = 'RegisterProvider' | 'SetOffer' | 'EndOffer' | 'StartUnstaking' | 'Unstake'

/** Chapter 4, the provider's side: keys, stake and offers, by signature. An operator's acts are numbered: one after the other. */
export class Provide {
  readonly #context: Context

  constructor(context: Context) {
    this.#context = context
  }

  /** Registers the operator, or changes its keys, and stakes unless `stake` is 0; the transaction is the last of the two. */
  async register(options: { sessionKey: string; encryptionKey: string; name: string; stake: bigint }): Promise<string> {
    const { stake, ...keys } = options
    const { operator, deadline, signature } = await this.#signed('RegisterProvider', keys)
    const args = [operator, keys.sessionKey, keys.encryptionKey, keys.name, deadline, signature]
    const { transaction } = await this.#context.relay('ProviderRegistry', 'registerBySig', args)
    return stake === 0n ? transaction : (await this.stake(stake)).transaction
  }

  /** By EIP-3009: whoever relays it, the money can only become this operator's stake. */
  async stake(amount: bigint): Promise<Relayed> {
    const { address, now, relay, sign, verifier } = this.#context
    const from = await address()
    const nonce = hexlify(randomBytes(32))
    const validBefore = (await now()) + DEADLINE_SECONDS
    const to = verifier('ProviderRegistry').address
    const authorization = { from, to, value: amount, validAfter: 0n, validBefore, nonce }
    const signature = await sign('Token', 'ReceiveWithAuthorization', authorization)
    return relay('ProviderRegistry', 'stakeWithAuthorization', [from, amount, 0n, validBefore, nonce, signature])
  }

  async offer(options: { modelId: string; unit: number; unitPrice: bigint }): Promise<string> {
    const { modelId, unit, unitPrice } = options
    const { operator, deadline, signature } = await this.#signed('SetOffer', options)
    const args = [operator, modelId, unit, unitPrice, deadline, signature]
    return (await this.#context.relay('ProviderRegistry', 'setOfferBySig', args)).transaction
  }

  async endOffer(modelId: string): Promise<Relayed> {
    const { operator, deadline, signature } = await this.#signed('EndOffer', { modelId })
    return this.#context.relay('ProviderRegistry', 'endOfferBySig', [operator, modelId, deadline, signature])
  }

  async startUnstaking(amount: bigint): Promise<Relayed> {
    const { operator, deadline, signature } = await this.#signed('StartUnstaking', { amount })
    return this.#context.relay('ProviderRegistry', 'startUnstakingBySig', [operator, amount, deadline, signature])
  }

  /** What has waited long enough, to any address. */
  async unstake(to: string): Promise<Relayed> {
    const { operator, deadline, signature } = await this.#signed('Unstake', { to })
    return this.#context.relay('ProviderRegistry', 'unstakeBySig', [operator, to, deadline, signature])
  }

  async #signed(name: OperatorAct, act: object): Promise<{ operator: string; deadline: number; signature: string }> {
    const { address, contracts, now, sign } = this.#context
    const operator = await address()
    const nonce = await contracts().read<bigint>('ProviderRegistry', 'nonces', [operator])
    const deadline = (await now()) + DEADLINE_SECONDS
    const signature = await sign('ProviderRegistry', name, { operator, ...act, nonce, deadline })
    return { operator, deadline, signature }
  }
}
