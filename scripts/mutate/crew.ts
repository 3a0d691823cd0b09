import { type ChildProcess, fork } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Result } from './runner.ts'
import { type Compiled, refuse } from './sources.ts'
import type { Order } from './worker.ts'

/**
 * The test runner plays a test that fails once more and notes every step: of a full batch, or of a loop without end, that is gigabytes
 * within seconds and more than the machine has. The mutant is killed already then, and the worker is not waited for.
 */
const MOST_BYTES = 3 * 2 ** 30

export type Answer = { results: readonly Result[] } | 'too slow'

/** Worker processes that run the tests of one compilation, each one mutant at a time. */
export class Crew {
  readonly #folder: string
  readonly #path: string
  readonly #mostBytes: number
  readonly #idle: Worker[] = []

  constructor(compiled: Compiled, mostBytes = MOST_BYTES) {
    this.#mostBytes = mostBytes
    this.#folder = mkdtempSync(join(tmpdir(), 'granary-mutate-'))
    this.#path = join(this.#folder, 'compiled.json')
    writeFileSync(this.#path, JSON.stringify({ contracts: compiled.contracts }))
  }

  /** A worker that takes longer, or too much memory, is ended; the next order gets a new one. */
  async ask(order: Order, limitMs: number): Promise<Answer> {
    const worker = this.#idle.pop() ?? (await Worker.start(this.#path, this.#mostBytes))
    const answer = await worker.ask(order, limitMs)
    if (answer === 'too slow' || worker.isLarge) worker[Symbol.dispose]()
    else this.#idle.push(worker)
    return answer
  }

  [Symbol.dispose](): void {
    for (const worker of this.#idle) worker[Symbol.dispose]()
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

interface Message {
  ready?: true
  results?: Result[]
  /** It has grown so much that a new worker should take the next order. */
  isLarge?: boolean
  isTooLarge?: true
  error?: string
}

class Worker {
  readonly #child: ChildProcess
  isLarge = false

  private constructor(child: ChildProcess) {
    this.#child = child
  }

  static async start(path: string, mostBytes: number): Promise<Worker> {
    const child = fork(join(import.meta.dirname, 'worker.ts'), [path, String(mostBytes)], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    })
    await next(child)
    return new Worker(child)
  }

  async ask(order: Order, limitMs: number): Promise<Answer> {
    const timer = Promise.withResolvers<'too slow'>()
    const timeout = setTimeout(() => timer.resolve('too slow'), limitMs)
    try {
      const answered = next(this.#child)
      // Ended for being slow, it answers no more.
      answered.catch(() => undefined)
      this.#child.send(order)
      const message = await Promise.race([answered, timer.promise])
      if (message === 'too slow' || message.isTooLarge === true) return 'too slow'
      if (message.results === undefined) throw refuse(`The test runner failed: ${message.error}`)
      this.isLarge = message.isLarge ?? false
      return { results: message.results }
    } finally {
      clearTimeout(timeout)
    }
  }

  [Symbol.dispose](): void {
    this.#child.removeAllListeners()
    this.#child.kill('SIGKILL')
  }
}

function next(child: ChildProcess): Promise<Message> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null, signal: string | null) =>
      reject(refuse(`The test runner's process ended by itself (${code ?? signal}).`))
    child.once('exit', onExit)
    child.once('message', (message: Message) => {
      child.off('exit', onExit)
      resolve(message)
    })
  })
}
