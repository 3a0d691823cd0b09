import { Worker } from 'node:worker_threads'
import type { Log } from '../../adapters/log.ts'
import { errorOfProblem, GranaryError } from '../../core/errors.ts'
import type { Escrow } from '../../core/published-batch.ts'
import type { Answer, BatchBytes, BatchProofs, Question, ThreadSettings } from './thread-messages.ts'

/** What settled batches are asked for. Their thousands of receipts are read and hashed in a thread: a moment here would be one for every request. */
export interface Archive {
  /**
   * null if no such batch is settled. Throws rather than show bytes that would not rebuild the transaction. Who asks for one
   * batch at a time may wait `always`; others are refused while too many wait, since anybody may ask.
   */
  bytes(batchId: string, wait?: 'always'): Promise<BatchBytes | null>
  /** Proofs of those of `heads` that the batch covers; null if no such batch is settled. */
  proofs(batchId: string, heads: readonly string[]): Promise<BatchProofs | null>
}

export interface ArchiveOptions {
  databaseUrl: string
  escrow: Escrow
  log: Log
  /** Longer than the database may take and the largest batch does. */
  answerTimeoutMs?: number
  mostWaiting?: number
}

/** Batches hold at most 10,000 receipts of about a kilobyte. What is young is soon garbage here, so little room for it is enough. */
const HEAP = { maxOldGenerationSizeMb: 512, maxYoungGenerationSizeMb: 16 }

/**
 * The near end of the thread, which answers one question at a time. One that ends, or takes too long and is ended, fails the
 * open question, and the next starts another.
 */
export function openArchive(options: ArchiveOptions): Archive & AsyncDisposable {
  const { databaseUrl, escrow, log, answerTimeoutMs = 60_000, mostWaiting = 64 } = options
  const settings: ThreadSettings = { databaseUrl, escrow, logLevel: log.level }
  let thread: Worker | null = start()
  let open: PromiseWithResolvers<Answer> | null = null
  let last: Promise<unknown> = Promise.resolve()
  let waiting = 0
  let closed = false

  function start(): Worker {
    // No settings of this process reach the thread but these.
    const started = new Worker(new URL('./main.ts', import.meta.url), {
      workerData: settings,
      env: {},
      execArgv: [],
      resourceLimits: HEAP,
    })
    started.on('message', (answer: Answer) => open?.resolve(answer))
    started.on('error', (error) => log.warn({ event: 'archive.thread-failed', error }))
    started.once('exit', () => {
      thread = null
      open?.reject(new GranaryError('internal', 'The thread of the archive ended while it was asked.'))
    })
    return started
  }

  async function askThread(question: Question): Promise<Answer> {
    if (closed) throw new GranaryError('internal', 'The archive is closed.')
    thread ??= start()
    const asked = thread
    open = Promise.withResolvers<Answer>()
    const timer = setTimeout(() => void asked.terminate(), answerTimeoutMs)
    try {
      asked.postMessage(question)
      return await open.promise
    } finally {
      clearTimeout(timer)
      open = null
    }
  }

  async function ask(question: Question, wait?: 'always'): Promise<Exclude<Answer, { answer: 'failed' }>> {
    if (waiting >= mostWaiting && wait !== 'always')
      throw new GranaryError('rate.limited', 'Too many ask for settled batches.', { limit: mostWaiting })
    waiting += 1
    const answered = last.then(() => askThread(question))
    last = answered.catch(() => undefined)
    try {
      const answer = await answered
      if (answer.answer === 'failed') throw errorOfProblem(answer.problem, answer.problem.status)
      return answer
    } finally {
      waiting -= 1
    }
  }

  return {
    async bytes(batchId, wait) {
      const answer = await ask({ ask: 'bytes', batchId }, wait)
      return answer.answer === 'bytes' ? answer.batch : null
    },
    async proofs(batchId, heads) {
      const answer = await ask({ ask: 'proofs', batchId, heads })
      return answer.answer === 'proofs' ? answer.proofs : null
    },
    // It only reads, so nothing is lost by ending it in the middle.
    async [Symbol.asyncDispose]() {
      closed = true
      await thread?.terminate()
    },
  }
}
