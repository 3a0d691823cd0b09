import type { ActFile, SignedAct } from '../core/acts.ts'
import type { InferAnswer, InferBody } from '../core/api.ts'
import { Account } from './account.ts'
import { Consent } from './consent.ts'
import { type Context, contextOf, type GatewayFacts, type GranaryOptions } from './context.ts'
import { Contribute } from './contribute.ts'
import { Derive } from './derive.ts'
import { Earnings } from './earnings.ts'
import { Govern } from './govern.ts'
import { openHttp } from './http.ts'
import { InferenceStream } from './inference-stream.ts'
import { Provide } from './provide.ts'
import { checkReceiptOf, commitmentTo, type ReceiptOfCheck } from './receipts.ts'
import { actFileOf, recordingContext } from './signed-acts.ts'
import { type Usage, usageOver } from './usage.ts'

/** One cooperative through one gateway: the seven chapters as properties. */
export class Granary {
  readonly contribute: Contribute
  readonly consent: Consent
  readonly derive: Derive
  readonly provide: Provide
  readonly account: Account
  readonly earnings: Earnings
  readonly govern: Govern
  readonly context: Context

  private constructor(context: Context) {
    this.context = context
    this.contribute = new Contribute(context)
    this.consent = new Consent(context)
    this.derive = new Derive(context)
    this.provide = new Provide(context)
    this.account = new Account(context)
    this.earnings = new Earnings(context)
    this.govern = new Govern(context)
  }

  static async open(options: GranaryOptions): Promise<Granary> {
    const http = openHttp(options)
    const facts = await http.json<GatewayFacts>({ method: 'GET', path: '/v1', repeatable: true })
    return new Granary(contextOf(http, facts, options))
  }

  /** Another Granary, whose acts are signed as ever but kept instead of relayed; `file` has what was signed so far. */
  recorder(): { granary: Granary; file(): ActFile } {
    const acts: SignedAct[] = []
    return { granary: new Granary(recordingContext(this.context, acts)), file: () => actFileOf(this.context, acts) }
  }

  /** What `act` would have relayed, signed and unsent: for `granary relay`, another gateway, or any transaction. */
  async sign(act: (granary: Granary) => Promise<unknown>): Promise<ActFile> {
    const { granary, file } = this.recorder()
    await act(granary)
    return file()
  }

  /** Inference by API key: nothing else is needed, the gateway signs vouchers within the key's cap. The receipt is checked. */
  async infer(body: InferBody, { apiKey, idempotencyKey }: { apiKey: string; idempotencyKey?: string }): Promise<InferAnswer> {
    const headers = { authorization: `Bearer ${apiKey}`, 'idempotency-key': idempotencyKey ?? crypto.randomUUID() }
    const asked = { method: 'POST', path: '/v1/infer', body, headers, repeatable: true } as const
    const answer = await this.context.http.json<InferAnswer>(asked)
    this.#check({ asked: body, answer, commitment: commitmentTo(answer.outputs) })
    return answer
  }

  /** The same with an answer in steps; what came is held against the receipt. */
  async inferStream(
    body: InferBody,
    { apiKey, idempotencyKey }: { apiKey: string; idempotencyKey?: string },
  ): Promise<InferenceStream> {
    const { http } = this.context
    const headers = { authorization: `Bearer ${apiKey}`, 'idempotency-key': idempotencyKey ?? crypto.randomUUID() }
    const asked = { ...body, stream: true }
    const response = await http.open({ method: 'POST', path: '/v1/infer', body: asked, headers, repeatable: true })
    return new InferenceStream(response, {
      topUp: async () => undefined,
      refused: () => undefined,
      check: (answer, commitment) => this.#check({ asked: body, answer, commitment }),
    })
  }

  /** Whose key it is, and its cap, the holder of an API key can't know. */
  #check(of: Pick<ReceiptOfCheck, 'asked' | 'answer' | 'commitment'>): void {
    const { facts, verifier } = this.context
    const { accountId, key } = of.answer.receipt
    const max = BigInt(of.answer.charged)
    checkReceiptOf({ ...of, escrow: verifier('InferenceEscrow'), collector: facts.collector, accountId, key, max })
  }

  /** What an API key has bought itself, for whoever holds it. */
  booksOf(apiKey: string): Usage {
    const headers = { authorization: `Bearer ${apiKey}` }
    return usageOver(async (path) => (await this.context.http.send({ method: 'GET', path, headers, repeatable: true })).bytes)
  }

  async models(): Promise<Record<string, unknown>[]> {
    const { models } = await this.context.http.json<{ models: Record<string, unknown>[] }>({
      method: 'GET',
      path: '/v1/models',
      repeatable: true,
    })
    return models
  }
}
