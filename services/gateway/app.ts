import type { Socket } from 'node:net'
import rateLimit from '@fastify/rate-limit'
import websocket from '@fastify/websocket'
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import type { Log } from '../adapters/log.ts'
import { GranaryError, problemOf } from '../core/errors.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** The body as it came, for MACs and idempotency. */
    rawBody?: Uint8Array
  }
}

/** The HTTP frame without routes: JSON with its raw bytes kept, problem+json for every error, limits. */
export async function openApp(options: {
  log: Log
  bodyLimitBytes: number
  requestsPerMinute: number
}): Promise<FastifyInstance> {
  const { log, bodyLimitBytes, requestsPerMinute } = options
  const app = fastify({
    bodyLimit: bodyLimitBytes,
    requestTimeout: 120_000,
    routerOptions: { maxParamLength: 200 },
    // Paths that can't be read never reach the error handler below.
    frameworkErrors: (error, _request, reply) => refuse(reply, knownError(error)),
    clientErrorHandler: refuseBytes,
  })
  const parseJson = app.getDefaultJsonParser('error', 'error')
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request: FastifyRequest, body: Buffer, done) => {
    request.rawBody = body
    parseJson(request, body.toString('utf8'), done)
  })
  app.setErrorHandler((error, request, reply) => {
    const known = knownError(error)
    if (known.code === 'internal') log.error({ event: 'request.failed', url: request.url, error })
    return refuse(reply, known)
  })
  app.setNotFoundHandler((request) => {
    throw new GranaryError('route.unknown', `There is no ${request.method} ${request.url.slice(0, 200)}.`)
  })
  await app.register(rateLimit, {
    max: requestsPerMinute,
    timeWindow: '1 minute',
    errorResponseBuilder: (_request, context) =>
      new GranaryError('rate.limited', `At most ${context.max} requests a minute.`, { limit: context.max }),
  })
  await app.register(websocket, { options: { maxPayload: 512 * 1024, perMessageDeflate: false } })
  return app
}

function refuse(reply: FastifyReply, error: GranaryError) {
  const { retryAfterSeconds } = error.evidence
  if (typeof retryAfterSeconds === 'number') reply.header('retry-after', String(retryAfterSeconds))
  // Null is never: what is larger than a whole budget.
  else if (error.retryable && retryAfterSeconds === undefined) reply.header('retry-after', '1')
  return reply.code(error.status).type('application/problem+json').send(problemOf(error))
}

/** Bytes that are no HTTP: there is no request to reply to, only a socket. */
function refuseBytes(error: Error & { code: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const refused = new GranaryError('request.malformed', 'What was sent is no HTTP request.', { reason: error.code })
  const body = JSON.stringify(problemOf(refused))
  const head = [
    'HTTP/1.1 400 Bad Request',
    'content-type: application/problem+json',
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
  ]
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`)
}

/** Fastify's own refusals in our words; what is neither is a defect. */
function knownError(error: unknown): GranaryError {
  if (error instanceof GranaryError) return error
  const { statusCode, code, message } = error as { statusCode?: number; code?: string; message: string }
  if (statusCode === 413) return new GranaryError('request.too-large', message)
  if (statusCode === 429) return new GranaryError('rate.limited', message)
  if (statusCode === 415) return new GranaryError('request.malformed', 'Send the body as application/json.')
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500)
    return new GranaryError('request.malformed', message, { reason: code })
  return new GranaryError('internal', 'Something went wrong inside the gateway.', { cause: error })
}
