import { randomBytes } from 'node:crypto'
import { Signature, type Wallet } from 'ethers'
import { accountIdOf, NO_USAGE } from '../../../services/core/accounts.ts'
import { typedData, type Verifier } from '../../../services/core/messages.ts'
import type { AccountConfig } from '../../../services/core/selling-ledger.ts'
import { deriveMacKey, macOf, sessionHeaders, x25519PublicKey } from '../../../services/core/sessions.ts'
import type { GatewayFacts } from '../../../services/sdk/context.ts'
import { bytesOf } from './wire.ts'

/** The session protocol, step by step, so that each step can be done wrong. */
export interface SessionDraft {
  account: AccountConfig
  /** Signs, and is the key unless another is named. */
  signer: Wallet
  key?: string
  expiresAt: number
  ephemeralKey?: string
  escrow?: Verifier
}

export interface OpenSession {
  sessionId: string
  macKey: Uint8Array
  accountId: string
  key: string
}

export function escrowOf(facts: GatewayFacts): Verifier {
  return { chainId: BigInt(facts.chainId), address: facts.escrow }
}

export async function draftSession(facts: GatewayFacts, draft: SessionDraft) {
  const { account, signer, expiresAt, escrow = escrowOf(facts) } = draft
  const secretKey = new Uint8Array(randomBytes(32))
  const accountId = accountIdOf(account, { ...escrowOf(facts), token: facts.token })
  const key = (draft.key ?? signer.address).toLowerCase()
  const ephemeralKey = draft.ephemeralKey ?? x25519PublicKey(secretKey)
  const { domain, types, value } = typedData('InferenceEscrow', 'Session', escrow, { accountId, key, ephemeralKey, expiresAt })
  const signature = await signer.signTypedData(domain, types, value)
  return { body: { account, key, ephemeralKey, expiresAt, signature }, secretKey, accountId, key }
}

export function openedSession(
  facts: GatewayFacts,
  { secretKey, accountId, key }: Pick<Awaited<ReturnType<typeof draftSession>>, 'secretKey' | 'accountId' | 'key'>,
  sessionId: string,
): OpenSession {
  return { sessionId, macKey: deriveMacKey({ secretKey, publicKey: facts.gatewayKey, sessionId }), accountId, key }
}

/** The headers of one request of a session; `voucher` is the header's text. */
export function sessionRequest(
  { sessionId, macKey }: OpenSession,
  options: { method?: string; path?: string; body?: unknown; idempotencyKey?: string; voucher?: string } = {},
): Record<string, string> {
  const { method = 'POST', path = '/v1/infer', body, idempotencyKey = crypto.randomUUID(), voucher = '' } = options
  const mac = macOf(macKey, { method, path, body: bytesOf(body) ?? new Uint8Array(), idempotencyKey, voucher })
  return {
    [sessionHeaders.session]: sessionId,
    [sessionHeaders.idempotencyKey]: idempotencyKey,
    [sessionHeaders.mac]: mac,
    ...(voucher === '' ? {} : { [sessionHeaders.voucher]: voucher }),
  }
}

export interface VoucherDraft {
  signer: Wallet
  escrow: Verifier
  accountId: string
  ceiling: bigint
  /** Named in the message; the signer unless another is given. */
  key?: string
}

export async function signVoucher({ signer, escrow, accountId, ceiling, key }: VoucherDraft) {
  const message = { accountId, key: (key ?? signer.address).toLowerCase(), ceiling, usageHead: NO_USAGE }
  const { domain, types, value } = typedData('InferenceEscrow', 'Voucher', escrow, message)
  return { ceiling: ceiling.toString(), usageHead: NO_USAGE, signature: await signer.signTypedData(domain, types, value) }
}

export function voucherHeader(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n

/** The same signature with the other s: valid for the curve, refused since it could be made by anyone. */
export function highS(signature: string): string {
  const { r, s, v } = Signature.from(signature)
  const other = (ORDER - BigInt(s)).toString(16).padStart(64, '0')
  return `${r}${other}${v === 27 ? '1c' : '1b'}`
}
