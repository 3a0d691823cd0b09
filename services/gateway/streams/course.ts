import type { InferAnswer, ReceiptEvent, StepEvent, TopUpEvent } from '../../core/api.ts'
import { GranaryError, type Problem, problemOf } from '../../core/errors.ts'
import type { Job, JobStep } from '../../core/jobs.ts'
import { priceOf } from '../../core/metering.ts'
import type { StepPlan } from '../../core/steps.ts'
import { joinRows, type Tensor, toJsonTensor } from '../../core/tensors.ts'
import { inferAnswer } from '../answer.ts'
import type { Order, Shop } from '../order.ts'
import type { Sale } from '../sale.ts'
import type { StreamClient } from './client.ts'
import type { StreamRoom } from './room.ts'

/** Steps that a worker may be ahead of the reader. */
export const STEPS_AHEAD = 4
/** What a gateway that is killed may have delivered and not kept: so many steps, or those of the last second if it took longer. */
const UNRECORDED_STEPS = 4
const UNRECORDED_MS = 1000
/** Larger answers are not kept for repeats. */
const MOST_KEPT_BYTES = 256 * 1024

interface CourseParts {
  shop: Shop
  order: Order
  sale: Sale
  client: StreamClient
  /** The client has left, or the gateway stops. */
  stopped: AbortSignal
  plan: StepPlan
  job: Job
  room: StreamRoom
}

/** One stream from its first step on: what was delivered, and what of that is on the disk. */
export class Course {
  readonly #parts: CourseParts
  #delivered = 0
  #recorded = 0
  #recordedAtMs = performance.now()
  #last: JobStep | null = null
  #kept: Tensor[][] | null = []
  #keptBytes = 0

  constructor(parts: CourseParts) {
    this.#parts = parts
  }

  get hasBegun(): boolean {
    return this.#last !== null
  }

  get isWhole(): boolean {
    return this.#delivered === this.#parts.plan.steps
  }

  /** Steps that the worker may do by now, once there is room for the next. */
  async room(): Promise<number> {
    const { shop, sale, client, stopped, room } = this.#parts
    const announce = (shortage: GranaryError, stepsLeft: number) => {
      const { required, signAtLeast } = shortage.evidence
      const topUp: TopUpEvent = {
        id: sale.requestId,
        reserved: room.reserved.toString(),
        required: String(required),
        signAtLeast: String(signAtLeast),
        post: '/v1/vouchers',
        stepsLeft,
        withinSeconds: Math.ceil(shop.streams.limits.topUpMs / 1000),
      }
      return client.send('top-up', topUp)
    }
    await room.ensure(this.#delivered, { announce, stopped })
    return Math.min(room.steps, this.#delivered + STEPS_AHEAD)
  }

  /** Hands a step to the client if its use is still permitted; false when the client is not there any more. Counts what was taken. */
  async deliver(step: JobStep): Promise<boolean> {
    const { shop, order, sale, client, plan } = this.#parts
    const { model, purpose, jurisdiction } = order
    await shop.consent.require({ modelId: model.modelId, purpose, jurisdiction })
    const { index, outputs, receipt } = step
    const event: StepEvent = {
      id: sale.requestId,
      index,
      of: plan.steps,
      units: receipt.units.toString(),
      cost: priceOf(receipt.units, receipt.unitPrice).toString(),
      outputs: outputs.map(toJsonTensor),
    }
    if (!(await client.send('step', event))) return false
    this.#delivered += 1
    this.#last = step
    this.#keep(outputs)
    const isDue = this.#delivered - this.#recorded >= UNRECORDED_STEPS || performance.now() - this.#recordedAtMs >= UNRECORDED_MS
    if (isDue && !this.isWhole) await this.#record(step)
    return true
  }

  /** Charges what was delivered, or nothing for nothing; the client hears why the stream ended, and gets its receipt. */
  async end(failure: unknown): Promise<void> {
    const { shop, client, sale } = this.#parts
    const reason = client.left.aborted ? 'client.left' : codeOf(failure)
    if (!this.isWhole) {
      shop.log.warn({ event: 'stream.cut', requestId: sale.requestId, delivered: this.#delivered, reason, error: failure })
      await client.send('error', this.#problem(failure ?? new GranaryError('gateway.unreachable', 'The gateway stops.')))
    }
    if (this.#last === null) await shop.releases.release(sale.requestId, reason)
    else await this.#finish(this.#last)
    client.end()
  }

  async #finish(last: JobStep): Promise<void> {
    const { shop, client, plan } = this.#parts
    let receipt: ReceiptEvent | null
    try {
      receipt = await this.#commit(last)
    } catch (error) {
      shop.log.error({ event: 'stream.commit-failed', requestId: this.#parts.sale.requestId, error })
      await client.send('error', this.#problem(error))
      return
    }
    if (receipt) await client.send('receipt', { ...receipt, steps: this.#delivered, of: plan.steps })
    else {
      const later = 'What was delivered is charged once the database answers; the receipt will be in /v1/receipts.'
      await client.send('error', this.#problem(new GranaryError('ledger.unavailable', later)))
    }
  }

  async #commit(last: JobStep): Promise<ReceiptEvent | null> {
    const { shop, order, sale, job, plan } = this.#parts
    const { payer, requestId, identity } = sale
    const { receipt, signature } = last
    const outputs = this.#kept && joinRows(this.#kept)
    const result = { receipt, signature, outputs: outputs ?? [] }
    const charged = priceOf(receipt.units, receipt.unitPrice)
    const committed = await shop.streams.commit({
      ...{ requestId, charged, receipt, providerSignature: signature, inSteps: true },
      answerOf: (place) => Buffer.from(JSON.stringify(inferAnswer(shop, { order, payer, requestId, result, job }, place))),
      sealAnswer: outputs && identity && shop.repeats.sealing(identity),
    })
    if (!committed) return null
    const units = receipt.units.toString()
    shop.log.info({
      event: 'stream.committed',
      requestId,
      steps: this.#delivered,
      of: plan.steps,
      units,
      charged: charged.toString(),
    })
    const { outputs: _, ...answer } = JSON.parse(Buffer.from(committed.answer).toString()) as InferAnswer
    return { ...answer, steps: this.#delivered, of: plan.steps }
  }

  async #record({ receipt, signature }: JobStep): Promise<void> {
    const { shop, sale } = this.#parts
    const charged = priceOf(receipt.units, receipt.unitPrice)
    await shop.ledger.recordProgress({ requestId: sale.requestId, charged, receipt, providerSignature: signature })
    this.#recorded = this.#delivered
    this.#recordedAtMs = performance.now()
  }

  #keep(outputs: Tensor[]): void {
    this.#keptBytes += outputs.reduce((sum, { data }) => sum + data.length, 0)
    if (this.#keptBytes > MOST_KEPT_BYTES || this.#parts.sale.identity === null) this.#kept = null
    this.#kept?.push(outputs)
  }

  /** Hints of whole answers say that nothing was charged. */
  #problem(failure: unknown): Problem {
    const problem = problemOf(failure)
    if (this.#delivered === 0) return problem
    return { ...problem, hint: 'The steps before this are charged, and no others: the receipt says what they cost.' }
  }
}

function codeOf(failure: unknown): string {
  return failure instanceof GranaryError ? failure.code : 'internal'
}
