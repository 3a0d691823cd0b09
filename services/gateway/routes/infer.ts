import type { FastifyInstance } from 'fastify'
import { InferBody, parseBody } from '../../core/api.ts'
import { GranaryError } from '../../core/errors.ts'
import { challengeOf, type Rails } from '../challenge.ts'
import { type Shop, takeOrder } from '../order.ts'
import { sell } from '../sale.ts'
import { sellInSteps, wantsSteps } from '../streams/sale-in-steps.ts'

/** POST /v1/infer: the paid route. Without a credential it answers 402 with the price of this very request. */
export function inferRoutes(app: FastifyInstance, { shop, rails }: { shop: Shop; rails: Rails }): void {
  app.post('/v1/infer', async (request, reply) => {
    const body = parseBody(InferBody, request.body)
    const rawBody = request.rawBody ?? new Uint8Array()
    const order = await takeOrder(shop, { body, rawBody })
    const payer = await shop.payers.identify({ method: request.method, path: request.url, headers: request.headers, rawBody })
    const challenge = (error: GranaryError) => {
      const url = `${request.protocol}://${request.host}${request.url}`
      const required = challengeOf(error, { quote: order.quote, rails, url, body })
      reply.header('payment-required', Buffer.from(JSON.stringify(required)).toString('base64'))
      return reply.code(402).type('application/problem+json').send(required)
    }
    if (!payer) return challenge(new GranaryError('payment.required', 'This inference costs money and no payment came with it.'))
    try {
      if (wantsSteps(body, request.headers.accept)) return await sellInSteps(shop, order, { payer, reply })
      const { answer, repeated } = await sell(shop, order, payer)
      if (repeated) reply.header('idempotent-replayed', 'true')
      return reply.type('application/json').send(Buffer.from(answer))
    } catch (error) {
      if (error instanceof GranaryError && error.status === 402) return challenge(error)
      throw error
    }
  })
}
