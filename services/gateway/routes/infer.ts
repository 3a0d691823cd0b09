import { sha256 } from 'ethers'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { InferBody, parseBody } from '../../core/api.ts'
import { GranaryError } from '../../core/errors.ts'
import { paymentHeaders, paymentResponse } from '../../core/x402.ts'
import { boughtBefore } from '../bought-before.ts'
import { challengeOf, type Rails } from '../challenge.ts'
import { type Order, type Shop, takeOrder } from '../order.ts'
import { sell } from '../sale.ts'
import { giveWhole, sellInSteps, wantsSteps } from '../streams/sale-in-steps.ts'
import { answerPaid, exactClaim } from '../x402/exact-answer.ts'
import type { ExactRailDesk } from '../x402/exact-rail.ts'

/** POST /v1/infer: the paid route. Without a credential it answers 402 with the price of this very request. */
export function inferRoutes(
  app: FastifyInstance,
  { shop, rails, exact }: { shop: Shop; rails: Rails; exact: ExactRailDesk | null },
): void {
  app.post('/v1/infer', async (request, reply) => {
    const body = parseBody(InferBody, request.body)
    const rawBody = request.rawBody ?? new Uint8Array()
    const claim = exactClaim(exact, request.headers)
    let order: Order | null = null
    try {
      const before = await claim?.recall(sha256(rawBody))
      if (before) return answerPaid(reply, before)
      const { method, url: path, headers } = request
      const identify = () => shop.payers.identify({ method, path, headers, rawBody })
      const inSteps = wantsSteps(body, headers.accept)
      try {
        order = await takeOrder(shop, { body, rawBody })
      } catch (error) {
        const answer = claim ? null : await boughtBefore(shop, { error, payer: identify, rawBody, inSteps })
        if (!answer) throw error
        if (inSteps) return await giveWhole(shop, reply, { answer, repeated: true })
        return reply.header('idempotent-replayed', 'true').type('application/json').send(answer)
      }
      if (claim) return answerPaid(reply, await claim.pay(order))
      const payer = await identify()
      if (!payer) throw new GranaryError('payment.required', 'This inference costs money and no payment came with it.')
      if (inSteps) return await sellInSteps(shop, order, { payer, reply })
      const { answer, repeated } = await sell(shop, order, payer)
      if (repeated) reply.header('idempotent-replayed', 'true')
      return reply.type('application/json').send(answer)
    } catch (error) {
      claim?.refused(sha256(rawBody))
      if (order && error instanceof GranaryError && error.status === 402)
        return challenge(error, { request, reply, order, rails })
      throw error
    }
  })
}

function challenge(
  error: GranaryError,
  { request, reply, order, rails }: { request: FastifyRequest; reply: FastifyReply; order: Order; rails: Rails },
) {
  const url = `${request.protocol}://${request.host}${request.url}`
  const required = challengeOf(error, { quote: order.quote, rails, url, body: order.body })
  const { payer } = error.evidence
  if (error.code === 'payment.unsettled' && rails.exact && typeof payer === 'string') {
    const errorReason = String(error.evidence.reason)
    const { rail } = rails.exact
    reply.header(paymentHeaders.response, paymentResponse({ rail, payer, transaction: '', errorReason }))
  }
  reply.header(paymentHeaders.required, Buffer.from(JSON.stringify(required)).toString('base64'))
  return reply.code(402).type('application/problem+json').send(required)
}
