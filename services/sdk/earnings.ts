import { randomBytes } from '@noble/hashes/utils.js'
import { hexlify, keccak256, solidityPacked } from 'ethers'
import { type Context, DEADLINE_SECONDS, type Relayed } from './context.ts'

/** Chapter 6: what a dataset or a model has earned, pulled along the lineage and claimed by signature. */
export class Earnings {
  readonly #context: Context

  constructor(context: Context) {
    this.#context = context
  }

  async currentEpoch(): Promise<bigint> {
    return this.#context.contracts().read<bigint>('RoyaltyLedger', 'currentEpoch', [])
  }

  /** Moves one payee's part of a model's income in the given epochs to its pool; anyone may. */
  async pull(modelId: string, payeeId: string, epochs: readonly bigint[]): Promise<Relayed> {
    const payees = await this.#context.contracts().read<{ id: string }[]>('ModelRegistry', 'payees', [modelId])
    const index = payees.findIndex(({ id }) => id.toLowerCase() === payeeId.toLowerCase())
    return this.#context.relay('RoyaltyLedger', 'pull', [modelId, index, epochs])
  }

  /** Claims what a single dataset or an own model earned in closed epochs; the gateway relays for no fee. */
  async claim(payeeId: string, epochs: readonly bigint[]): Promise<{ amount: bigint; relayed: Relayed }> {
    const { sign, relay, now, address } = this.#context
    const account = await address()
    const nonce = BigInt(hexlify(randomBytes(16)))
    const deadline = (await now()) + DEADLINE_SECONDS
    const epochsHash = keccak256(solidityPacked(['uint64[]'], [epochs]))
    const value = { payeeId, account, to: account, epochsHash, maxRelayerFee: 0n, nonce, deadline }
    const signature = await sign('RoyaltyLedger', 'ClaimRoyalty', value)
    const claim = { payeeId, account, epochs, shares: 0n, proof: [] }
    const relayed = await relay('RoyaltyLedger', 'claimBySig', [claim, account, 0n, 0n, nonce, deadline, signature])
    const claimed = relayed.events.find(({ name }) => name === 'Claimed')
    return { amount: BigInt(String(claimed?.args.amount ?? 0)), relayed }
  }

  /** Pays a provider's, collector's or the treasury's credit to itself. */
  async claimCredit(account: string): Promise<Relayed> {
    return this.#context.relay('InferenceEscrow', 'claimCreditFor', [account])
  }
}
