import type { Signer } from 'ethers'
import { accountIdOf, NO_USAGE } from '../core/accounts.ts'
import type { InferAnswer, InferBody } from '../core/api.ts'
import { GranaryError } from '../core/errors.ts'
import { typedData, type Verifier } from '../core/messages.ts'
import type { AccountConfig } from '../core/ports.ts'
import { deriveMacKey, macOf, sessionHeaders, x25519PublicKey } from '../core/sessions.ts'
import type { AccountReceipt } from './audit.ts'
import { encodeJson, type Http } from './http.ts'
import { checkReceipt } from './receipts.ts'

export interface MeterOptions {
  http: Http
  config: AccountConfig
  /** Signs vouchers and the session: the payer itself, or a granted key. */
  signer: Signer
  escrow: Verifier
  token: string
  /** Refuses requests that cost more, in base units. */
  maxPerRequest: bigint
  /** Requests that a signed ceiling runs ahead. */
  ahead?: bigint
}

interface Session {
  sessionId: string
  macKey: Uint8Array
}

const SESSION_SECONDS = 12 * 3600
const MAX_RAISES = 16

/**
 * Pays one gateway from one escrow account: a voucher's ceiling is signed some requests ahead, each request is authenticated
 * by a MAC, and every receipt is checked. Requests may run in parallel. After a wrong receipt it pays nothing more.
 */
export class Meter {
  readonly accountId: string
  readonly #options: MeterOptions
  #session: Promise<Session> | null = null
  #key = ''
  #voucher: { ceiling: bigint; header: string } | null = null
  #usageHead = { sequence: 0n, head: NO_USAGE }
  #inFlight = 0
  #raising: Promise<void> | null = null
  #stopped: GranaryError | null = null

  constructor(options: MeterOptions) {
    this.#options = options
    this.accountId = accountIdOf(options.config, { ...options.escrow, token: options.token })
  }

  /** Runs one paid inference. `idempotencyKey` makes a repeat safe after a lost answer; one is made if none is given. */
  async infer(body: InferBody, { idempotencyKey = randomId() }: { idempotencyKey?: string } = {}): Promise<InferAnswer> {
    if (this.#stopped) throw this.#stopped
    this.#inFlight += 1
    try {
      const answer = JSON.parse(new TextDecoder().decode(await this.#pay(encodeJson(body), idempotencyKey))) as InferAnswer
      this.#check(answer)
      return answer
    } finally {
      this.#inFlight -= 1
    }
  }

  /** What the gateway says of the account; the chain is the authority. */
  async standing(): Promise<Record<string, string>> {
    const { standing } = await this.#send<{ standing: Record<string, string> }>('GET', '/v1/account')
    return standing
  }

  async statement(limit = 100): Promise<Record<string, string>[]> {
    const { lines } = await this.#send<{ lines: Record<string, string>[] }>('GET', `/v1/statement?limit=${limit}`)
    return lines
  }

  /** Every receipt of the account, in order, with proofs of what is settled. */
  async receipts(): Promise<AccountReceipt[]> {
    const receipts: AccountReceipt[] = []
    for (;;) {
      const before = receipts.at(-1)?.sequence
      const page = await this.#send<{ receipts: AccountReceipt[] }>(
        'GET',
        before === undefined ? '/v1/receipts' : `/v1/receipts?before=${before}`,
      )
      if (page.receipts.length === 0) return receipts.reverse()
      receipts.push(...page.receipts)
    }
  }

  /** Any route about the account, with the session as credential; pays nothing. */
  async request(asked: { method: 'GET' | 'POST' | 'DELETE'; path: string; body?: unknown }): Promise<Uint8Array> {
    const { method, path } = asked
    const body = asked.body === undefined ? new Uint8Array() : encodeJson(asked.body)
    return (await this.#authenticated({ method, path, body, idempotencyKey: randomId(), voucher: '' })).bytes
  }

  async apiKeys(): Promise<Record<string, unknown>[]> {
    const { keys } = await this.#send<{ keys: Record<string, unknown>[] }>('GET', '/v1/keys')
    return keys
  }

  async revokeApiKey(keyId: string): Promise<void> {
    await this.#send('DELETE', `/v1/keys/${keyId}`)
  }

  async #send<T>(method: 'GET' | 'DELETE', path: string): Promise<T> {
    return JSON.parse(new TextDecoder().decode(await this.request({ method, path }))) as T
  }

  async #pay(body: Uint8Array, idempotencyKey: string): Promise<Uint8Array> {
    for (let raises = 0; ; raises++) {
      const sent = this.#voucher
      try {
        const request = { method: 'POST' as const, path: '/v1/infer', body, idempotencyKey, voucher: sent?.header ?? '' }
        return (await this.#authenticated(request)).bytes
      } catch (error) {
        if (!(error instanceof GranaryError) || error.code !== 'voucher.stale' || raises >= MAX_RAISES) throw error
        await this.#raise(sent?.ceiling ?? 0n, error)
      }
    }
  }

  /** Signs a higher ceiling, unless another request has done so since `seen`. */
  async #raise(seen: bigint, refusal: GranaryError): Promise<void> {
    while (this.#raising) await this.#raising
    if ((this.#voucher?.ceiling ?? 0n) > seen) return
    this.#raising = this.#sign(refusal).finally(() => {
      this.#raising = null
    })
    await this.#raising
  }

  async #sign({ evidence }: GranaryError): Promise<void> {
    const required = BigInt(String(evidence.required))
    const signAtLeast = BigInt(String(evidence.signAtLeast))
    if (required > this.#options.maxPerRequest) {
      throw new GranaryError(
        'payment.insufficient',
        `The request costs ${required}, more than maxPerRequest ${this.#options.maxPerRequest}.`,
      )
    }
    const ahead = this.#options.ahead ?? 16n
    const requests = BigInt(this.#inFlight) > ahead ? BigInt(this.#inFlight) : ahead
    const ceiling = signAtLeast + required * (requests - 1n)
    const { escrow, signer } = this.#options
    const key = (await signer.getAddress()).toLowerCase()
    const value = { accountId: this.accountId, key, ceiling, usageHead: this.#usageHead.head }
    const { domain, types } = typedData('InferenceEscrow', 'Voucher', escrow, value)
    const signature = await signer.signTypedData(domain, types, value)
    const header = toBase64Url(encodeJson({ ceiling, usageHead: value.usageHead, signature }))
    this.#voucher = { ceiling, header }
  }

  async #authenticated(request: {
    method: 'GET' | 'POST' | 'DELETE'
    path: string
    body: Uint8Array
    idempotencyKey: string
    voucher: string
  }) {
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
        return await this.#options.http.send({ method, path, headers, repeatable: true, ...(body.length === 0 ? {} : { body }) })
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
      accountId: this.accountId,
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

  #check(answer: InferAnswer): void {
    const { escrow, config, maxPerRequest } = this.#options
    try {
      checkReceipt({ answer, escrow, collector: config.collector, accountId: this.accountId, key: this.#key, max: maxPerRequest })
    } catch (error) {
      if (error instanceof GranaryError) this.#stopped = error
      throw error
    }
    const sequence = BigInt(answer.receipt.sequence)
    if (sequence > this.#usageHead.sequence) this.#usageHead = { sequence, head: answer.receipt.head }
  }
}

function randomId(): string {
  return crypto.randomUUID()
}

function toBase64Url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '')
}
