import type { Signer } from 'ethers'
import { accountIdOf, NO_USAGE } from '../core/accounts.ts'
import type { InferAnswer, InferBody, TopUpEvent } from '../core/api.ts'
import { GranaryError } from '../core/errors.ts'
import { typedData, type Verifier } from '../core/messages.ts'
import type { AccountConfig } from '../core/selling-ledger.ts'
import type { AccountReceipt } from './audit.ts'
import { encodeJson, type Http, randomId, toBase64Url } from './http.ts'
import { InferenceStream } from './inference-stream.ts'
import { type Call, MeterSession } from './meter-session.ts'
import { checkReceiptOf, commitmentTo, type ReceiptOfCheck } from './receipts.ts'

export interface MeterOptions {
  http: Http
  config: AccountConfig
  /** Signs vouchers and the session: the payer itself, or a granted key. */
  signer: Signer
  escrow: Verifier
  token: string
  /** Refuses requests that cost more, in base units. */
  maxPerRequest: bigint
  /**
   * Of the key, over its life: no ceiling above it is signed. How much was spent before is the gateway's word, by which it asks for a
   * ceiling; without this the account's deposit and the key's cap are all that bounds a gateway that lies.
   */
  maxSpent?: bigint
  /** Requests that a signed ceiling runs ahead. */
  ahead?: bigint
}

const MAX_RAISES = 16
/** Of a stream, in one ceiling. */
const TOP_UPS_AHEAD = 4n

/**
 * Pays one gateway from one escrow account: a voucher's ceiling is signed some requests ahead, each request is authenticated
 * by a MAC, and every receipt is checked. Requests may run in parallel. After a wrong receipt it pays nothing more.
 */
export class Meter {
  readonly accountId: string
  readonly #options: MeterOptions
  readonly #session: MeterSession
  #voucher: { ceiling: bigint; header: string } | null = null
  #usageHead = { sequence: 0n, head: NO_USAGE }
  #inFlight = 0
  #raising: Promise<void> | null = null
  #stopped: GranaryError | null = null

  constructor(options: MeterOptions) {
    this.#options = options
    this.accountId = accountIdOf(options.config, { ...options.escrow, token: options.token })
    this.#session = new MeterSession(options, this.accountId)
  }

  /** Runs one paid inference. `idempotencyKey` makes a repeat safe after a lost answer; one is made if none is given. */
  async infer(body: InferBody, { idempotencyKey = randomId() }: { idempotencyKey?: string } = {}): Promise<InferAnswer> {
    if (this.#stopped) throw this.#stopped
    this.#inFlight += 1
    try {
      const { bytes } = await this.#pay(encodeJson(body), { idempotencyKey, call: this.#options.http.send })
      const answer = JSON.parse(new TextDecoder().decode(bytes)) as InferAnswer
      this.#check(answer, { asked: body, commitment: commitmentTo(answer.outputs), max: this.#options.maxPerRequest })
      return answer
    } finally {
      this.#inFlight -= 1
    }
  }

  /**
   * Runs one paid inference whose answer comes in steps, and pays for those that come: at most `max` for all of them (default
   * maxPerRequest), signing further ceilings as the stream asks for them. Leaving the loop early ends the stream and its cost.
   */
  async inferStream(
    body: InferBody,
    { idempotencyKey = randomId(), max = this.#options.maxPerRequest }: { idempotencyKey?: string; max?: bigint } = {},
  ): Promise<InferenceStream> {
    if (this.#stopped) throw this.#stopped
    const call = this.#options.http.open
    const response = await this.#pay(encodeJson({ ...body, stream: true }), { idempotencyKey, call })
    return new InferenceStream(response, {
      topUp: (asked) => this.#topUp(asked, max),
      check: (answer, commitment) => this.#check(answer, { asked: body, commitment, max }),
      refused: (error) => {
        this.#stopped ??= error
      },
    })
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
    const { send } = this.#options.http
    return (await this.#session.call({ method, path, body, idempotencyKey: randomId(), voucher: '' }, send)).bytes
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

  async #pay<T>(body: Uint8Array, { idempotencyKey, call }: { idempotencyKey: string; call: Call<T> }): Promise<T> {
    for (let raises = 0; ; raises++) {
      // Another request may have got a wrong receipt meanwhile.
      if (this.#stopped) throw this.#stopped
      const sent = this.#voucher
      try {
        const request = { method: 'POST' as const, path: '/v1/infer', body, idempotencyKey, voucher: sent?.header ?? '' }
        return await this.#session.call(request, call)
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
    this.#raising = this.#raiseFor(refusal).finally(() => {
      this.#raising = null
    })
    await this.#raising
  }

  async #raiseFor({ evidence }: GranaryError): Promise<void> {
    const required = BigInt(String(evidence.required))
    const signAtLeast = BigInt(String(evidence.signAtLeast))
    if (required > this.#options.maxPerRequest) {
      throw new GranaryError(
        'payment.insufficient',
        `The request costs ${required}, more than maxPerRequest ${this.#options.maxPerRequest}.`,
      )
    }
    const { ahead = 16n, maxSpent } = this.#options
    const requests = BigInt(this.#inFlight) > ahead ? BigInt(this.#inFlight) : ahead
    const ceiling = signAtLeast + required * (requests - 1n)
    if (maxSpent !== undefined && signAtLeast > maxSpent) {
      throw new GranaryError(
        'payment.insufficient',
        `The gateway asks for a ceiling of ${signAtLeast}, more than maxSpent ${maxSpent}.`,
      )
    }
    await this.#sign(maxSpent !== undefined && ceiling > maxSpent ? maxSpent : ceiling)
  }

  async #sign(ceiling: bigint): Promise<void> {
    const { escrow, signer } = this.#options
    const key = (await signer.getAddress()).toLowerCase()
    if (this.#stopped) throw this.#stopped
    const value = { accountId: this.accountId, key, ceiling, usageHead: this.#usageHead.head }
    const { domain, types } = typedData('InferenceEscrow', 'Voucher', escrow, value)
    const signature = await signer.signTypedData(domain, types, value)
    const header = toBase64Url(encodeJson({ ceiling, usageHead: value.usageHead, signature }))
    this.#voucher = { ceiling, header }
  }

  /** Ahead as for requests, never beyond the budget of the stream; less than what was asked for may still do for a step or two. */
  async #topUp({ reserved, required, signAtLeast, post }: TopUpEvent, max: bigint): Promise<void> {
    const left = max - BigInt(reserved)
    const wanted = BigInt(required) * TOP_UPS_AHEAD
    const ceiling = BigInt(signAtLeast) - BigInt(required) + (wanted < left ? wanted : left)
    const { maxSpent } = this.#options
    if (left <= 0n || this.#stopped || (maxSpent !== undefined && ceiling > maxSpent)) return
    while (this.#raising) await this.#raising
    if ((this.#voucher?.ceiling ?? 0n) < ceiling) {
      this.#raising = this.#sign(ceiling).finally(() => {
        this.#raising = null
      })
      await this.#raising
    }
    const request = { method: 'POST' as const, path: post, body: encodeJson({}), idempotencyKey: randomId() }
    await this.#session.call({ ...request, voucher: this.#voucher?.header ?? '' }, this.#options.http.send)
  }

  #check(answer: Omit<InferAnswer, 'outputs'>, agreed: Pick<ReceiptOfCheck, 'asked' | 'commitment' | 'max'>): void {
    const { escrow, config } = this.#options
    try {
      checkReceiptOf({
        ...agreed,
        answer,
        escrow,
        collector: config.collector,
        accountId: this.accountId,
        key: this.#session.key,
      })
    } catch (error) {
      if (error instanceof GranaryError) this.#stopped = error
      throw error
    }
    const sequence = BigInt(answer.receipt.sequence)
    if (sequence > this.#usageHead.sequence) this.#usageHead = { sequence, head: answer.receipt.head }
  }
}
