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
}

/** JSON over HTTP to one gateway: every problem+json comes back as the GranaryError it describes. */
export interface Http {
  readonly gatewayUrl: string
  send(request: HttpRequest): Promise<{ status: number; headers: Headers; bytes: Uint8Array }>
  json<T>(request: HttpRequest): Promise<T>
}

const MAX_PAUSE_MS = 2000
const UNREACHABLE_MS = 30_000
const REFUSED_MS = 8_000

export function openHttp(options: HttpOptions): Http {
  const { gatewayUrl, fetch: fetching = fetch, timeoutMs = 60_000, unreachableMs = UNREACHABLE_MS } = options
  const origin = gatewayUrl.replace(/\/+$/, '')

  async function once({ method, path, body, headers = {} }: HttpRequest) {
    const encoded = body === undefined || body instanceof Uint8Array ? body : encodeJson(body)
    const type = body instanceof Uint8Array ? 'application/octet-stream' : 'application/json'
    let response: Response
    try {
      response = await fetching(`${origin}${path}`, {
        method,
        headers: { ...(encoded === undefined ? {} : { 'content-type': headers['content-type'] ?? type }), ...headers },
        ...(encoded === undefined ? {} : { body: encoded as BodyInit }),
        signal: AbortSignal.timeout(timeoutMs),
      })
    } catch (cause) {
      const code = cause instanceof Error && cause.name === 'TimeoutError' ? 'deadline.exceeded' : 'gateway.unreachable'
      throw new GranaryError(code, `The gateway at ${origin} did not answer.`, { cause, unsent: isRefusedConnection(cause) })
    }
    const bytes = new Uint8Array(await response.arrayBuffer())
    if (response.ok) return { status: response.status, headers: response.headers, bytes }
    throw errorOfProblem(readProblem(bytes), response.status)
  }

  async function send(request: HttpRequest) {
    const startedMs = performance.now()
    for (let attempt = 0; ; attempt++) {
      try {
        return await once(request)
      } catch (error) {
        const patienceMs = patienceFor(error, request, unreachableMs)
        const pauseMs = Math.min(MAX_PAUSE_MS, 100 * 2 ** attempt) * (0.5 + Math.random() / 2)
        if (performance.now() - startedMs + pauseMs > patienceMs) throw error
        await new Promise((resolve) => setTimeout(resolve, pauseMs))
      }
    }
  }

  return {
    gatewayUrl: origin,
    send,
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
