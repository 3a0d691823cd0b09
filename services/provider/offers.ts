import type { Chain } from '../core/ports.ts'

export interface Offer {
  modelId: string
  unit: number
  unitPrice: bigint
}

/** Blocks are read again this far back, so that an offer that a reorg moved or removed is looked at once more. */
const OVERLAP_BLOCKS = 32
const RANGE_BLOCKS = 5_000
/** Models that this operator ever offered and that are looked at. */
const MAX_KNOWN = 1_024

/**
 * The active offers of the operator who named our session key: of `worksFor` alone where it is set, for anyone can name a key on chain
 * before its operator does. Events say which to look at; the contract's state says what they are.
 */
export class OfferBook {
  readonly #chain: Chain
  readonly #sessionKey: string
  readonly #deployBlock: number
  readonly #worksFor: string | null
  readonly #offers = new Map<string, Offer>()
  #operator: string | null = null
  #nextBlock: number

  constructor(options: { chain: Chain; sessionKey: string; deployBlock: number; worksFor: string | null }) {
    this.#chain = options.chain
    this.#sessionKey = options.sessionKey
    this.#deployBlock = options.deployBlock
    this.#worksFor = options.worksFor
    this.#nextBlock = options.deployBlock
  }

  get operator(): string | null {
    return this.#operator
  }

  offer(modelId: string): Offer | null {
    return this.#offers.get(modelId) ?? null
  }

  /** Oldest first. */
  active(): Offer[] {
    return [...this.#offers.values()]
  }

  /** Brings the book up to the chain's head. */
  async refresh(): Promise<void> {
    const operator = await this.#readOperator()
    if (operator !== this.#operator) {
      this.#operator = operator
      this.#offers.clear()
      this.#nextBlock = this.#deployBlock
    }
    if (operator === null) return
    const head = await this.#chain.head()
    const from = Math.max(this.#deployBlock, Math.min(this.#nextBlock, head.number + 1) - OVERLAP_BLOCKS)
    for (let first = from; first <= head.number; first += RANGE_BLOCKS) {
      const last = Math.min(head.number, first + RANGE_BLOCKS - 1)
      for (const modelId of await this.#touched(operator, first, last)) await this.#look(operator, modelId)
      this.#nextBlock = last + 1
    }
  }

  async #readOperator(): Promise<string | null> {
    const call = { contract: 'ProviderRegistry', method: 'operatorOf', args: [this.#sessionKey] }
    const operator = String(await this.#chain.read(call)).toLowerCase()
    if (/^0x0{40}$/.test(operator)) return null
    return this.#worksFor === null || this.#worksFor === operator ? operator : null
  }

  async #touched(operator: string, first: number, last: number): Promise<Set<string>> {
    const events = await this.#chain.events(first, last)
    const models = events
      .filter(({ contract, name }) => contract === 'ProviderRegistry' && (name === 'OfferSet' || name === 'OfferEnded'))
      .filter(({ args }) => String(args.operator).toLowerCase() === operator)
      .map(({ args }) => String(args.modelId).toLowerCase())
    return new Set([...models].slice(-MAX_KNOWN))
  }

  async #look(operator: string, modelId: string): Promise<void> {
    const call = { contract: 'ProviderRegistry', method: 'offer', args: [operator, modelId] }
    const { active, unit, unitPrice } = (await this.#chain.read(call)) as { active: boolean; unit: bigint; unitPrice: bigint }
    if (!active) this.#offers.delete(modelId)
    else if (this.#offers.has(modelId) || this.#offers.size < MAX_KNOWN) {
      this.#offers.set(modelId, { modelId, unit: Number(unit), unitPrice: BigInt(unitPrice) })
    }
  }
}
