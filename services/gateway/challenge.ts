import type { InferBody } from '../core/api.ts'
import type { GranaryError } from '../core/errors.ts'
import { problemOf } from '../core/errors.ts'
import { type ExactRail, exactRequirements, paymentExtensions } from '../core/x402.ts'

/** What an unpaid request would cost. */
export interface Quote {
  modelId: string
  units: bigint
  unitPrice: bigint
  max: bigint
}

/** x402 `exact`, where a router takes it. */
export interface ExactOffer {
  rail: ExactRail
  minPrice: bigint
}

export interface Rails {
  chainId: bigint
  token: string
  /** The token's EIP-712 domain, under which deposits are signed. */
  tokenDomain: { name: string; version: string }
  escrow: string
  collector: string
  minThawSeconds: number
  sessionKey: string
  exact: ExactOffer | null
}

/**
 * The 402 answer: problem+json that is at the same time x402 v2's PaymentRequired. `accepts` lists the rails with the price
 * of this very request.
 */
export function challengeOf(error: GranaryError, options: { quote: Quote; rails: Rails; url: string; body: InferBody }) {
  const { quote, rails, url, body } = options
  const { exact } = rails
  const offered = exact !== null && quote.max >= exact.minPrice ? [exactRequirements(exact.rail, quote.max)] : []
  return {
    ...problemOf(error),
    x402Version: 2,
    error: error.message,
    resource: { url, description: `Inference with ${body.model}`, mimeType: 'application/json' },
    accepts: [
      ...offered,
      {
        scheme: 'granary-meter',
        network: `eip155:${rails.chainId}`,
        amount: quote.max.toString(),
        asset: rails.token,
        payTo: rails.escrow,
        maxTimeoutSeconds: 60,
        extra: {
          modelId: quote.modelId,
          units: quote.units.toString(),
          unitPrice: quote.unitPrice.toString(),
          ...rails.tokenDomain,
          collector: rails.collector,
          minThawSeconds: rails.minThawSeconds,
          gatewayKey: rails.sessionKey,
          deposit: '/v1/deposits',
          session: '/v1/sessions',
          apiKey: '/v1/keys/offer',
        },
      },
    ],
    extensions: offered.length > 0 ? paymentExtensions : {},
  }
}
