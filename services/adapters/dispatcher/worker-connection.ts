import { randomBytes } from 'node:crypto'
import { hexlify } from 'ethers'
import type { Static } from 'typebox'
import type { WebSocket } from 'ws'
import { GranaryError } from '../../core/errors.ts'
import type { Job, JobResult } from '../../core/jobs.ts'
import { digestOf, type Verifier } from '../../core/messages.ts'
import type { JobStream, Worker } from '../../core/ports.ts'
import type { StepPlan } from '../../core/steps.ts'
import type { Log } from '../log.ts'
import { recover } from './receipt-check.ts'
import { TransferChannel } from './transfer-channel.ts'
import { busy, gone, WorkerJobs } from './worker-jobs.ts'
import { FromWorker, type Hello, PROTOCOL, parseControl } from './worker-protocol.ts'

const HANDSHAKE_TIMEOUT_MS = 10_000
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
  readonly #jobs: WorkerJobs
  #state: 'challenged' | 'checking' | 'joined' | 'closed' = 'challenged'
  #provider = ''
  #sessionKey = ''
  #capacity = 0
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
        admits: ({ stream, bodyBytes }) => this.#jobs.admits(stream, bodyBytes),
        received: (transfer) => this.#jobs.take(transfer),
        cancelled: (stream) => this.#jobs.fail(stream, busy('The worker has no room for the job.')),
        closed: (why) => this.#onClosed(why),
      },
    })
    this.#jobs = new WorkerJobs({
      channel: this.#channel,
      signed: () => this.#signed(),
      drop: (jobId, flaw) => this.#drop(jobId, flaw),
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
      inFlight: this.#jobs.size,
      capacity: this.#capacity,
      averageMs: this.#jobs.averageMs,
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

  send(job: Job, options: { timeoutMs: number; signal?: AbortSignal }): Promise<JobResult> {
    this.#requireRoom(job)
    return this.#jobs.send(job, options)
  }

  stream(job: Job, options: { plan: StepPlan; granted: number; timeoutMs: number }): JobStream {
    this.#requireRoom(job)
    return this.#jobs.stream(job, options)
  }

  #requireRoom({ modelId }: Job): void {
    if (this.#state !== 'joined' || !this.#ready.has(modelId)) throw gone('The worker does not serve the model any more.')
    if (this.#jobs.size >= this.#capacity) throw busy('The worker is at capacity.')
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

  #signed() {
    const { escrow, chainTime } = this.#context
    return { provider: this.#provider, sessionKey: this.#sessionKey, escrow, chainTime: chainTime?.() ?? null }
  }

  #drop(jobId: string, flaw: string): void {
    this.#context.log.warn({ event: 'worker.receipt-wrong', workerId: this.workerId, provider: this.#provider, jobId, flaw })
    this.close('wrong receipt')
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
    this.#jobs.failAll(gone('The worker left while it worked.'))
    this.#events.left(this)
  }
}
