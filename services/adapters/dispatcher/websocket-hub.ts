import type { WebSocket } from 'ws'
import type { Job, JobResult } from '../../core/jobs.ts'
import type { Dispatcher, JobStream, Worker } from '../../core/ports.ts'
import type { StepPlan } from '../../core/steps.ts'
import { type HubContext, WorkerConnection } from './worker-connection.ts'
import { gone } from './worker-jobs.ts'

const MAX_CONNECTIONS = 1024
const MAX_WORKERS_PER_KEY = 64
const RECHECK_MS = 15_000

/** Workers dial in over WebSockets; jobs go out on the same connection. The gateway's route hands each socket to `accept`. */
export class WebSocketHub implements Dispatcher {
  readonly #context: HubContext
  readonly #connections = new Set<WorkerConnection>()
  readonly #joined = new Map<string, WorkerConnection>()
  readonly #instances = new Map<string, WorkerConnection>()
  readonly #rechecks: NodeJS.Timeout
  #closing = false

  constructor(context: HubContext) {
    this.#context = { ...context, gateway: context.gateway.toLowerCase() }
    this.#rechecks = setInterval(() => void this.#recheck(), RECHECK_MS)
    this.#rechecks.unref()
  }

  /** Takes over a socket that was just opened (give the server `websocketOptions` of transfer-channel.ts). */
  accept(socket: WebSocket): void {
    if (this.#closing || this.#connections.size >= MAX_CONNECTIONS) {
      socket.on('error', () => {})
      socket.close(1013, 'full')
      return
    }
    const connection = new WorkerConnection({
      socket,
      context: this.#context,
      events: {
        joined: (joined, instance) => this.#onJoined(joined, instance),
        left: (left) => this.#onLeft(left),
      },
    })
    this.#connections.add(connection)
  }

  workers(): Worker[] {
    return [...this.#joined.values()].map(({ worker }) => worker)
  }

  async send(workerId: string, job: Job, options: { timeoutMs: number; signal?: AbortSignal }): Promise<JobResult> {
    const connection = this.#joined.get(workerId)
    if (!connection) throw gone('The worker is not connected any more.')
    return connection.send(job, options)
  }

  stream(workerId: string, job: Job, options: { plan: StepPlan; granted: number; timeoutMs: number }): JobStream {
    const connection = this.#joined.get(workerId)
    if (!connection) throw gone('The worker is not connected any more.')
    return connection.stream(job, options)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing = true
    clearInterval(this.#rechecks)
    for (const connection of this.#connections) connection.close('the gateway stops')
  }

  #onJoined(connection: WorkerConnection, instance: string): string | null {
    const { workerId, worker } = connection
    const name = `${worker.sessionKey}:${instance}`
    const before = this.#instances.get(name)
    const others = [...this.#joined.values()].filter((other) => other !== before)
    if (others.filter((other) => other.worker.sessionKey === worker.sessionKey).length >= MAX_WORKERS_PER_KEY) {
      return 'This session key has too many workers here.'
    }
    if (before) {
      this.#joined.delete(before.workerId)
      before.close('the same worker came back')
    }
    this.#instances.set(name, connection)
    this.#joined.set(workerId, connection)
    return null
  }

  #onLeft(connection: WorkerConnection): void {
    this.#connections.delete(connection)
    this.#joined.delete(connection.workerId)
    for (const [name, current] of this.#instances) if (current === connection) this.#instances.delete(name)
  }

  async #recheck(): Promise<void> {
    for (const connection of [...this.#joined.values()]) await connection.recheck()
  }
}
