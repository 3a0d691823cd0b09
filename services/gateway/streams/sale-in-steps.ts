import { createHash } from 'node:crypto'
import type { FastifyReply } from 'fastify'
import type { InferAnswer, ReceiptEvent, StepEvent } from '../../core/api.ts'
import { GranaryError } from '../../core/errors.ts'
import type { Job, JobStep } from '../../core/jobs.ts'
import { priceOf } from '../../core/metering.ts'
import type { JobStream } from '../../core/ports.ts'
import { chooseCandidate } from '../../core/routing.ts'
import { planSteps, type StepPlan } from '../../core/steps.ts'
import type { Order, Shop } from '../order.ts'
import type { Payer } from '../payer.ts'
import { identityOf } from '../repeats.ts'
import { affordableOf, checkScope, jobFor, MAX_ATTEMPTS, newRequestId, reserveOrAnswer, type Sale, sell } from '../sale.ts'
import { openStreamClient, type StreamClient } from './client.ts'
import { Course, STEPS_AHEAD } from './course.ts'
import { StreamRoom } from './room.ts'

/** True when the caller wants events: `stream` says so, or without it what the caller accepts. */
export function wantsSteps({ stream }: { stream?: boolean }, accept: string | undefined): boolean {
  return stream ?? accept?.includes('text/event-stream') ?? false
}

/**
 * Sells an answer step by step: units delivered are units paid. Until the first step is there it refuses like any other sale;
 * after that whatever happens is an event, and the receipt for what was delivered is the last.
 */
export async function sellInSteps(
  shop: Shop,
  asked: Order,
  { payer, reply }: { payer: Payer; reply: FastifyReply },
): Promise<void> {
  checkScope(asked, payer)
  const order = { ...asked, bodyHash: streamHash(asked.bodyHash) }
  const plan = planSteps(order.model.manifest, order.inputs)
  if (!plan) return giveWhole(shop, reply, await sell(shop, order, payer))
  const { accountId, key, idempotencyKey } = payer
  const identity = idempotencyKey === null ? null : identityOf({ accountId, key, idempotencyKey })
  // The first step is reserved with the request, the others as they come.
  const max = priceOf(plan.unitsAfter(1), order.quote.unitPrice)
  const first = { ...order, quote: { ...order.quote, max } }
  const reserved = await reserveOrAnswer(shop, first, { payer, requestId: newRequestId(), identity })
  if ('answer' in reserved) return giveWhole(shop, reply, { answer: reserved.answer, repeated: true })
  const client = clientOf(shop, reply)
  const stopped = AbortSignal.any([client.left, shop.streams.closing])
  await run(shop, order, { sale: reserved.sale, plan, reserved: max, client, stopped })
}

/** The same body streamed and whole are two requests: what was cut short is no answer to the other. */
export function streamHash(bodyHash: string): string {
  return `0x${createHash('sha256').update(`stream\n${bodyHash}`).digest('hex')}`
}

function clientOf({ streams }: Shop, reply: FastifyReply, headers: Record<string, string> = {}): StreamClient {
  return openStreamClient(reply, { patienceMs: streams.limits.patienceMs, headers })
}

/** What there is already, as one step. */
export async function giveWhole(shop: Shop, reply: FastifyReply, sold: { answer: Uint8Array; repeated: boolean }): Promise<void> {
  const client = clientOf(shop, reply, sold.repeated ? { 'idempotent-replayed': 'true' } : {})
  const { outputs, ...answer } = JSON.parse(Buffer.from(sold.answer).toString('utf8')) as InferAnswer
  const step: StepEvent = { id: answer.id, index: 0, of: 1, units: answer.units, cost: answer.charged, outputs }
  await client.send('step', step)
  await client.send('receipt', { ...answer, steps: 1, of: 1 } satisfies ReceiptEvent)
  client.end()
}

interface Running {
  sale: Sale
  plan: StepPlan
  /** With the request. */
  reserved: bigint
  client: StreamClient
  /** The client has left, or the gateway stops. */
  stopped: AbortSignal
}

async function run(shop: Shop, order: Order, running: Running): Promise<void> {
  const { sale, stopped } = running
  try {
    const { jobs, first, ...started } = await start(shop, order, running)
    const course = new Course({ shop, order, ...running, ...started })
    const failure = await follow(course, jobs, { first, stepMs: shop.streams.limits.stepMs, stopped })
    await jobs[Symbol.asyncDispose]()
    if (failure !== null && !course.hasBegun) throw failure
    await course.end(failure)
  } catch (error) {
    await shop.releases.release(sale.requestId, error instanceof GranaryError ? error.code : 'internal')
    throw error
  }
}

/** Until the last step, or the reason why it ends before. */
async function follow(
  course: Course,
  jobs: JobStream,
  { first, stepMs, stopped }: { first: JobStep; stepMs: number; stopped: AbortSignal },
): Promise<unknown> {
  const stop = () => void jobs[Symbol.asyncDispose]()
  stopped.addEventListener('abort', stop, { once: true })
  try {
    for (let step: JobStep | null = first; step && (await course.deliver(step)) && !course.isWhole; ) {
      jobs.grant(await course.room())
      step = await jobs.next(stepMs)
    }
    return null
  } catch (error) {
    return error
  } finally {
    stopped.removeEventListener('abort', stop)
  }
}

/** Sends to the best worker; until the first step has come, one that is gone or busy is replaced. */
async function start(
  shop: Shop,
  order: Order,
  { sale, plan, reserved, stopped }: Running,
): Promise<{ jobs: JobStream; job: Job; first: JobStep; plan: StepPlan; room: StreamRoom }> {
  const { payer, requestId } = sale
  const tried = new Set<string>()
  let last: unknown = null
  let next = sale.chosen
  for (let attempt = 0; attempt < MAX_ATTEMPTS && next && !stopped.aborted; attempt += 1) {
    const { worker, unitPrice } = next
    tried.add(worker.workerId)
    const job = { ...(await jobFor(shop, order, { requestId, chosen: next })), stepSize: plan.size }
    if (attempt > 0) await shop.ledger.dispatched(requestId, worker.provider)
    const room = new StreamRoom({ shop, payer, requestId, plan, unitPrice, reserved })
    await room.prepare()
    try {
      const { wholeMs: timeoutMs, stepMs } = shop.streams.limits
      const granted = Math.min(room.steps, STEPS_AHEAD)
      const jobs = shop.dispatcher.stream(worker.workerId, job, { plan, granted, timeoutMs })
      const first = await firstStep(jobs, { stepMs, stopped })
      if (first) return { jobs, job, first, plan, room }
    } catch (error) {
      const again = error instanceof GranaryError && (error.code === 'provider.gone' || error.code === 'provider.busy')
      if (!again) throw error
      shop.log.warn({ event: 'job.retried', requestId, provider: worker.provider, error })
      last = error
    }
    next = chooseCandidate(affordableOf(shop, order, tried), Math.random)
  }
  if (stopped.aborted) throw stoppedError()
  throw last ?? new GranaryError('provider.none', `No provider serves ${order.model.manifest.name} right now.`)
}

/** null when the stream was stopped first. */
async function firstStep(
  jobs: JobStream,
  { stepMs, stopped }: { stepMs: number; stopped: AbortSignal },
): Promise<JobStep | null> {
  const stop = () => void jobs[Symbol.asyncDispose]()
  stopped.addEventListener('abort', stop, { once: true })
  try {
    return await jobs.next(stepMs)
  } catch (error) {
    stop()
    throw error
  } finally {
    stopped.removeEventListener('abort', stop)
  }
}

function stoppedError(): GranaryError {
  return new GranaryError('gateway.unreachable', 'The stream was stopped before its first step.')
}
