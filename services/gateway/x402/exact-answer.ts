import type { FastifyReply } from 'fastify'
import { GranaryError } from '../../core/errors.ts'
import { type PaymentClaim, paymentHeaders } from '../../core/x402.ts'
import type { Order } from '../order.ts'
import { idempotencyKeyIn } from '../payer.ts'
import type { Paid } from './desk.ts'
import type { ExactRailDesk } from './exact-rail.ts'

/** A request's x402 payment, as its route goes through it. */
export interface ExactClaim {
  /** What the same request has bought before. */
  recall(bodyHash: string): Promise<Paid | null>
  pay(order: Order): Promise<Paid>
  /** The payment bought nothing now. */
  refused(bodyHash: string): void
}

/**
 * Null where no payment came, or no router takes one. What is wrong with a payment is said only by `pay`, when the price is
 * known that a 402 has to name.
 */
export function exactClaim(
  exact: ExactRailDesk | null,
  headers: Readonly<Record<string, string | string[] | undefined>>,
): ExactClaim | null {
  const header = headers[paymentHeaders.signature]
  if (exact === null || header === undefined) return null
  if (headers.authorization !== undefined || headers['granary-session'] !== undefined)
    throw new GranaryError('request.malformed', 'Send a payment or a credential, not both.')
  const idempotencyKey = idempotencyKeyIn({ headers })
  let claim: PaymentClaim
  try {
    claim = exact.claimOf(header)
  } catch (error) {
    return { recall: async () => null, pay: () => Promise.reject(error), refused: () => undefined }
  }
  return openClaim(exact, { ...claim, identifier: sameIdentifier(idempotencyKey, claim.identifier) })
}

/** A request has one name: by its header, or by x402's extension for clients that can't set one. */
function sameIdentifier(header: string | null, extension: string | null): string | null {
  if (header === null || extension === null || header === extension) return header ?? extension
  throw new GranaryError('request.malformed', 'The Idempotency-Key is not the payment identifier: send one of them, or the same.')
}

function openClaim(exact: ExactRailDesk, claim: PaymentClaim): ExactClaim {
  return {
    async recall(bodyHash) {
      const before = await exact.recall(claim, bodyHash).catch(laterIfUnpaid)
      // Perhaps not by this payment.
      if (before) void exact.remember(claim, bodyHash)
      return before
    },
    pay: (order) => exact.pay(order, claim),
    refused: (bodyHash) => void exact.remember(claim, bodyHash),
  }
}

/** A 402 names the price: `pay`, which looks again, says it. */
function laterIfUnpaid(error: unknown): null {
  if (error instanceof GranaryError && error.status === 402) return null
  throw error
}

export function answerPaid(reply: FastifyReply, { answer, repeated, response }: Paid) {
  if (repeated) reply.header('idempotent-replayed', 'true')
  return reply.header(paymentHeaders.response, response).type('application/json').send(answer)
}
