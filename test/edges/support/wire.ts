import { request } from 'node:http'
import { connect } from 'node:net'
import { expect } from 'vitest'
import type { ErrorCode, Problem } from '../../../services/core/errors.ts'

/** What one HTTP request got, byte for byte; the path goes out as it is written, which `fetch` would tidy up. */
export interface Reply {
  status: number
  headers: Record<string, string | string[] | undefined>
  bytes: Buffer
  /** Of a JSON body; empty when it is none. */
  json: Record<string, unknown>
}

export interface Sent {
  method?: string
  path?: string
  headers?: Record<string, string>
  /** Text and bytes go as they are, anything else as JSON. */
  body?: unknown
  timeoutMs?: number
}

const INFER = '/v1/infer'

export function openWire(gatewayUrl: string): (sent: Sent) => Promise<Reply> {
  const { hostname, port } = new URL(gatewayUrl)
  return ({ method = 'POST', path = INFER, headers = {}, body, timeoutMs = 90_000 }) =>
    new Promise((resolve, reject) => {
      const bytes = bytesOf(body)
      const outgoing = request({
        hostname,
        port,
        method,
        path,
        agent: false,
        signal: AbortSignal.timeout(timeoutMs),
        headers: {
          ...(bytes === null ? {} : { 'content-type': 'application/json', 'content-length': String(bytes.length) }),
          ...headers,
        },
      })
      outgoing.once('error', reject)
      outgoing.once('response', (response) => {
        const parts: Buffer[] = []
        response.on('data', (part: Buffer) => parts.push(part))
        response.once('error', reject)
        response.once('end', () => resolve(replyOf(response.statusCode ?? 0, response.headers, Buffer.concat(parts))))
      })
      outgoing.end(bytes ?? undefined)
    })
}

export function bytesOf(body: unknown): Buffer | null {
  if (body === undefined) return null
  if (Buffer.isBuffer(body)) return body
  return Buffer.from(typeof body === 'string' ? body : JSON.stringify(body))
}

function replyOf(status: number, headers: Reply['headers'], bytes: Buffer): Reply {
  let json: Record<string, unknown> = {}
  try {
    json = JSON.parse(bytes.toString('utf8')) as Record<string, unknown>
  } catch {
    // Bytes of another kind, or none.
  }
  return { status, headers, bytes, json }
}

/** A refusal as every route must give it: problem+json that names its code, says what is wrong and what to do. */
export function expectProblem(reply: Reply, status: number, code: ErrorCode): Problem {
  const { json } = reply
  expect({ status: reply.status, code: json.code, detail: json.detail }).toEqual({ status, code, detail: expect.any(String) })
  expect(reply.headers['content-type']).toMatch(/^application\/problem\+json/)
  expect(json).toMatchObject({ type: `urn:granary:${code}`, title: code, status })
  expect(String(json.detail).length).toBeGreaterThan(10)
  expect(String(json.hint).length).toBeGreaterThan(10)
  if (json.retryable === true) expect(reply.headers['retry-after']).toBeDefined()
  return json as Problem
}

/** What the server says to bytes that need not be HTTP, until it hangs up. */
export function talk(gatewayUrl: string, text: string | Buffer): Promise<string> {
  const { hostname, port } = new URL(gatewayUrl)
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => socket.write(text))
    let heard = ''
    socket.setEncoding('utf8').setTimeout(10_000, () => socket.destroy(new Error('The server did not hang up within 10 s.')))
    socket.on('data', (part: string) => {
      heard += part
    })
    socket.once('error', reject)
    socket.once('end', () => {
      socket.end()
      resolve(heard)
    })
  })
}
