import { randomBytes } from 'node:crypto'
import { hexlify } from 'ethers'
import type { Static } from 'typebox'
import type { WebSocket } from 'ws'
import { GranaryError } from '../../core/errors.ts'
import { digestOf, type Verifier } from '../../core/messages.ts'
import type { Job, JobResult, Worker } from '../../core/ports.ts'
import type { Log } from '../log.ts'
import { flawOf, recover } from './receipt-check.ts'
import { TransferChannel } from './transfer-channel.ts'
import { decodeAnswer, encodeJob, FromWorker, type Hello, PROTOCOL, parseControl } from './worker-protocol.ts'

const HANDSHAKE_TIMEOUT_MS = 10_000
/** Weight of the newest job in the moving average. */
const NEWEST = 0.2

export interface HubContext {
  /** The collector's address. */
  gateway: string
  contentAddresses: () => readonly string[]
  providerRegistry: Verifier
  escrow: Verifier
  /** The operator that named this session key on chain; null if none did. */
  operatorOf: (sessionKey: string) => Promise<string | null>
  /** Chain time in seconds as this gateway knows it, to refuse receipts dated elsewhere; null while unknown. */
  chainTime?: () => number | null
  pingMs?: number
  log: Log
}

interface InFlight {
  job: Job
  startedAt: number
  answer: PromiseWithResolvers<JobResult>
}

export interface ConnectionEvents {
  /** The worker proved its session key; a refusal is returned as text. */
  joined(connection: WorkerConnection, instance: string): string | null
  left(connection: WorkerConnection): void
}

/** The gateway's end of one worker: its handshake, what it has ready, and the jobs it works on. */
export class WorkerConnection {
  readonly workerId = hexlify(randomBytes(8))
  readonly #context: HubContext
  readonly #events: ConnectionEvents
  readonly #channel: TransferChannel
  readonly #challenge = hexlify(randomBytes(32))
  readonly #handshake: NodeJS.Timeout
  readonly #inFlight = new Map<number, InFlight>()
  #state: 'challenged' | 'checking' | 'joined' | 'closed' = 'challenged'
  #provider = ''
  #sessionKey = ''
  #capacity = 0
  #averageMs = 0
  #lastStream = 0
  #ready: ReadonlySet<string> = new Set()

  constructor(options: { socket: WebSocket; context: HubContext; events: ConnectionEvents }) {
    const { socket, context, events } = options
    this.#context = context
    this.#events = events
    this.#channel = new TransferChannel({
      socket,
      ...(context.pingMs === undefined ? {} : { pingMs: context.pingMs }),
      events: {
        control: (message) => this.#onControl(parseControl(FromWorker, message)),
        admits: ({ stream }) => this.#inFlight.has(stream),
        received: (transfer) => this.#onAnswer(transfer),
        cancelled: (stream) => this.#settle(stream)?.answer.reject(busy('The worker has no room for the job.')),
        closed: (why) => this.#onClosed(why),
      },
    })
    this.#handshake = setTimeout(() => this.close('no hello in time'), HANDSHAKE_TIMEOUT_MS)
    this.#channel.control({
      kind: 'challenge',
      protocol: PROTOCOL,
      challenge: this.#challenge,
      gateway: context.gateway,
      contentAddresses: context.contentAddresses().slice(0, 32),
    })
  }

  get worker(): Worker {
    return {
      workerId: this.workerId,
      provider: this.#provider,
      sessionKey: this.#sessionKey,
      ready: this.#ready,
      inFlight: this.#inFlight.size,
      capacity: this.#capacity,
      averageMs: this.#averageMs,
    }
  }

  close(why: string): void {
    this.#channel.close(why)
  }

  /** Drops the worker when the chain no longer knows its session key; a chain that does not answer changes nothing. */
  async recheck(): Promise<void> {
    if (this.#state !== 'joined') return
    const operator = await this.#context.operatorOf(this.#sessionKey).catch(() => this.#provider)
    if (operator?.toLowerCase() !== this.#provider) this.close('the session key was replaced')
  }

  async send(job: Job, options: { timeoutMs: number; signal?: AbortSignal }): Promise<JobResult> {
    const { timeoutMs, signal } = options
    if (this.#state !== 'joined' || !this.#ready.has(job.modelId)) throw gone('The worker does not serve the model any more.')
    if (this.#inFlight.size >= this.#capacity) throw busy('The worker is at capacity.')
    if (signal?.aborted) throw abandoned(signal.reason)
    const stream = this.#freeStream()
    const { header, body } = encodeJob(job, Math.max(1, Math.floor(timeoutMs)))
    const answer = Promise.withResolvers<JobResult>()
    this.#inFlight.set(stream, { job, startedAt: performance.now(), answer })
    const giveUp = (error: GranaryError) => {
      if (!this.#settle(stream)) return
      this.#channel.cancel(stream)
      answer.reject(error)
    }
    const timer = setTimeout(() => giveUp(late(timeoutMs)), timeoutMs)
    const onAbort = () => giveUp(abandoned(signal?.reason))
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      this.#channel.send({ stream, header, body })
      return await answer.promise
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      this.#inFlight.delete(stream)
    }
  }

  #onControl(message: FromWorker): void {
    if (message.kind === 'hello' && this.#state === 'challenged') {
      this.#state = 'checking'
      this.#join(message).catch((error) => {
        this.#context.log.error({ event: 'worker.join-failed', error })
        this.#refuse('The gateway could not check the session key; try again.')
      })
    } else if (message.kind === 'ready' && this.#state === 'joined') {
      this.#ready = new Set(message.models)
      this.#context.log.info({ event: 'worker.ready', workerId: this.workerId, models: message.models.length })
    } else throw new GranaryError('request.malformed', `A ${message.kind} has no place now.`)
  }

  async #join({ sessionKey, signature, capacity, instance }: Static<typeof Hello>): Promise<void> {
    const { gateway, providerRegistry, operatorOf, log } = this.#context
    const value = { sessionKey, challenge: this.#challenge, gateway }
    if (recover(digestOf('ProviderRegistry', 'WorkerHello', providerRegistry, value), signature) !== sessionKey) {
      this.#refuse('The hello is not signed by its session key for this chain and gateway.')
      return
    }
    const operator = await operatorOf(sessionKey)
    if (this.#state !== 'checking') return
    if (operator === null) {
      this.#refuse('No provider has registered this session key.')
      return
    }
    this.#provider = operator.toLowerCase()
    this.#sessionKey = sessionKey
    this.#capacity = capacity
    const refusal = this.#events.joined(this, instance)
    if (refusal !== null) {
      this.#refuse(refusal)
      return
    }
    this.#state = 'joined'
    clearTimeout(this.#handshake)
    log.info({ event: 'worker.joined', workerId: this.workerId, provider: this.#provider, capacity })
    this.#channel.control({ kind: 'welcome', workerId: this.workerId, provider: this.#provider })
  }

  #onAnswer({ stream, header, body }: { stream: number; header: unknown; body: Uint8Array }): void {
    const found = this.#settle(stream)
    if (!found) return
    const answer = this.#read(header, body, found.job)
    if (answer instanceof GranaryError) {
      found.answer.reject(answer)
      return
    }
    const tookMs = performance.now() - found.startedAt
    this.#averageMs = this.#averageMs === 0 ? tookMs : (1 - NEWEST) * this.#averageMs + NEWEST * tookMs
    found.answer.resolve(answer)
  }

  /** A worker that signs something else than it was asked, or cannot speak the protocol, is dropped. */
  #read(header: unknown, body: Uint8Array, job: Job): JobResult | GranaryError {
    const { escrow, chainTime, log } = this.#context
    let flaw: string | null
    try {
      const answer = decodeAnswer(header, body)
      if (answer instanceof GranaryError) return answer
      const at = chainTime?.() ?? null
      flaw = flawOf({ job, result: answer, provider: this.#provider, sessionKey: this.#sessionKey, escrow, chainTime: at })
      if (flaw === null) return answer
    } catch (error) {
      flaw = error instanceof GranaryError ? error.message : 'it cannot be read'
    }
    log.warn({ event: 'worker.receipt-wrong', workerId: this.workerId, provider: this.#provider, jobId: job.jobId, flaw })
    this.close('wrong receipt')
    return new GranaryError('provider.failed', `The provider's receipt is wrong: ${flaw}.`)
  }

  #settle(stream: number): InFlight | null {
    const found = this.#inFlight.get(stream) ?? null
    this.#inFlight.delete(stream)
    return found
  }

  #refuse(detail: string): void {
    this.#context.log.warn({ event: 'worker.refused', workerId: this.workerId, detail })
    this.#channel.control({ kind: 'refused', detail })
    this.close('refused')
  }

  #onClosed(why: string): void {
    this.#state = 'closed'
    this.#ready = new Set()
    clearTimeout(this.#handshake)
    this.#context.log.info({ event: 'worker.left', workerId: this.workerId, provider: this.#provider, why })
    for (const stream of [...this.#inFlight.keys()]) {
      this.#settle(stream)?.answer.reject(gone('The worker left while it worked.'))
    }
    this.#events.left(this)
  }

  #freeStream(): number {
    do this.#lastStream = (this.#lastStream + 1) >>> 0
    while (this.#inFlight.has(this.#lastStream))
    return this.#lastStream
  }
}

export function gone(detail: string): GranaryError {
  return new GranaryError('provider.gone', detail)
}

function busy(detail: string): GranaryError {
  return new GranaryError('provider.busy', detail)
}

function late(timeoutMs: number): GranaryError {
  return new GranaryError('deadline.exceeded', `The worker did not answer within ${Math.round(timeoutMs)} ms.`)
}

function abandoned(cause: unknown): GranaryError {
  return new GranaryError('deadline.exceeded', 'The caller gave the job up.', { cause })
}
