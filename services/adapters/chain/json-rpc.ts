import {
  type ClientRequest,
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingMessage,
  type RequestOptions,
} from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { setTimeout as delay } from 'node:timers/promises'
import { GranaryError } from '../../core/errors.ts'

/** What the node answered instead of a result. */
export interface RpcRefusal {
  message: string
  /** The contract said no, rather than the node. */
  reverted: boolean
  /** Revert data, where there is any. */
  data: string | null
}

export type RpcAnswer = { ok: true; result: unknown } | { ok: false; refusal: RpcRefusal; cause: unknown }

/** JSON-RPC with a time limit per request; a node that cannot be reached is `chain.unavailable`, a refusal is an answer. */
export interface JsonRpc {
  ask(method: string, params: readonly unknown[]): Promise<RpcAnswer>
  /** As `ask`, in the order of the questions, in one request where the node takes that. */
  askAll(method: string, params: readonly (readonly unknown[])[]): Promise<RpcAnswer[]>
  /** As `ask`, for questions that a healthy node never refuses. */
  send(method: string, params: readonly unknown[]): Promise<unknown>
  close(): void
}

/** As Node's own agents: shorter than servers keep an idle connection. */
const IDLE_MS = 5000
const MAX_ANSWER_BYTES = 256 * 1024 * 1024
const FIRST_PAUSE_MS = 250
const TOO_MANY_REQUESTS = 429
/** Questions go one by one for so long after a node did not take them together. */
const APART_MS = 60_000

/**
 * Each process asks its node several times a second for as long as it lives, so this is its own client, which takes a third of the
 * processor time of the library's. No cache: what is read is what the node says now; and no question waits for another, unless
 * they are asked together.
 */
export function openJsonRpc({ rpcUrl, timeoutMs }: { rpcUrl: string; timeoutMs: number }): JsonRpc {
  const post = openPost(rpcUrl)
  let lastId = 0
  let manyFrom = Number.NEGATIVE_INFINITY

  const questionOf = (method: string, params: readonly unknown[]) => {
    lastId += 1
    return { jsonrpc: '2.0', id: lastId, method, params }
  }
  const answered = async (question: unknown): Promise<unknown> =>
    JSON.parse(await post(JSON.stringify(question), performance.now() + timeoutMs))
  const ask = async (method: string, params: readonly unknown[]): Promise<RpcAnswer> => {
    const question = questionOf(method, params)
    try {
      return answerTo(question.id, await answered(question))
    } catch (cause) {
      throw unavailable(method, cause)
    }
  }
  const askTogether = async (method: string, params: readonly (readonly unknown[])[]): Promise<RpcAnswer[] | null> => {
    const questions = params.map((some) => questionOf(method, some))
    try {
      const answers = await answered(questions)
      if (!Array.isArray(answers)) return null
      const byId = new Map(answers.map((answer: { id?: unknown } | null) => [String(answer?.id), answer]))
      return questions.map(({ id }) => answerTo(id, byId.get(String(id))))
    } catch {
      return null
    }
  }
  return {
    ask,
    async askAll(method, params) {
      const isTogether = params.length > 1 && performance.now() >= manyFrom
      const together = isTogether ? await askTogether(method, params) : null
      if (together) return together
      // Whether it takes none at once, or just failed, is seen later.
      if (isTogether) manyFrom = performance.now() + APART_MS
      return Promise.all(params.map((some) => ask(method, some)))
    },
    async send(method, params) {
      const answer = await ask(method, params)
      if (answer.ok) return answer.result
      throw unavailable(method, answer.cause, answer.refusal.message)
    },
    close: post.close,
  }
}

type Post = ((body: string, untilMs: number) => Promise<string>) & { close(): void }

/** A node that is asked too often is asked again later, within the time limit. */
function openPost(rpcUrl: string): Post {
  const url = new URL(rpcUrl)
  const secure = url.protocol === 'https:'
  const agent = new (secure ? HttpsAgent : HttpAgent)({ keepAlive: true, scheduling: 'lifo', timeout: IDLE_MS })
  const start = (options: RequestOptions) => (secure ? httpsRequest : httpRequest)(url, { ...options, agent, method: 'POST' })
  const post = async (body: string, untilMs: number): Promise<string> => {
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs *= 2) {
      const { status, text } = await exchange(start, { body, untilMs })
      if (status >= 200 && status < 300) return text
      if (status !== TOO_MANY_REQUESTS || performance.now() + pauseMs >= untilMs)
        throw new Error(`the node answered HTTP ${status}`)
      await delay(pauseMs)
    }
  }
  return Object.assign(post, { close: () => agent.destroy() })
}

interface Exchange {
  body: string
  untilMs: number
}

async function exchange(start: (options: RequestOptions) => ClientRequest, { body, untilMs }: Exchange) {
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
  for (;;) {
    const request = start({ headers })
    const timer = setTimeout(() => request.destroy(new Error('the node took too long')), untilMs - performance.now())
    try {
      return await new Promise<{ status: number; text: string }>((resolve, reject) => {
        request.once('error', reject)
        request.once('response', (response) => read(response, { resolve, reject }))
        request.end(body)
      })
    } catch (error) {
      // The node closed an idle connection while this was on its way into it: it has not read it.
      if (!(request.reusedSocket && isReset(error))) throw error
    } finally {
      clearTimeout(timer)
    }
  }
}

function read(
  response: IncomingMessage,
  { resolve, reject }: { resolve: (answer: { status: number; text: string }) => void; reject: (error: Error) => void },
): void {
  const parts: Buffer[] = []
  let bytes = 0
  response.on('data', (part: Buffer) => {
    bytes += part.length
    if (bytes > MAX_ANSWER_BYTES) response.destroy(new Error('the node answered too much'))
    else parts.push(part)
  })
  response.once('error', reject)
  response.once('end', () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(parts).toString() }))
}

function isReset(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ECONNRESET'
}

function answerTo(id: number, answer: unknown): RpcAnswer {
  if (typeof answer !== 'object' || answer === null) throw new Error('the node answered with no object')
  if ('error' in answer && answer.error !== null && answer.error !== undefined) return { ok: false, ...refusedBy(answer.error) }
  if (!('id' in answer) || String(answer.id) !== String(id)) throw new Error('the node answered another question')
  if (!('result' in answer)) throw new Error('the node answered without a result')
  return { ok: true, result: answer.result }
}

function refusedBy(error: unknown): { refusal: RpcRefusal; cause: unknown } {
  if (
    typeof error !== 'object' ||
    error === null ||
    !('code' in error) ||
    typeof error.code !== 'number' ||
    !('message' in error)
  )
    throw new Error('the node answered with a malformed error')
  const message = String(error.message)
  const data = revertDataIn(error)
  return { refusal: { message, data, reverted: data !== null || /revert/i.test(message) }, cause: error }
}

const DEEPEST = 6

/** Nodes put it at different depths of their error, some as JSON in a text. */
function revertDataIn(value: unknown, depth = 0): string | null {
  if (depth > DEEPEST) return null
  if (typeof value === 'string') return value.startsWith('{') ? revertDataIn(parsed(value), depth + 1) : null
  if (typeof value !== 'object' || value === null) return null
  const { message, data } = value as { message?: unknown; data?: unknown }
  if (typeof message === 'string' && /revert/i.test(message) && isHex(data)) return data
  for (const inner of Object.values(value)) {
    const found = revertDataIn(inner, depth + 1)
    if (found !== null) return found
  }
  return null
}

function isHex(value: unknown): value is string {
  return typeof value === 'string' && /^0x([0-9a-f]{2})*$/i.test(value)
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

function unavailable(method: string, cause: unknown, detail?: string): GranaryError {
  const why = detail ?? (cause instanceof Error ? cause.message : String(cause))
  return new GranaryError('chain.unavailable', `The chain did not answer ${method}: ${why}`, { cause, method })
}
