import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { GranaryError } from '../../services/core/errors.ts'
import { type Engine, EngineRefusal } from './anvil.ts'

/**
 * The chain's public face: JSON-RPC over HTTP on loopback. Reading goes straight to the engine, raw transactions through the
 * log, and everything that would change the state in another way (anvil_, evm_, hardhat_, unlocked accounts) is refused,
 * because it would be lost with the next kill.
 */
const MAX_BODY_BYTES = 4 * 1024 * 1024
const MAX_BATCH = 200
const MAX_CONNECTIONS = 256
/** Far longer than clients keep an idle connection: who closes first must be the one that would send. */
const KEEP_ALIVE_MS = 65_000
const ALLOWED = /^(?:eth|net|web3)_/
const REFUSED = /^eth_(?:send(?!RawTransaction$)|sign|resend|subscribe|unsubscribe|mining$|submit)/

export interface Request {
  id: unknown
  method: string
  params: unknown
}

export async function serveRpc(options: {
  port: number
  /** Loopback unless told otherwise; anyone who reaches it may use it. */
  host?: string | undefined
  engine: Pick<Engine, 'forward'>
  /** Resolves with the transaction's hash once it can no longer be lost. */
  submit: (raw: string) => Promise<string>
}): Promise<{ port: number } & AsyncDisposable> {
  const server = createServer((request, response) => {
    answer(request, options).then(
      (body) => send(response, 200, body),
      (error) => send(response, error instanceof TooLarge ? 413 : 500, failure(null, -32603, String(error.message ?? error))),
    )
  })
  server.maxConnections = MAX_CONNECTIONS
  server.requestTimeout = 30_000
  server.keepAliveTimeout = KEEP_ALIVE_MS
  await listen(server, options.port, options.host ?? '127.0.0.1')
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

class TooLarge extends Error {}

type Options = Parameters<typeof serveRpc>[0]

async function answer(request: IncomingMessage, options: Options): Promise<string> {
  if (request.method !== 'POST') return failure(null, -32600, 'This is a JSON-RPC endpoint: POST to it.')
  const body = await readBody(request)
  let parsed: unknown
  try {
    parsed = JSON.parse(body)
  } catch {
    return failure(null, -32700, 'The body is not JSON.')
  }
  if (!Array.isArray(parsed)) return one(parsed, options)
  if (parsed.length === 0 || parsed.length > MAX_BATCH) return failure(null, -32600, `A batch holds 1 to ${MAX_BATCH} requests.`)
  return `[${(await Promise.all(parsed.map((entry) => one(entry, options)))).join(',')}]`
}

async function one(entry: unknown, { engine, submit }: Options): Promise<string> {
  const request = parseRequest(entry)
  if (request === null) return failure(null, -32600, 'This is no JSON-RPC request.')
  const { id, method, params } = request
  if (!ALLOWED.test(method) || REFUSED.test(method)) return failure(id, -32601, `${method} is not served by this chain.`)
  if (method !== 'eth_sendRawTransaction') return engine.forward(JSON.stringify({ jsonrpc: '2.0', id, method, params }))
  const raw = Array.isArray(params) ? params[0] : undefined
  if (typeof raw !== 'string' || !/^0x(?:[0-9a-f]{2})+$/i.test(raw)) return failure(id, -32602, 'A raw transaction is 0x-hex.')
  try {
    return JSON.stringify({ jsonrpc: '2.0', id, result: await submit(raw) })
  } catch (error) {
    if (error instanceof EngineRefusal) return JSON.stringify({ jsonrpc: '2.0', id, error: error.rpc })
    return failure(id, -32603, error instanceof Error ? error.message : String(error))
  }
}

function parseRequest(entry: unknown): Request | null {
  if (typeof entry !== 'object' || entry === null) return null
  const { id = null, method, params = [] } = entry as Record<string, unknown>
  return typeof method === 'string' ? { id, method, params } : null
}

function failure(id: unknown, code: number, message: string): string {
  return JSON.stringify({ jsonrpc: '2.0', id, error: { code, message } })
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > MAX_BODY_BYTES) throw new TooLarge(`A body holds at most ${MAX_BODY_BYTES} bytes.`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

function send(response: ServerResponse, status: number, body: string): void {
  if (response.destroyed) return
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }).end(body)
}

function listen(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const taken = error.code === 'EADDRINUSE'
      reject(taken ? new GranaryError('start.port-in-use', `Port ${port} is in use; the local chain needs it.`, { port }) : error)
    })
    server.listen(port, host, () => resolve())
  })
}
