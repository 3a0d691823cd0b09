import { GranaryError } from '../../core/errors.ts'
import { priceOf } from '../../core/metering.ts'
import type { Extended } from '../../core/selling-ledger.ts'
import type { StepPlan } from '../../core/steps.ts'
import type { Shop } from '../order.ts'
import type { Payer } from '../payer.ts'
import { refusalOf } from '../refusals.ts'
import { MAX_RAISES } from '../sale.ts'

/** Fewer steps reserved ahead than this, and more are reserved; a reservation reaches so far ahead. */
const LOW_STEPS = 4
const AHEAD_STEPS = 8
/** Another gateway process may have kept the voucher. */
const LOOK_MS = 250
/** Top-ups asked for while a stream stands still. */
const MOST_ANNOUNCED = 16

type Refused = Exclude<Extended, { ok: true }>

/** What is reserved for a stream, in steps: grown in time, durable before a step beyond it is asked for. */
export class StreamRoom {
  readonly #shop: Shop
  readonly #payer: Payer
  readonly #requestId: string
  readonly #plan: StepPlan
  readonly #unitPrice: bigint
  #reserved: bigint
  #announced = -1n

  constructor(options: {
    shop: Shop
    payer: Payer
    requestId: string
    plan: StepPlan
    unitPrice: bigint
    reserved: bigint
  }) {
    this.#shop = options.shop
    this.#payer = options.payer
    this.#requestId = options.requestId
    this.#plan = options.plan
    this.#unitPrice = options.unitPrice
    this.#reserved = options.reserved
  }

  /** Steps that the reservation covers, from the first on. */
  get steps(): number {
    return this.#stepsFor(this.#reserved)
  }

  get reserved(): bigint {
    return this.#reserved
  }

  /** Before the first step: as much as there is money for. */
  async prepare(): Promise<void> {
    await this.#grow(AHEAD_STEPS)
  }

  /**
   * Makes room for the step after those delivered, and more. `announce` is told when a voucher is wanted, before the room is used
   * up; then it is waited for. Throws why there is no room.
   */
  async ensure(
    delivered: number,
    { announce, stopped }: { announce: (shortage: GranaryError, stepsLeft: number) => Promise<unknown>; stopped: AbortSignal },
  ): Promise<void> {
    const isLow = this.steps - delivered < LOW_STEPS && this.steps < this.#plan.steps
    let shortage = isLow ? await this.#grow(delivered + AHEAD_STEPS) : null
    let endsAtMs = 0
    for (let announced = 0; shortage; shortage = await this.#grow(delivered + AHEAD_STEPS)) {
      // Others may have taken the room that a voucher made: then a higher one is asked for, and waited for anew.
      if (this.#isNews(shortage) && announced < MOST_ANNOUNCED) {
        await announce(shortage, this.steps - delivered)
        endsAtMs = performance.now() + this.#shop.streams.limits.topUpMs
        announced += 1
      }
      if (this.steps > delivered || stopped.aborted) return
      endsAtMs ||= performance.now() + this.#shop.streams.limits.topUpMs
      if (!canBeRaised(shortage) || performance.now() >= endsAtMs) throw shortage
      await this.#shop.streams.untilRaised(this.#payer, { timeoutMs: LOOK_MS, signal: stopped })
    }
  }

  #isNews(shortage: GranaryError): boolean {
    const signAtLeast = canBeRaised(shortage) ? BigInt(String(shortage.evidence.signAtLeast)) : -1n
    if (signAtLeast <= this.#announced) return false
    this.#announced = signAtLeast
    return true
  }

  /** Reserves up to so many steps, or as many as there is money for: then also says what was short. */
  async #grow(steps: number): Promise<GranaryError | null> {
    let target = Math.min(steps, this.#plan.steps)
    let shortage: GranaryError | null = null
    while (target > this.steps) {
      const answer = await this.#extend(priceOf(this.#plan.unitsAfter(target), this.#unitPrice))
      if (answer.ok) {
        const more = answer.reserved - this.#reserved
        this.#reserved = answer.reserved
        return shortage && lessBy(shortage, more)
      }
      shortage ??= await this.#refusal(answer)
      // Others on the account may take the rest meanwhile: each turn asks for less.
      target = Math.min(target - 1, this.#stepsFor(this.#reserved + availableOf(answer)))
    }
    return shortage
  }

  async #extend(max: bigint): Promise<Extended> {
    const { ledger, payers, consent } = this.#shop
    const { accountId, key, signer } = this.#payer
    const now = consent.head?.timestamp ?? 0
    const extension = { requestId: this.#requestId, max }
    let answer = await ledger.extend(extension, now)
    for (let raises = 0; raises < MAX_RAISES && signer && isCeilingShort(answer); raises += 1) {
      const standing = await ledger.standing(accountId, key)
      const raised = standing ? payers.raise(this.#payer, standing, max - this.#reserved) : 'impossible'
      if (raised === 'impossible') break
      answer = await ledger.extend(raised === 'enough' ? extension : { ...extension, voucher: raised }, now)
    }
    return answer
  }

  async #refusal(answer: Refused): Promise<GranaryError> {
    if (answer.reason === 'ended') return new GranaryError('internal', 'The request was ended while it ran.')
    const { accountId, key } = this.#payer
    return refusalOf(
      answer,
      this.#payer,
      answer.reason === 'insufficient' ? await this.#shop.ledger.standing(accountId, key) : null,
    )
  }

  #stepsFor(amount: bigint): number {
    const { steps, unitsAfter } = this.#plan
    let [low, high] = [0, steps]
    while (low < high) {
      const middle = Math.ceil((low + high) / 2)
      if (priceOf(unitsAfter(middle), this.#unitPrice) <= amount) low = middle
      else high = middle - 1
    }
    return low
  }
}

function isCeilingShort(answer: Extended): boolean {
  return !answer.ok && answer.reason === 'insufficient' && answer.limit === 'ceiling'
}

/** A signature can make room, and only the payer's. */
function canBeRaised({ code, evidence }: GranaryError): boolean {
  return code === 'voucher.stale' && evidence.signAtLeast !== undefined
}

function availableOf(answer: Refused): bigint {
  if (answer.reason === 'insufficient') return answer.available
  if (answer.reason !== 'limited') return 0n
  const { most, used } = answer.reached
  return most > used ? most - used : 0n
}

/** What is still short once a part of it was found. */
function lessBy({ code, message, evidence }: GranaryError, found: bigint): GranaryError {
  if (evidence.required === undefined) return new GranaryError(code, message, evidence)
  return new GranaryError(code, message, {
    ...evidence,
    available: '0',
    required: `${BigInt(String(evidence.required)) - found}`,
  })
}
