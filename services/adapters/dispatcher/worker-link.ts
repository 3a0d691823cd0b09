import { randomUUID } from 'node:crypto'
import type { Wallet } from 'ethers'
import { WebSocket } from 'ws'
import { GranaryError } from '../../core/errors.ts'
import type { Job, JobResult, JobStep } from '../../core/jobs.ts'
import { typedData, type Verifier } from '../../core/messages.ts'
import type { Log } from '../log.ts'
import { StepGrant, workInSteps } from './stepped-work.ts'
import { TransferChannel, websocketOptions } from './transfer-channel.ts'
import {
  decodeJob,
  encodeProblem,
  encodeResult,
  encodeStep,
  FromGateway,
  MAX_READY_MODELS,
  parseControl,
} from './worker-protocol.ts'

const FIRST_DELAY_MS = 500
const LONGEST_DELAY_MS = 30_000
/** A connection that lasted this long was a good one: the next failure starts from the shortest delay. */
const LASTING_MS = 5_000
const DRAIN_MS = 3_000

export interface LinkOptions {
  /** ws:// or wss:// of the gateway's worker route. */
  url: string
  /** Holds the session key. */
  wallet: Wallet
  providerRegistry: Verifier
  capacity: number
  onJob: (job: Job, options: { timeoutMs: number; signal: AbortSignal }) => Promise<JobResult>
  /** A job whose answer comes in steps; the next one is asked for once the gateway has granted it. Left out: none is taken. */
  onSteps?: (job: Job, options: { timeoutMs: number; signal: AbortSignal }) => AsyncIterable<JobStep & { isLast: boolean }>
  /** After each handshake; where the gateway's content store can be dialled. */
  onWelcome: (welcome: { workerId: string; gateway: string; contentAddresses: string[] }) => void
  pingMs?: number
  log: Log
}

/** The worker's end: dials out, proves its session key, takes jobs up to its capacity, and dials again when cut off. */
export class WorkerLink implements AsyncDisposable {
  readonly #options: LinkOptions
  readonly #instance = randomUUID()
  readonly #jobs = new Map<string, AbortController>()
  readonly #grants = new Map<string, StepGrant>()
  readonly #closing = new AbortController()
  #ready: string[] = []
  #session: TransferChannel | null = null
  #welcomed = false
  #sessions = 0
  #idle: PromiseWithResolvers<void> | null = null

  constructor(options: LinkOptions) {
    this.#options = options
    void this.#stayConnected()
  }

  get connected(): boolean {
    return this.#welcomed
  }

  /** Models that the gateway may send jobs for, now and after each reconnection. */
  setReady(models: readonly string[]): void {
    this.#ready = models.slice(0, MAX_READY_MODELS)
    if (this.#welcomed) this.#session?.control({ kind: 'ready', models: this.#ready })
  }

  /** Takes no more jobs, lets those that run end for a moment, and hangs up. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.setReady([])
    if (this.#jobs.size > 0) {
      this.#idle = Promise.withResolvers<void>()
      const timer = setTimeout(this.#idle.resolve, DRAIN_MS)
      await this.#idle.promise
      clearTimeout(timer)
    }
    this.#closing.abort()
    this.#session?.close('the worker stops')
  }

  async #stayConnected(): Promise<void> {
    const { log, url } = this.#options
    for (let attempt = 0; !this.#closing.signal.aborted; attempt++) {
      const startedAt = performance.now()
      const why = await this.#runSession()
      if (this.#closing.signal.aborted) return
      if (performance.now() - startedAt > LASTING_MS) attempt = 0
      const delayMs = Math.random() * Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(attempt, 10))
      log.warn({ event: 'gateway.lost', url, why, retryInMs: Math.round(delayMs) })
      await pause(delayMs, this.#closing.signal)
    }
  }

  /** Resolves with the reason when the connection has ended. */
  #runSession(): Promise<string> {
    const ended = Promise.withResolvers<string>()
    const { url, pingMs } = this.#options
    const session = ++this.#sessions
    const socket = new WebSocket(url, { ...websocketOptions, handshakeTimeout: 10_000 })
    const challenge = { gateway: '', contentAddresses: [] as string[] }
    const channel = new TransferChannel({
      socket,
      ...(pingMs === undefined ? {} : { pingMs }),
      events: {
        control: (message) => this.#onControl(parseControl(FromGateway, message), { challenge, session }),
        admits: () => this.#welcomed && this.#jobs.size < this.#options.capacity,
        received: ({ stream, header, body }) => void this.#work({ key: `${session}:${stream}`, stream, header, body, channel }),
        cancelled: (stream) => this.#jobs.get(`${session}:${stream}`)?.abort(),
        closed: (why) => {
          this.#welcomed = false
          for (const [key, job] of this.#jobs) if (key.startsWith(`${session}:`)) job.abort()
          ended.resolve(why)
        },
      },
    })
    this.#session = channel
    return ended.promise
  }

  #onControl(
    message: FromGateway,
    { challenge, session }: { challenge: { gateway: string; contentAddresses: string[] }; session: number },
  ): void {
    const { log, onWelcome } = this.#options
    switch (message.kind) {
      case 'challenge':
        challenge.gateway = message.gateway
        challenge.contentAddresses = message.contentAddresses
        void this.#sayHello(message)
        return
      case 'welcome':
        this.#welcomed = true
        log.info({ event: 'gateway.joined', workerId: message.workerId, gateway: challenge.gateway })
        onWelcome({ workerId: message.workerId, ...challenge })
        this.setReady(this.#ready)
        return
      case 'grant':
        this.#grants.get(`${session}:${message.stream}`)?.raise(message.steps)
        return
      case 'refused':
        log.error({ event: 'gateway.refused', detail: message.detail })
    }
  }

  async #sayHello({ challenge, gateway }: { challenge: string; gateway: string }): Promise<void> {
    const { wallet, providerRegistry, capacity } = this.#options
    const sessionKey = wallet.address.toLowerCase()
    const channel = this.#session
    const { domain, types, value } = typedData('ProviderRegistry', 'WorkerHello', providerRegistry, {
      sessionKey,
      challenge,
      gateway,
    })
    const signature = await wallet.signTypedData(domain, types, value)
    channel?.control({ kind: 'hello', sessionKey, signature, capacity, instance: this.#instance })
  }

  async #work(options: {
    key: string
    stream: number
    header: unknown
    body: Uint8Array
    channel: TransferChannel
  }): Promise<void> {
    const { key, stream, header, body, channel } = options
    if (this.#jobs.has(key)) return
    if (this.#jobs.size >= this.#options.capacity) {
      channel.cancel(stream)
      return
    }
    const given = new AbortController()
    this.#jobs.set(key, given)
    try {
      const { job, timeoutMs, granted } = decodeJob(header, body)
      const signal = AbortSignal.any([given.signal, AbortSignal.timeout(timeoutMs)])
      if (job.stepSize !== undefined) {
        const grant = new StepGrant(granted)
        this.#grants.set(key, grant)
        const steps = (this.#options.onSteps ?? refuseSteps)(job, { timeoutMs, signal })
        await workInSteps({ steps, grant, signal, send: (step) => channel.send({ stream, ...encodeStep(step) }) })
        return
      }
      const result = await this.#options.onJob(job, { timeoutMs, signal })
      if (!given.signal.aborted) channel.send({ stream, ...encodeResult(result) })
    } catch (error) {
      if (!(error instanceof GranaryError)) this.#options.log.error({ event: 'job.failed', error })
      if (!given.signal.aborted) channel.send({ stream, header: encodeProblem(error), body: [] })
    } finally {
      this.#jobs.delete(key)
      this.#grants.delete(key)
      if (this.#jobs.size === 0) this.#idle?.resolve()
    }
  }
}

function refuseSteps(): never {
  throw new GranaryError('provider.failed', 'This worker answers in one piece only.')
}

function pause(delayMs: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, delayMs)
  signal.addEventListener(
    'abort',
    () => {
      clearTimeout(timer)
      resolve()
    },
    { once: true },
  )
  return promise
}
