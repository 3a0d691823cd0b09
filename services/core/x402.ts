import { Signature as EcdsaSignature } from 'ethers'
import { type Static, Type } from 'typebox'
import { Value } from 'typebox/value'
import { Address, Amount, Hex32, Signature } from './api.ts'
import type { ChainEvent } from './chain-records.ts'
import { GranaryError } from './errors.ts'
import { digestOf, signerOf, type Verifier } from './messages.ts'

/** Chapter 5, the x402 v2 rail: scheme `exact` by EIP-3009, paid to the collector's router. */

export const paymentHeaders = {
  required: 'payment-required',
  signature: 'payment-signature',
  response: 'payment-response',
} as const

/** Where payments go and under which domain they are signed. */
export interface ExactRail {
  /** With the token's own name and version. */
  token: Verifier & { name: string; version: string }
  router: string
  maxTimeoutSeconds: number
}

/** EIP-3009 TransferWithAuthorization. */
export interface Authorization {
  from: string
  to: string
  value: bigint
  validAfter: number
  validBefore: number
  nonce: string
}

/** What came in a PAYMENT-SIGNATURE header: well formed, not yet checked. */
export interface PaymentClaim {
  accepted: { scheme: string; network: string; amount: string; asset: string; payTo: string }
  authorization: Authorization
  /** 65 bytes, as the token takes it. */
  signature: string
  /** What its client calls the request: the extension payment-identifier, or an Idempotency-Key beside the payment. */
  identifier: string | null
}

/** What x402 clients of all makers know these failures as. */
export const paymentReasons = {
  payload: 'invalid_payload',
  version: 'invalid_x402_version',
  scheme: 'unsupported_scheme',
  network: 'invalid_network',
  recipient: 'invalid_exact_evm_recipient_mismatch',
  asset: 'invalid_payment_requirements',
  value: 'invalid_exact_evm_authorization_value',
  validAfter: 'invalid_exact_evm_payload_authorization_valid_after',
  validBefore: 'invalid_exact_evm_payload_authorization_valid_before',
  signature: 'invalid_exact_evm_signature',
  nonce: 'invalid_exact_evm_nonce_already_used',
  balance: 'insufficient_funds',
  settlement: 'invalid_exact_evm_transaction_failed',
} as const
export type PaymentReason = (typeof paymentReasons)[keyof typeof paymentReasons]

/** Base64 of the header at most: the payload repeats what was offered, extensions included. */
const MAX_HEADER = 12_288
/** Seconds that a block may take: an authorization that ends sooner might not make it. */
const LEAST_SECONDS = 6
/** How far beyond the offered timeout an authorization may reach, for clocks that differ. */
const CLOCK_SECONDS = 300
const IDENTIFIER = '^[a-zA-Z0-9_-]{16,128}$'

const text = Type.String({ maxLength: 256 })
const Payload = Type.Object({
  x402Version: Type.Integer(),
  accepted: Type.Object({ scheme: text, network: text, amount: Amount, asset: Address, payTo: Address }),
  payload: Type.Object({
    signature: Signature,
    authorization: Type.Object({
      from: Address,
      to: Address,
      value: Amount,
      validAfter: Type.String({ pattern: '^[0-9]{1,15}$' }),
      validBefore: Type.String({ pattern: '^[0-9]{1,15}$' }),
      nonce: Hex32,
    }),
  }),
  extensions: Type.Optional(
    Type.Object({
      'payment-identifier': Type.Optional(
        Type.Object({ info: Type.Object({ id: Type.Optional(Type.String({ pattern: IDENTIFIER })) }) }),
      ),
    }),
  ),
})

/** One entry of a 402's `accepts`. */
export function exactRequirements(rail: ExactRail, amount: bigint) {
  const { token, router, maxTimeoutSeconds } = rail
  return {
    scheme: 'exact',
    network: networkOf(rail),
    amount: amount.toString(),
    asset: token.address,
    payTo: router,
    maxTimeoutSeconds,
    extra: { name: token.name, version: token.version },
  }
}

/** That a payment may carry an identifier: the same one with the same request gives the stored answer. */
export const paymentExtensions = {
  'payment-identifier': {
    info: { required: false },
    schema: {
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      type: 'object',
      properties: {
        required: { type: 'boolean' },
        id: { type: 'string', minLength: 16, maxLength: 128, pattern: IDENTIFIER },
      },
      required: ['required'],
    },
  },
}

export function networkOf({ token }: ExactRail): string {
  return `eip155:${token.chainId}`
}

/** Reads the header; the first thing wrong with it is `payment.invalid`. */
export function readPayment(header: unknown): PaymentClaim {
  if (typeof header !== 'string' || header.length > MAX_HEADER || !/^[A-Za-z0-9+/]+={0,2}$/.test(header))
    throw refusal('payload', 'The PAYMENT-SIGNATURE header is repeated, too long or no base64.')
  const parsed = parsedJson(header)
  if (typeof parsed === 'object' && parsed !== null && 'x402Version' in parsed && parsed.x402Version !== 2)
    throw refusal('version', 'Payments of x402 version 2 are taken here.')
  if (!Value.Check(Payload, parsed)) {
    const first = Value.Errors(Payload, parsed)[0]
    throw refusal('payload', `The payment is malformed at ${first?.instancePath || '/'}: ${first?.message ?? 'wrong form'}.`)
  }
  return claimOf(parsed)
}

function parsedJson(header: string): unknown {
  try {
    const bytes = Uint8Array.from(atob(header), (character) => character.charCodeAt(0))
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw refusal('payload', 'The PAYMENT-SIGNATURE header is no base64 of JSON.', { cause })
  }
}

function claimOf({ accepted, payload, extensions }: Static<typeof Payload>): PaymentClaim {
  const { from, to, value, validAfter, validBefore, nonce } = payload.authorization
  return {
    accepted: { ...accepted, asset: accepted.asset.toLowerCase(), payTo: accepted.payTo.toLowerCase() },
    authorization: {
      from: from.toLowerCase(),
      to: to.toLowerCase(),
      value: BigInt(value),
      validAfter: Number(validAfter),
      validBefore: Number(validBefore),
      nonce,
    },
    signature: canonicalSignature(payload.signature),
    identifier: extensions?.['payment-identifier']?.info.id ?? null,
  }
}

/** Compact ones become 65 bytes; those of the upper half order are refused, since anyone could make them. */
function canonicalSignature(signature: string): string {
  try {
    return EcdsaSignature.from(signature).serialized
  } catch (cause) {
    throw refusal('signature', 'The signature is malformed or not in the lower half order.', { cause })
  }
}

/** That the payer itself signed the authorization, for this token on this chain. */
export function requireSigned({ authorization, signature }: PaymentClaim, { token }: ExactRail): void {
  const digest = digestOf('Token', 'TransferWithAuthorization', token, { ...authorization })
  if (signerOf(digest, signature)?.toLowerCase() !== authorization.from)
    throw refusal('signature', "The authorization is not signed by its `from` under the token's domain on this chain.")
}

/** That the payment is for this very request, here and now; `now` is the chain's time. */
export function requireFitting(claim: PaymentClaim, of: { rail: ExactRail; amount: bigint; now: number }): void {
  const { rail, amount, now } = of
  const { accepted, authorization } = claim
  const { scheme, network, asset, payTo } = exactRequirements(rail, amount)
  if (accepted.scheme !== scheme) throw refusal('scheme', `The scheme "${accepted.scheme.slice(0, 40)}" is not taken here.`)
  if (accepted.network !== network) throw refusal('network', `The payment is for another network than ${network}.`)
  if (accepted.asset !== asset) throw refusal('asset', `The payment is in another token than ${asset}.`)
  if (accepted.payTo !== payTo || authorization.to !== payTo) throw refusal('recipient', `The payment does not go to ${payTo}.`)
  if (authorization.value !== amount || accepted.amount !== amount.toString())
    throw refusal('value', `The payment is over ${authorization.value}, this request costs ${amount}.`, {
      amount: amount.toString(),
    })
  if (authorization.validAfter >= now) throw refusal('validAfter', 'The authorization is not valid yet.', { now })
  const latest = now + rail.maxTimeoutSeconds + CLOCK_SECONDS
  if (authorization.validBefore < now + LEAST_SECONDS || authorization.validBefore > latest)
    throw refusal('validBefore', `The authorization has expired, or ends later than ${latest}.`, { now, latest })
}

export function refusal(
  reason: keyof typeof paymentReasons,
  message: string,
  evidence: { cause?: unknown; [fact: string]: unknown } = {},
) {
  return new GranaryError('payment.invalid', message, { ...evidence, reason: paymentReasons[reason] })
}

/** The PAYMENT-RESPONSE header of an answer, or of a settlement that failed. */
export function paymentResponse(of: { rail: ExactRail; payer: string; transaction: string; errorReason?: string }): string {
  const { rail, payer, transaction, errorReason } = of
  const response = {
    success: errorReason === undefined,
    ...(errorReason === undefined ? {} : { errorReason }),
    transaction,
    network: networkOf(rail),
    payer,
  }
  return btoa(JSON.stringify(response))
}

/**
 * Whether these events of one transaction show that exactly this authorization moved its value to its receiver. The token
 * logs the use of a nonce and, right after it, the transfer that came of it: so neither a cancelled authorization, nor
 * another one of the same nonce, nor another payment in the same transaction passes for it.
 */
export function isExecution(events: readonly ChainEvent[], { from, to, value, nonce }: Authorization): boolean {
  const used = events.find(
    ({ contract, name, args }) =>
      contract === 'Token' && name === 'AuthorizationUsed' && args.authorizer === from && args.nonce === nonce,
  )
  const transfer = used && events.find(({ logIndex }) => logIndex === used.logIndex + 1)
  return (
    transfer?.contract === 'Token' &&
    transfer.name === 'Transfer' &&
    transfer.args.from === from &&
    transfer.args.to === to &&
    transfer.args.value === value.toString()
  )
}
