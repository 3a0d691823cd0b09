import { randomBytes } from 'node:crypto'
import type { Wallet } from 'ethers'
import { typedData, type Verifier } from '../../../services/core/messages.ts'
import type { Reply } from './wire.ts'
import { echo, type X402Market } from './x402-market.ts'

/** A payment put together by hand, so that each part of it can be wrong. */
export interface PaymentDraft {
  signer: Wallet
  from?: string
  to?: string
  value?: bigint
  validAfter?: number
  validBefore?: number
  nonce?: string
  /** Of the token's domain. */
  domain?: Partial<Verifier>
  accepted?: Record<string, unknown>
  version?: number
  identifier?: string
  /** What it accepts; asked of the gateway by default. */
  offer?: SignedPayment
  /** Last change to the signature. */
  bend?: (signature: string) => string
}

export interface SignedPayment {
  header: string
  accepted: Record<string, unknown>
  authorization: { from: string; to: string; value: string; validAfter: string; validBefore: string; nonce: string }
  signature: string
}

/** What the 402 offers for `exact`. */
export async function offered({ send }: X402Market): Promise<Record<string, unknown>> {
  const { json } = await send({ body: echo('hi') })
  const accepts = json.accepts as Record<string, unknown>[]
  return accepts.find(({ scheme }) => scheme === 'exact') ?? {}
}

export async function signPayment(market: X402Market, draft: PaymentDraft): Promise<SignedPayment> {
  const requirements = draft.offer?.accepted ?? (await offered(market))
  const { timestamp } = await market.market.payer.head()
  const { signer } = draft
  const message = {
    from: draft.from ?? signer.address,
    to: draft.to ?? String(requirements.payTo),
    value: draft.value ?? BigInt(String(requirements.amount)),
    validAfter: BigInt(draft.validAfter ?? 0),
    validBefore: BigInt(draft.validBefore ?? timestamp + Number(requirements.maxTimeoutSeconds)),
    nonce: draft.nonce ?? `0x${randomBytes(32).toString('hex')}`,
  }
  const extra = requirements.extra as { name: string; version: string }
  const verifier = { chainId: 31337n, address: market.token, ...extra, ...draft.domain }
  const { domain, types, value } = typedData('Token', 'TransferWithAuthorization', verifier, message)
  const signed = await signer.signTypedData(domain, types, value)
  const signature = draft.bend?.(signed) ?? signed
  const authorization = {
    from: message.from,
    to: message.to,
    value: message.value.toString(),
    validAfter: message.validAfter.toString(),
    validBefore: message.validBefore.toString(),
    nonce: message.nonce,
  }
  const info = { required: false, ...(draft.identifier === undefined ? {} : { id: draft.identifier }) }
  const payload = {
    x402Version: draft.version ?? 2,
    accepted: { ...requirements, ...draft.accepted },
    payload: { signature, authorization },
    extensions: { 'payment-identifier': { info } },
  }
  return { accepted: requirements, header: Buffer.from(JSON.stringify(payload)).toString('base64'), authorization, signature }
}

export function payWith({ send }: Pick<X402Market, 'send'>, header: string, body: unknown = echo('hi')): Promise<Reply> {
  return send({ body, headers: { 'payment-signature': header } })
}

/** Beside an Idempotency-Key. */
export function payUnder(
  { send }: Pick<X402Market, 'send'>,
  idempotencyKey: string,
  { header }: Pick<SignedPayment, 'header'>,
  body: unknown = echo('hi'),
): Promise<Reply> {
  return send({ body, headers: { 'payment-signature': header, 'idempotency-key': idempotencyKey } })
}

export function decoded(header: unknown): Record<string, unknown> {
  return JSON.parse(Buffer.from(String(header), 'base64').toString('utf8')) as Record<string, unknown>
}

/** Somebody else submits the authorization, as anyone may. */
export async function frontRun({ market }: X402Market, { authorization, signature }: SignedPayment): Promise<string> {
  const { from, to, value, validAfter, validBefore, nonce } = authorization
  const args = [from, to, value, validAfter, validBefore, nonce, signature]
  const { hash } = await market.provider.submit({ contract: 'Token', method: 'transferWithAuthorization', args })
  return hash
}
