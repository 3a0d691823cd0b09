import type { FastifyInstance } from 'fastify'
import { GranaryError } from '../../core/errors.ts'
import type { ContentStore } from '../../core/ports.ts'

const GET_TIMEOUT_MS = 5000

/** Bytes in and out of the gateway's IPFS node, for contributors and authors who run none; anyone can verify them by CID. */
export function contentRoutes(app: FastifyInstance, { store, limitBytes }: { store: ContentStore; limitBytes: number }): void {
  app.get('/v1/content/addresses', async () => ({ addresses: store.addresses() }))

  app.register(async (scope) => {
    scope.addContentTypeParser('application/octet-stream', { parseAs: 'buffer', bodyLimit: limitBytes }, (_request, body, done) =>
      done(null, body),
    )
    scope.post('/v1/content', { bodyLimit: limitBytes }, async (request) => {
      if (!Buffer.isBuffer(request.body) || request.body.length === 0) {
        throw new GranaryError('request.malformed', 'Send the bytes as application/octet-stream.')
      }
      return { cid: await store.put(request.body), sizeBytes: request.body.length }
    })
  })

  app.get<{ Params: { cid: string } }>('/v1/content/:cid', async (request, reply) => {
    const bytes = await store.get(request.params.cid, { maxBytes: limitBytes, timeoutMs: GET_TIMEOUT_MS })
    return reply.type('application/octet-stream').send(Buffer.from(bytes))
  })
}
