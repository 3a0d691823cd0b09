import type { Signer } from 'ethers'
import { GranaryError } from '../core/errors.ts'
import { typedData, type Verifier } from '../core/messages.ts'
import type { AccountConfig } from '../core/selling-ledger.ts'
import { deriveMacKey, macOf, sessionHeaders, x25519PublicKey } from '../core/sessions.ts'
import type { Http, HttpRequest } from './http.ts'

export type Call<T> = (request: HttpRequest) => Promise<T>

export interface Authenticated {
  method: 'GET' | 'POST' | 'DELETE'
  path: string
  body: Uint8Array
  idempotencyKey: string
  voucher: string
}

interface Session {
  sessionId: string
  macKey: Uint8Array
}

const SESSION_SECONDS = 12 * 3600

/** A key's session at one gateway: signed once, then a MAC for each request. */
export class MeterSession {
  readonly #options: { http: Http; signer: Signer; escrow: Verifier; config: AccountConfig }
  readonly #accountId: string
  #session: Promise<Session> | null = null
  #key = ''

  constructor(options: { http: Http; signer: Signer; escrow: Verifier; config: AccountConfig }, accountId: string) {
    this.#options = options
    this.#accountId = accountId
  }

  /** Of whoever signed the session; empty before the first call. */
  get key(): string {
    return this.#key
  }

  /** Calls with the session's headers; opens another session where the gateway doesn't know this one any more. */
  async call<T>(request: Authenticated, call: Call<T>): Promise<T> {
    const { method, path, body, idempotencyKey, voucher } = request
    for (let attempt = 0; ; attempt++) {
      const session = await this.#openSession()
      const headers = {
        [sessionHeaders.session]: session.sessionId,
        [sessionHeaders.idempotencyKey]: idempotencyKey,
        [sessionHeaders.mac]: macOf(session.macKey, { method, path, body, idempotencyKey, voucher }),
        ...(voucher === '' ? {} : { [sessionHeaders.voucher]: voucher }),
        ...(body.length === 0 ? {} : { 'content-type': 'application/json' }),
      }
      try {
        return await call({ method, path, headers, repeatable: true, ...(body.length === 0 ? {} : { body }) })
      } catch (error) {
        // The gateway has restarted since, or the session has expired.
        const lost = error instanceof GranaryError && error.code === 'credential.unknown' && attempt < 2
        if (!lost) throw error
        this.#session = null
      }
    }
  }

  #openSession(): Promise<Session> {
    this.#session ??= this.#newSession().catch((error) => {
      this.#session = null
      throw error
    })
    return this.#session
  }

  async #newSession(): Promise<Session> {
    const { http, signer, escrow, config } = this.#options
    const secretKey = crypto.getRandomValues(new Uint8Array(32))
    const head = await http.json<{ timestamp: number }>({ method: 'GET', path: '/v1/head', repeatable: true })
    const key = (await signer.getAddress()).toLowerCase()
    this.#key = key
    const value = {
      accountId: this.#accountId,
      key,
      ephemeralKey: x25519PublicKey(secretKey),
      expiresAt: head.timestamp + SESSION_SECONDS,
    }
    const { domain, types } = typedData('InferenceEscrow', 'Session', escrow, value)
    const signature = await signer.signTypedData(domain, types, value)
    const { ephemeralKey, expiresAt } = value
    const body = { account: config, key, ephemeralKey, expiresAt, signature }
    const opened = await http.json<{ sessionId: string; gatewayKey: string }>({
      method: 'POST',
      path: '/v1/sessions',
      body,
      repeatable: true,
    })
    return {
      sessionId: opened.sessionId,
      macKey: deriveMacKey({ secretKey, publicKey: opened.gatewayKey, sessionId: opened.sessionId }),
    }
  }
}
