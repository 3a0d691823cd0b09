import type { InferAnswer, ReceiptEvent, StepEvent, TopUpEvent } from '../core/api.ts'
import { errorOfProblem, GranaryError, type Problem } from '../core/errors.ts'
import { openCommitment } from '../core/running-commitment.ts'
import { fromJsonTensor, type JsonTensor } from '../core/tensors.ts'
import { eventsOf } from './event-stream.ts'
import { wrongReceipt } from './receipts.ts'

export interface StreamTerms {
  /** Makes room for more steps, or not: then the stream ends with what is paid for. */
  topUp: (asked: TopUpEvent) => Promise<void>
  /** Throws `receipt.wrong`; `commitment` is to everything that came. */
  check: (answer: Omit<InferAnswer, 'outputs'>, commitment: (salt: string) => string) => void
  /** Hears of a receipt, or of steps, that do not hold. */
  refused: (error: GranaryError) => void
}

/**
 * An answer that comes in steps. The loop over it ends after the last step; where the stream was cut short it throws why, once the
 * receipt for what came is checked. Leaving the loop hangs up: what has come by then is charged.
 */
export class InferenceStream implements AsyncIterable<StepEvent> {
  readonly #response: Response
  readonly #terms: StreamTerms
  readonly #commitment = openCommitment()
  #steps = 0
  #units = '0'
  #receipt: ReceiptEvent | null = null

  constructor(response: Response, terms: StreamTerms) {
    this.#response = response
    this.#terms = terms
  }

  /** For what came, once the stream has ended; null before, and when the connection was lost. */
  get receipt(): ReceiptEvent | null {
    return this.#receipt
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<StepEvent, void> {
    let cut: GranaryError | null = null
    let raising = Promise.resolve()
    for await (const { event, data } of eventsOf(this.#response)) {
      if (event === 'step') yield this.#take(data as StepEvent)
      else if (event === 'error') cut = errorOfProblem(data as Partial<Problem>, (data as Problem).status)
      else if (event === 'receipt') this.#close(data as ReceiptEvent)
      // The steps that are paid for go on meanwhile; a voucher that fails shows when the stream runs dry.
      else if (event === 'top-up') raising = raising.then(() => this.#terms.topUp(data as TopUpEvent)).catch(() => undefined)
    }
    await raising
    if (cut) throw cut
    if (!this.#receipt) throw new GranaryError('gateway.unreachable', 'The stream ended without a receipt.')
  }

  #take(step: StepEvent): StepEvent {
    const isNext = step.index === this.#steps && BigInt(step.units) >= BigInt(this.#units)
    if (!isNext) throw this.#refuse(wrongReceipt(step.id, `step ${step.index} came in place of ${this.#steps}`))
    this.#commitment.add(step.outputs.map((output) => fromJsonTensor(output as JsonTensor)))
    this.#steps += 1
    this.#units = step.units
    return step
  }

  #close(receipt: ReceiptEvent): void {
    this.#terms.check(receipt, (salt) => this.#commitment.value(salt))
    if (receipt.steps !== this.#steps || receipt.units !== this.#units || receipt.units !== receipt.receipt.job.units)
      throw this.#refuse(wrongReceipt(receipt.id, `it is for ${receipt.units} units, and ${this.#units} came`))
    this.#receipt = receipt
  }

  #refuse(error: GranaryError): GranaryError {
    this.#terms.refused(error)
    return error
  }
}
