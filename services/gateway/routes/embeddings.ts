import type { FastifyInstance, FastifyReply } from 'fastify'
import { EmbeddingsBody, type InferAnswer, parseBody } from '../../core/api.ts'
import { jurisdictionCodes } from '../../core/consent.ts'
import { GranaryError, problemOf } from '../../core/errors.ts'
import { boughtBefore } from '../bought-before.ts'
import { embeddingsOf, inferBodyOf } from '../embeddings.ts'
import { type Shop, takeOrder } from '../order.ts'
import type { Payer } from '../payer.ts'
import { sell } from '../sale.ts'

/**
 * POST /v1/embeddings as OpenAI has it, for clients that know nothing of us but a URL and a key. Where its body has no word
 * for purpose and place, those that the key is for are meant; a key that is for several has its first meant.
 */
export function embeddingRoutes(app: FastifyInstance, { shop }: { shop: Shop }): void {
  app.post('/v1/embeddings', async (request, reply) => {
    try {
      const body = parseBody(EmbeddingsBody, request.body)
      const rawBody = request.rawBody ?? new Uint8Array()
      const payer = await shop.payers.identify({ method: request.method, path: request.url, headers: request.headers, rawBody })
      if (!payer) throw new GranaryError('credential.unknown', 'Send an API key as Authorization: Bearer.')
      const { manifest } = await shop.catalog.find(body.model)
      const asked = { body: inferBodyOf(body, manifest, await scopeOf(shop, payer)), rawBody }
      const { answer, repeated } = await takeOrder(shop, asked).then(
        (order) => sell(shop, order, payer),
        async (error: unknown) => {
          const before = await boughtBefore(shop, { error, payer: async () => payer, rawBody, inSteps: false })
          if (before) return { answer: before, repeated: true }
          throw error
        },
      )
      if (repeated) reply.header('idempotent-replayed', 'true')
      return embeddingsOf(JSON.parse(Buffer.from(answer).toString('utf8')) as InferAnswer, body)
    } catch (error) {
      return refuse(reply, error)
    }
  })
}

async function scopeOf(shop: Shop, { purposes, jurisdictions }: Payer) {
  const [purpose] = purposes
  const [jurisdiction] = jurisdictions
  return {
    purpose: purpose === undefined ? undefined : (await shop.purposes())[purpose],
    jurisdiction: jurisdiction === undefined ? undefined : jurisdictionCodes[jurisdiction],
  }
}

/** OpenAI's clients read `error`; everything else is the problem+json of all routes. What is no refusal of ours is not theirs either. */
function refuse(reply: FastifyReply, error: unknown) {
  if (!(error instanceof GranaryError) || error.code === 'internal') throw error
  const { retryAfterSeconds } = error.evidence
  if (typeof retryAfterSeconds === 'number') reply.header('retry-after', String(retryAfterSeconds))
  else if (error.retryable) reply.header('retry-after', '1')
  const type = error.status === 429 ? 'rate_limit_error' : error.status < 500 ? 'invalid_request_error' : 'api_error'
  const body = { ...problemOf(error), error: { message: error.message, type, code: error.code, param: null } }
  return reply.code(error.status).type('application/problem+json').send(body)
}
