import { errorOfProblem, GranaryError, type Problem } from '../core/errors.ts'

export interface HttpOptions {
  gatewayUrl: string
  fetch?: typeof fetch
  timeoutMs?: number
  /** How long a gateway that can't be reached is tried; the default lets one start again. */
  unreachableMs?: number
}

export interface HttpRequest {
  method: 'GET' | 'POST' | 'DELETE'
  path: string
  body?: unknown
  headers?: Record<string, string>
  /** The call may be sent again without harm (it reads, or carries an idempotency key): retryable refusals are tried again. */
  repeatable?: boolean
  /** Gives the call up, its body too. */
  signal?: AbortSignal
}

/** JSON over HTTP to one gateway: every problem+json comes back as the GranaryError it describes. */
export interface Http {
  readonly gatewayUrl: string
  /** The answer once its head is there, its body still to be read. */
  open(request: HttpRequest): Promise<Response>
  send(request: HttpRequest): Promise<{ status: number; headers: Headers; bytes: Uint8Array }>
  json<T>(request: HttpRequest): Promise<T>
}

const MAX_PAUSE_MS = 2000
const UNREACHABLE_MS = 30_000
const REFUSED_MS = 8_000

export function openHttp(options: HttpOptions): Http {
  const { gatewayUrl, fetch: fetching = fetch, timeoutMs = 60_000, unreachableMs = UNREACHABLE_MS } = options
  const origin = gatewayUrl.replace(/\/+$/, '')

  /** Resolves with the head; what comes after it is waited for as long as the caller likes. */
  async function once({ method, path, body, headers = {}, signal }: HttpRequest): Promise<Response> {
    const encoded = body === undefined || body instanceof Uint8Array ? body : encodeJson(body)
    const type = body instanceof Uint8Array ? 'application/octet-stream' : 'application/json'
    const limit = new AbortController()
    const timer = setTimeout(() => limit.abort(new DOMException('No answer in time.', 'TimeoutError')), timeoutMs)
    let refusal: GranaryError
    try {
      const response = await fetching(`${origin}${path}`, {
        method,
        headers: { ...(encoded === undefined ? {} : { 'content-type': headers['content-type'] ?? type }), ...headers },
        ...(encoded === undefined ? {} : { body: encoded as BodyInit }),
        signal: signal ? AbortSignal.any([limit.signal, signal]) : limit.signal,
      })
      if (response.ok) return response
      refusal = errorOfProblem(readProblem(new Uint8Array(await response.arrayBuffer())), response.status)
    } catch (cause) {
      throw unanswered(cause)
    } finally {
      clearTimeout(timer)
    }
    throw refusal
  }

  function unanswered(cause: unknown): GranaryError {
    const code = cause instanceof Error && cause.name === 'TimeoutError' ? 'deadline.exceeded' : 'gateway.unreachable'
    return new GranaryError(code, `The gateway at ${origin} did not answer.`, { cause, unsent: isRefusedConnection(cause) })
  }

  async function read(request: HttpRequest) {
    const signal = AbortSignal.timeout(timeoutMs)
    const response = await once({ ...request, signal })
    try {
      const bytes = new Uint8Array(await response.arrayBuffer())
      return { status: response.status, headers: response.headers, bytes }
    } catch (cause) {
      throw unanswered(cause)
    }
  }

  async function patiently<T>(request: HttpRequest, attemptOnce: (request: HttpRequest) => Promise<T>): Promise<T> {
    const startedMs = performance.now()
    for (let attempt = 0; ; attempt++) {
      try {
        return await attemptOnce(request)
      } catch (error) {
        const patienceMs = patienceFor(error, request, unreachableMs)
        const pauseMs = Math.min(MAX_PAUSE_MS, 100 * 2 ** attempt) * (0.5 + Math.random() / 2)
        if (performance.now() - startedMs + pauseMs > patienceMs) throw error
        await new Promise((resolve) => setTimeout(resolve, pauseMs))
      }
    }
  }

  const send = (request: HttpRequest) => patiently(request, read)
  return {
    gatewayUrl: origin,
    send,
    open: (request) => patiently(request, once),
    async json<T>(request: HttpRequest): Promise<T> {
      const { bytes } = await send(request)
      return JSON.parse(new TextDecoder().decode(bytes)) as T
    },
  }
}

/** How long to go on trying; a call that never left can be sent again whatever it is. */
function patienceFor(error: unknown, { repeatable = false }: HttpRequest, unreachableMs: number): number {
  if (!(error instanceof GranaryError) || !error.retryable) return 0
  if (error.evidence.unsent === true) return unreachableMs
  if (!repeatable) return 0
  return error.code === 'gateway.unreachable' ? unreachableMs : REFUSED_MS
}

function isRefusedConnection(cause: unknown): boolean {
  const inner = cause instanceof Error ? cause.cause : undefined
  return inner instanceof Error && 'code' in inner && inner.code === 'ECONNREFUSED'
}

/** JSON with bigints as decimal strings, as every body of the gateway has them. */
export function encodeJson(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value, (_, field) => (typeof field === 'bigint' ? field.toString() : field)))
}

function readProblem(bytes: Uint8Array): Partial<Problem> {
  try {
    return JSON.parse(new TextDecoder().decode(bytes)) as Partial<Problem>
  } catch {
    return {}
  }
}

export function randomId(): string {
  return crypto.randomUUID()
}

export function toBase64Url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '')
}
