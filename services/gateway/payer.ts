import type { Wallet } from 'ethers'
import { nativeMacOf, openSigner, recoverSigner } from '../adapters/signatures.ts'
import { isVoucherGenuine, nextCeiling } from '../core/accounts.ts'
import { parseBody, VoucherHeader } from '../core/api.ts'
import { GranaryError } from '../core/errors.ts'
import { digestOf, type Verifier } from '../core/messages.ts'
import type { KeyStanding, Voucher } from '../core/selling-ledger.ts'
import { sameMac, sessionHeaders } from '../core/sessions.ts'
import type { ApiKeyBook } from './api-key-book.ts'
import type { SessionBook } from './session-book.ts'
import { NOBODY, readApiToken, sameHash, type Vault } from './vault.ts'

/** Who pays for a request, proven by its headers. */
export interface Payer {
  accountId: string
  key: string
  /** What the credential may buy, for what and where; empty = anything. */
  models: readonly string[]
  purposes: readonly number[]
  jurisdictions: readonly number[]
  /** null: the caller does not care, and cannot repeat. */
  idempotencyKey: string | null
  /** Came with the request, genuine. */
  voucher: Voucher | null
  /** API keys: the gateway signs ceilings with the key it holds, which is opened when that is needed. */
  signer: (() => Wallet) | null
}

export interface IncomingRequest {
  method: string
  path: string
  headers: Readonly<Record<string, string | string[] | undefined>>
  rawBody: Uint8Array
}

export interface PayerBook {
  /** null when no credential was given at all. */
  identify(request: IncomingRequest): Promise<Payer | null>
  /** A voucher that makes room for `max` on an API key's account key; `enough` when there is room by now, `impossible` past cap or deposit. */
  raise(payer: Payer, standing: KeyStanding, max: bigint): Voucher | 'enough' | 'impossible'
}

/** An API key's ceiling is signed this many requests ahead: the gateway could sign up to the key's cap at any time, so it risks nobody's money. */
const AHEAD = 256n
const MAX_HEADER = 4096

export function openPayerBook(options: {
  apiKeys: ApiKeyBook
  sessions: SessionBook
  vault: Vault
  escrow: Verifier
  /** Chain time. */
  clock: () => number
}): PayerBook {
  const { apiKeys, sessions, vault, escrow, clock } = options

  async function identify(request: IncomingRequest): Promise<Payer | null> {
    const authorization = single(request, 'authorization')
    if (authorization !== null) return byApiKey(authorization, idempotencyKeyIn(request))
    const sessionId = single(request, sessionHeaders.session)
    return sessionId === null ? null : bySession(request, sessionId)
  }

  async function byApiKey(authorization: string, idempotencyKey: string | null): Promise<Payer> {
    const match = /^Bearer ([\x21-\x7e]+)$/i.exec(authorization)
    const token = match?.[1] ? readApiToken(match[1]) : null
    if (!token) throw new GranaryError('credential.unknown', 'The Authorization header holds no API key of this gateway.')
    const stored = await apiKeys.find(token.keyId)
    // One answer for an unknown id and a wrong secret, and nothing of a key's state for who does not hold it.
    const genuine = sameHash(stored?.secretHash ?? NOBODY, token.secretHash)
    if (!stored || !genuine) throw new GranaryError('credential.unknown', 'This API key is not known here.')
    if (stored.revoked || (stored.endsAt !== null && stored.endsAt <= clock())) {
      throw new GranaryError('credential.ended', 'This API key was revoked or replaced.', { keyId: token.keyId })
    }
    const { accountId, key, models, purposes, jurisdictions } = stored
    return {
      accountId,
      key,
      models,
      purposes,
      jurisdictions,
      idempotencyKey,
      voucher: null,
      signer: () => vault.open(stored.sealedPrivateKey, stored.keyId),
    }
  }

  async function bySession(request: IncomingRequest, sessionId: string): Promise<Payer> {
    const session = await sessions.find(sessionId)
    if (!session)
      throw new GranaryError('credential.unknown', 'This session is not known here (any more): open a new one.', {
        session: sessionId,
      })
    const idempotencyKey = idempotencyKeyIn(request)
    if (idempotencyKey === null)
      throw new GranaryError('request.malformed', 'Requests of a session need an Idempotency-Key: it makes each MAC unique.')
    const voucherHeader = single(request, sessionHeaders.voucher) ?? ''
    const { method, path, rawBody } = request
    const expected = nativeMacOf(session.macKey, { method, path, body: rawBody, idempotencyKey, voucher: voucherHeader })
    if (!sameMac(expected, single(request, sessionHeaders.mac) ?? '')) {
      throw new GranaryError('credential.unknown', 'The MAC does not fit this request.', { session: sessionId })
    }
    const { accountId, key } = session
    const voucher = voucherHeader === '' ? null : readVoucher(voucherHeader, { accountId, key })
    if (voucher && !isVoucherGenuine(voucher, escrow, recoverSigner))
      throw new GranaryError('voucher.forged', 'The voucher is not signed by its key.', { accountId, key })
    return { accountId, key, models: [], purposes: [], jurisdictions: [], idempotencyKey, voucher, signer: null }
  }

  function raise(payer: Payer, standing: KeyStanding, max: bigint): Voucher | 'enough' | 'impossible' {
    const ceiling = nextCeiling(standing, { max, ahead: AHEAD })
    if (ceiling === null || payer.signer === null) return 'impossible'
    if (standing.spent + standing.reserved + max <= standing.ceiling) return 'enough'
    const value = { accountId: payer.accountId, key: payer.key, ceiling, usageHead: standing.usageHead }
    const signature = openSigner(payer.signer().privateKey)(digestOf('InferenceEscrow', 'Voucher', escrow, value))
    return { ...value, signature }
  }

  return { identify, raise }
}

export function readVoucher(header: string, of: { accountId: string; key: string }): Voucher {
  let parsed: unknown
  try {
    parsed = JSON.parse(Buffer.from(header, 'base64url').toString('utf8'))
  } catch (cause) {
    throw new GranaryError('voucher.forged', 'The voucher header is no base64url JSON.', { cause })
  }
  const { ceiling, usageHead, signature } = parseBody(VoucherHeader, parsed)
  return { ...of, ceiling: BigInt(ceiling), usageHead, signature }
}

export function idempotencyKeyIn(request: Pick<IncomingRequest, 'headers'>): string | null {
  const value = single(request, sessionHeaders.idempotencyKey)
  if (value !== null && !/^[\x21-\x7e]{1,128}$/.test(value)) {
    throw new GranaryError('request.malformed', 'An Idempotency-Key has 1 to 128 printable characters.')
  }
  return value
}

function single({ headers }: Pick<IncomingRequest, 'headers'>, name: string): string | null {
  const value = headers[name]
  if (value === undefined) return null
  if (Array.isArray(value) || value.length > MAX_HEADER)
    throw new GranaryError('request.malformed', `The header ${name} is repeated or too long.`)
  return value
}
