import { randomUUID } from 'node:crypto'
import secp256k1 from 'secp256k1'
import { NO_USAGE } from '../../../services/core/accounts.ts'
import { digestOf, type Verifier } from '../../../services/core/messages.ts'
import { deriveMacKey, macOf, sessionHeaders, x25519PublicKey } from '../../../services/core/sessions.ts'
import type { Connection } from './connection.ts'
import { type EscrowFacts, type Payer, payerOf } from './wallets.ts'

const SESSION_SECONDS = 12 * 3600
/** What a MAC's run may spend, signed at its first request. */
const AHEAD = 100_000_000n

/** One payer as the gateway sees it: signs vouchers, makes MACs, or holds an API key. */
export interface Buyer {
  payer: Payer
  escrow: Verifier
  privateKey: Uint8Array
  session: { id: string; macKey: Uint8Array } | null
  apiKey: string | null
  /** The highest signed. */
  ceiling: bigint
  /** What is left of it for requests that come without a voucher. */
  room: bigint
}

export function openBuyer(index: number, facts: EscrowFacts): Buyer {
  const payer = payerOf(index, facts)
  const privateKey = Buffer.from(payer.wallet.privateKey.slice(2), 'hex')
  const escrow = { chainId: facts.chainId, address: facts.escrow }
  return { payer, escrow, privateKey, session: null, apiKey: null, ceiling: 0n, room: 0n }
}

export async function openSession(buyer: Buyer, connection: Connection): Promise<void> {
  const { payer } = buyer
  const head = await connection.send({ method: 'GET', path: '/v1/head', headers: {}, body: new Uint8Array() })
  const { timestamp } = JSON.parse(head.body.toString()) as { timestamp: number }
  const secretKey = crypto.getRandomValues(new Uint8Array(32))
  const value = {
    accountId: payer.accountId,
    key: payer.address,
    ephemeralKey: x25519PublicKey(secretKey),
    expiresAt: timestamp + SESSION_SECONDS,
  }
  const digest = digestOf('InferenceEscrow', 'Session', buyer.escrow, value)
  const { ephemeralKey, expiresAt } = value
  const signature = signed(digest, buyer.privateKey)
  const body = Buffer.from(JSON.stringify({ account: payer.config, key: payer.address, ephemeralKey, expiresAt, signature }))
  const headers = { 'content-type': 'application/json' }
  const answer = await connection.send({ method: 'POST', path: '/v1/sessions', headers, body })
  if (answer.status !== 200) throw new Error(`no session: ${answer.body.toString().slice(0, 300)}`)
  const opened = JSON.parse(answer.body.toString()) as {
    sessionId: string
    gatewayKey: string
    standing: { ceiling: string } | null
  }
  const macKey = deriveMacKey({ secretKey, publicKey: opened.gatewayKey, sessionId: opened.sessionId })
  buyer.session = { id: opened.sessionId, macKey }
  buyer.ceiling = BigInt(opened.standing?.ceiling ?? 0)
}

/** Headers of one request that pays `price`, with a voucher of its own or one that reaches far ahead. */
export function payingHeaders(
  buyer: Buyer,
  request: { mode: 'voucher' | 'mac'; path: string; body: Uint8Array; price: bigint },
): Record<string, string> {
  const { mode, path, body, price } = request
  if (!buyer.session) throw new Error('no session')
  let voucher = ''
  if (mode === 'voucher') voucher = raise(buyer, price)
  else if (buyer.room < price) {
    buyer.room = AHEAD
    voucher = raise(buyer, AHEAD)
  }
  if (mode === 'mac') buyer.room -= price
  const idempotencyKey = randomUUID()
  const mac = macOf(buyer.session.macKey, { method: 'POST', path, body, idempotencyKey, voucher })
  return {
    'content-type': 'application/json',
    [sessionHeaders.session]: buyer.session.id,
    [sessionHeaders.idempotencyKey]: idempotencyKey,
    [sessionHeaders.mac]: mac,
    ...(voucher === '' ? {} : { [sessionHeaders.voucher]: voucher }),
  }
}

function raise(buyer: Buyer, by: bigint): string {
  buyer.ceiling += by
  const value = { accountId: buyer.payer.accountId, key: buyer.payer.address, ceiling: buyer.ceiling, usageHead: NO_USAGE }
  const digest = digestOf('InferenceEscrow', 'Voucher', buyer.escrow, value)
  const header = { ceiling: buyer.ceiling.toString(), usageHead: NO_USAGE, signature: signed(digest, buyer.privateKey) }
  return Buffer.from(JSON.stringify(header)).toString('base64url')
}

function signed(digest: string, privateKey: Uint8Array): string {
  const { signature, recid } = secp256k1.ecdsaSign(Buffer.from(digest.slice(2), 'hex'), privateKey)
  return `0x${Buffer.from(signature).toString('hex')}${(27 + recid).toString(16)}`
}
