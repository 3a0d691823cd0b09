import { Worker } from 'node:worker_threads'
import { GranaryError } from '../../core/errors.ts'
import { type Answer, errorOf, type Question } from './thread-messages.ts'

/** JavaScript's part of a thread's memory; tensors and weights live outside of it. */
const MAX_HEAP_MB = 512

/** The near end of a session's thread. It answers one question at a time; a thread that ends fails the open one. */
export class SessionClient {
  readonly #worker: Worker
  #waiting: PromiseWithResolvers<Answer> | null = null
  #ended = false
  /** Resolves once the thread is gone, however it went. */
  readonly exited: Promise<void>

  constructor() {
    // No settings and no secrets of this process reach the thread.
    this.#worker = new Worker(new URL('./session-thread.ts', import.meta.url), {
      env: {},
      execArgv: [],
      resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP_MB },
    })
    this.#worker.on('message', (answer: Answer) => {
      this.#waiting?.resolve(answer)
      this.#waiting = null
    })
    this.#worker.on('messageerror', (cause) => this.#fail(cause))
    this.#worker.on('error', (cause) => this.#fail(cause))
    this.exited = new Promise((resolve) => {
      this.#worker.once('exit', (exitCode) => {
        this.#ended = true
        this.#fail(new Error(`exit code ${exitCode}`))
        resolve()
      })
    })
  }

  get ended(): boolean {
    return this.#ended
  }

  /** Buffers in `transfer` are gone here afterwards. */
  async call(question: Question, transfer: ArrayBuffer[] = []): Promise<Exclude<Answer, { answer: 'failed' }>> {
    if (this.#ended) throw new GranaryError('provider.failed', 'The thread of the model has ended.')
    if (this.#waiting) throw new GranaryError('internal', 'The thread of the model was asked twice at once.')
    this.#worker.postMessage(question, transfer)
    const waiting = Promise.withResolvers<Answer>()
    this.#waiting = waiting
    const answer = await waiting.promise
    if (answer.answer === 'failed') throw errorOf(answer.failure)
    return answer
  }

  /**
   * Asks the thread to end and waits until it has. It ends between two native computations: Worker.terminate() would not
   * interrupt one either, but make ONNX Runtime throw as it returns, which aborts the whole process.
   */
  async end(): Promise<void> {
    this.#worker.postMessage({ ask: 'end' } satisfies Question)
    await this.exited
  }

  /** Lets the process end although the thread does not. */
  abandon(): void {
    this.#worker.unref()
  }

  #fail(cause: unknown): void {
    this.#waiting?.reject(new GranaryError('provider.failed', 'The thread of the model ended while it worked.', { cause }))
    this.#waiting = null
  }
}
