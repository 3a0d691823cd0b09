/**
 * The one error of the project and the one table of what can go wrong: code → HTTP status, whether the same call may
 * succeed later, and what the caller can do. Gateways render it as problem+json (RFC 9457), the CLI as one line.
 */
const table = {
  'request.malformed': { status: 400, retryable: false, hint: 'Send a JSON body as documented in docs/PROTOCOL.md.' },
  'request.too-large': { status: 413, retryable: false, hint: 'Send a smaller body, or split the input.' },
  'route.unknown': { status: 404, retryable: false, hint: 'GET / lists the routes.' },
  'input.invalid': { status: 400, retryable: false, hint: 'GET /v1/models/<model> shows names, types and shapes of the inputs.' },
  'model.unknown': { status: 404, retryable: false, hint: 'GET /v1/models lists the models that can be bought here.' },
  'dataset.unknown': { status: 404, retryable: false, hint: 'Check the dataset id and the chain.' },
  'purpose.unknown': { status: 400, retryable: false, hint: 'GET /v1/purposes lists the purposes.' },
  'payment.required': {
    status: 402,
    retryable: false,
    hint: 'Send an API key, or a session with a voucher; the body lists the ways to pay.',
  },
  'payment.insufficient': { status: 402, retryable: false, hint: 'Deposit more, raise the cap, or sign a higher ceiling.' },
  'budget.exhausted': {
    status: 402,
    retryable: false,
    hint: 'The budget of this key or account is used up: wait until it resets, or let the payer raise it.',
  },
  'payment.invalid': {
    status: 402,
    retryable: false,
    hint: 'Sign a new x402 payment for exactly what the 402 lists; nothing was charged.',
  },
  'payment.unsettled': {
    status: 402,
    retryable: false,
    hint: 'The chain refused the payment: nothing was charged. Sign a new one, from an account that holds enough.',
  },
  'payment.pending': {
    status: 503,
    retryable: true,
    hint: 'The payment is on its way to the chain: send the very same one again for the answer; it is charged once at most.',
  },
  'voucher.forged': {
    status: 402,
    retryable: false,
    hint: 'The voucher must be signed by its key over this chain, escrow and account.',
  },
  'voucher.stale': {
    status: 402,
    retryable: false,
    hint: 'Vouchers are cumulative: sign a ceiling above the highest sent so far.',
  },
  'account.unknown': {
    status: 402,
    retryable: true,
    hint: 'Deposit into the account first; it counts once its block is confirmed.',
  },
  'credential.unknown': { status: 401, retryable: false, hint: 'Check the API key, or open a new session.' },
  'credential.ended': { status: 401, retryable: false, hint: 'The key was revoked or has expired: create another.' },
  'credential.forbidden': {
    status: 403,
    retryable: false,
    hint: 'This credential may not do that: use the payer, or a key that was granted for it.',
  },
  'consent.refused': {
    status: 451,
    retryable: false,
    hint: 'People whose data this model builds on do not permit this use; other models go on.',
  },
  'consent.stale': {
    status: 503,
    retryable: true,
    hint: 'The gateway has not seen a recent block and serves nothing on old consent.',
  },
  'idempotency.conflict': { status: 409, retryable: false, hint: 'Use a new Idempotency-Key for another body.' },
  'idempotency.running': { status: 409, retryable: true, hint: 'The same request is still running; ask again.' },
  'answer.gone': {
    status: 410,
    retryable: false,
    hint: 'The request was answered and charged once; its receipt is in the statement, its answer is no longer kept.',
  },
  'parallel.limited': { status: 429, retryable: true, hint: 'Wait for a running request of this key or account to end.' },
  'rate.limited': { status: 429, retryable: true, hint: 'Slow down to the limit in the headers.' },
  'provider.none': { status: 503, retryable: true, hint: 'No provider serves this model right now.' },
  'provider.busy': { status: 503, retryable: true, hint: 'All providers of this model are at capacity.' },
  'provider.gone': { status: 503, retryable: true, hint: 'The provider left while it worked; nothing was charged.' },
  'provider.failed': { status: 502, retryable: true, hint: 'The provider could not run the model; nothing was charged.' },
  'provider.refused': { status: 451, retryable: false, hint: 'The provider checked consent itself and refused.' },
  'deadline.exceeded': { status: 504, retryable: true, hint: 'The job took longer than allowed; nothing was charged.' },
  'batch.unknown': { status: 404, retryable: false, hint: 'GET /v1/batches lists what is settled here.' },
  'content.not-found': { status: 404, retryable: true, hint: 'No reachable IPFS node has these bytes.' },
  'content.unavailable': { status: 503, retryable: true, hint: 'The IPFS node does not answer.' },
  'content.mismatch': { status: 502, retryable: false, hint: 'The bytes do not hash to their CID or digest and were discarded.' },
  'relay.refused': { status: 400, retryable: false, hint: 'The chain refuses this act; the detail says why.' },
  'relay.budget': {
    status: 429,
    retryable: true,
    hint: 'The gateway pays for a bounded number of acts; anyone else may relay the same signature.',
  },
  'thaw.running': {
    status: 409,
    retryable: false,
    hint: 'Wait until the thaw ends, or cancel it; --restart replaces it by a new one.',
  },
  'thaw.none': { status: 409, retryable: false, hint: 'Start a thaw first: `granary account thaw DOLLARS`.' },
  'thaw.too-much': { status: 409, retryable: false, hint: '`granary account balance` shows what can be thawed.' },
  'credit.none': {
    status: 409,
    retryable: false,
    hint: 'Providers, collectors and the treasury earn credit when batches are settled.',
  },
  'chain.unavailable': { status: 503, retryable: true, hint: 'The chain does not answer; nothing was charged.' },
  'chain.reverted': { status: 422, retryable: false, hint: 'The contract refused; the detail names its error.' },
  'chain.unfunded': {
    status: 503,
    retryable: true,
    hint: 'The account that pays gas here is empty: send it the chain’s own currency.',
  },
  'ledger.unavailable': {
    status: 503,
    retryable: true,
    hint: 'The database does not answer, and may have charged the request: send it again with the same Idempotency-Key.',
  },
  'config.invalid': { status: 500, retryable: false, hint: 'See docs/OPERATIONS.md for the settings.' },
  'gateway.unreachable': {
    status: 503,
    retryable: true,
    hint: 'Check the URL and that the gateway runs; the same call may be sent again.',
  },
  'receipt.wrong': {
    status: 502,
    retryable: false,
    hint: 'The gateway answered with a receipt that does not hold: stop paying it and keep the receipt as evidence.',
  },
  'start.port-in-use': { status: 500, retryable: false, hint: 'Stop what uses the port, or set PORT to another.' },
  'start.already-running': { status: 500, retryable: false, hint: 'Stop the first one with Ctrl-C, or use what it serves.' },
  internal: { status: 500, retryable: false, hint: 'This is a defect of Granary: please report it.' },
} as const satisfies Record<string, { status: number; retryable: boolean; hint: string }>

export type ErrorCode = keyof typeof table

export interface Problem {
  type: string
  title: ErrorCode
  status: number
  detail: string
  code: ErrorCode
  hint: string
  retryable: boolean
  [extension: string]: unknown
}

export class GranaryError extends Error {
  readonly code: ErrorCode
  /** Facts for the caller, JSON-safe: money as decimal strings. */
  readonly evidence: Record<string, unknown>

  constructor(code: ErrorCode, message: string, { cause, ...evidence }: { cause?: unknown; [fact: string]: unknown } = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'GranaryError'
    this.code = code
    this.evidence = evidence
  }

  get status(): number {
    return table[this.code].status
  }
  get retryable(): boolean {
    return table[this.code].retryable
  }
  get hint(): string {
    return table[this.code].hint
  }
}

/** RFC 9457 body; what is not ours becomes `internal` without its message, which might hold secrets. */
export function problemOf(error: unknown): Problem {
  const known = error instanceof GranaryError ? error : new GranaryError('internal', 'Something went wrong inside the service.')
  return {
    ...known.evidence,
    type: `urn:granary:${known.code}`,
    title: known.code,
    status: known.status,
    detail: known.message,
    code: known.code,
    hint: known.hint,
    retryable: known.retryable,
  }
}

/** The error that a problem+json body describes, so that a client throws what the server threw. */
export function errorOfProblem(problem: Partial<Problem>, status: number): GranaryError {
  const { type: _type, title: _title, status: _status, detail, code, hint: _hint, retryable: _retryable, ...evidence } = problem
  const known = code !== undefined && code in table ? code : 'internal'
  return new GranaryError(known, detail ?? `HTTP ${status}`, evidence)
}
