import { type Static, type TSchema, Type } from 'typebox'
import { Compile, type Validator } from 'typebox/compile'
import { Value } from 'typebox/value'
import { GranaryError } from './errors.ts'

/** The HTTP bodies of the gateway. Money is a decimal string of base units, ids and keys are lower-case hex. */
export const Hex32 = Type.String({ pattern: '^0x[0-9a-f]{64}$' })
export const Address = Type.String({ pattern: '^0x[0-9a-fA-F]{40}$' })
export const Amount = Type.String({ pattern: '^(0|[1-9][0-9]{0,24})$' })
export const Signature = Type.String({ pattern: '^0x([0-9a-fA-F]{2}){1,2048}$' })

const datatypes = ['BYTES', 'BOOL', 'UINT8', 'INT32', 'INT64', 'FP32', 'FP64'] as const
const Scalar = Type.Union([Type.Number(), Type.String(), Type.Boolean()])
const TensorBody = Type.Object({
  name: Type.String({ minLength: 1, maxLength: 64 }),
  datatype: Type.Enum(datatypes),
  shape: Type.Array(Type.Integer({ minimum: 0 }), { maxItems: 8 }),
  data: Type.Array(Scalar),
})
/** Short forms by input name: text or texts, numbers, {png} or {wav} as base64. */
const ShortInput = Type.Union([
  Scalar,
  Type.Array(Scalar),
  Type.Object({ png: Type.String() }),
  Type.Object({ wav: Type.String() }),
])

export const InferBody = Type.Object(
  {
    model: Type.String({ minLength: 1, maxLength: 128 }),
    purpose: Type.Optional(Type.String({ maxLength: 64 })),
    jurisdiction: Type.Optional(Type.String({ pattern: '^[A-Z]{2}$' })),
    inputs: Type.Union([
      Type.Array(TensorBody, { minItems: 1, maxItems: 16 }),
      Type.Record(Type.String({ minLength: 1, maxLength: 64 }), ShortInput),
    ]),
    /** The answer comes as server-sent events, step by step where the model yields in steps. */
    stream: Type.Optional(Type.Boolean()),
  },
  { additionalProperties: false },
)
export type InferBody = Static<typeof InferBody>

export const AccountBody = Type.Object({
  payer: Address,
  collector: Address,
  thawSeconds: Type.Integer({ minimum: 1, maximum: 2 ** 32 - 1 }),
  salt: Hex32,
})

export const SessionBody = Type.Object({
  account: AccountBody,
  key: Address,
  ephemeralKey: Hex32,
  expiresAt: Type.Integer({ minimum: 0 }),
  signature: Signature,
})
export type SessionBody = Static<typeof SessionBody>

export const DepositBody = Type.Object({
  account: AccountBody,
  amount: Amount,
  validAfter: Amount,
  validBefore: Amount,
  salt: Hex32,
  signature: Signature,
})

const Count = Type.Union([Type.Integer({ minimum: 1, maximum: 1_000_000 }), Type.Null()])
const Budget = Type.Union([Amount, Type.Null()])
/** null, or left out: no such limit. */
export const LimitsBody = Type.Object(
  {
    requestsPerMinute: Type.Optional(Count),
    parallel: Type.Optional(Count),
    budgetPerDay: Type.Optional(Budget),
    budgetPerMonth: Type.Optional(Budget),
  },
  { additionalProperties: false },
)
export type LimitsBody = Static<typeof LimitsBody>

export const RotateBody = Type.Object(
  { graceSeconds: Type.Optional(Type.Integer({ minimum: 0, maximum: 30 * 86_400 })) },
  { additionalProperties: false },
)

/** OpenAI's; `user` is taken and not used. */
export const EmbeddingsBody = Type.Object({
  model: Type.String({ minLength: 1, maxLength: 128 }),
  input: Type.Union([Type.String(), Type.Array(Type.String(), { minItems: 1, maxItems: 2048 })]),
  encoding_format: Type.Optional(Type.Union([Type.Literal('float'), Type.Literal('base64')])),
  dimensions: Type.Optional(Type.Integer({ minimum: 1 })),
  user: Type.Optional(Type.String()),
})
export type EmbeddingsBody = Static<typeof EmbeddingsBody>

export const KeyBody = Type.Object({
  account: AccountBody,
  /** Both from POST /v1/keys/offer. */
  key: Address,
  offer: Type.String({ maxLength: 1024, pattern: '^[A-Za-z0-9_-]+$' }),
  cap: Amount,
  notAfter: Type.Integer({ minimum: 1 }),
  nonce: Type.Integer({ minimum: 1, maximum: 2 ** 32 - 1 }),
  signature: Signature,
  label: Type.String({ maxLength: 64 }),
  models: Type.Array(Type.String({ maxLength: 128 }), { maxItems: 64 }),
  purposes: Type.Array(Type.String({ maxLength: 64 }), { maxItems: 32 }),
  jurisdictions: Type.Optional(Type.Array(Type.String({ pattern: '^[A-Z]{2}$' }), { maxItems: 256 })),
  limits: Type.Optional(LimitsBody),
})
export type KeyBody = Static<typeof KeyBody>

export const RelayBody = Type.Object({
  contract: Type.String({ maxLength: 64 }),
  method: Type.String({ maxLength: 64 }),
  args: Type.Array(Type.Unknown(), { maxItems: 16 }),
})
export type RelayBody = Static<typeof RelayBody>

/** A file of signed acts: see core/acts.ts. */
export const ActFileBody = Type.Object({
  granary: Type.Literal('acts/1'),
  chainId: Type.String({ pattern: '^[0-9]{1,20}$' }),
  contracts: Type.Record(Type.String({ maxLength: 64 }), Address),
  acts: Type.Array(RelayBody, { minItems: 1, maxItems: 64 }),
})

export const AdmissionBody = Type.Object({ account: Address, nullifier: Hex32, deadline: Type.Integer({ minimum: 0 }) })

/** The voucher header: base64url of this as JSON. */
export const VoucherHeader = Type.Object({ ceiling: Amount, usageHead: Hex32, signature: Signature })

const validators = new WeakMap<TSchema, Validator>()

/** Schemas are constants: each is compiled when it is first used. */
function validatorOf(schema: TSchema): Validator {
  const known = validators.get(schema)
  if (known) return known
  const compiled = Compile(schema) as Validator
  validators.set(schema, compiled)
  return compiled
}

/** Parses what came from outside; the first violation is named. */
export function parseBody<S extends TSchema>(schema: S, value: unknown): Static<S> {
  if (validatorOf(schema).Check(value)) return value as Static<S>
  const first = Value.Errors(schema, value)[0]
  const where = first?.instancePath || '/'
  throw new GranaryError('request.malformed', `The request body is invalid at ${where}: ${first?.message ?? 'wrong form'}.`, {
    at: where,
  })
}

/** Where one request's answer says what it cost and proves it. */
export interface InferAnswer {
  id: string
  model: string
  modelId: string
  purpose: string
  outputs: { name: string; datatype: string; shape: number[]; data: unknown[] }[]
  provider: string
  units: string
  unitPrice: string
  charged: string
  receipt: ReceiptBody
}

/** The events of a streamed answer: `step`s, `top-up` in between, `error` where it ends early, and `receipt` for what was delivered. */
export interface StepEvent {
  id: string
  index: number
  /** Steps of the whole answer. */
  of: number
  /** Of this step and all before it, and what they cost. */
  units: string
  cost: string
  outputs: InferAnswer['outputs']
}

export interface TopUpEvent {
  id: string
  /** For this answer so far, and what the next steps will cost beyond that. */
  reserved: string
  required: string
  /** The least ceiling with which the stream goes on, to be posted as a voucher to `post`. */
  signAtLeast: string
  post: string
  /** Steps that are paid for and still to come; after the last of them the stream waits this long. */
  stepsLeft: number
  withinSeconds: number
}

export interface ReceiptEvent extends Omit<InferAnswer, 'outputs'> {
  /** Delivered, and of the whole answer. */
  steps: number
  of: number
}

export interface ReceiptBody {
  accountId: string
  key: string
  job: Record<string, string | number>
  providerSignature: string
  inputSalt: string
  outputSalt: string
  sequence: string
  previousHead: string
  head: string
  /** Of the collector, over the root to which `path` leads from `head`: see receipt-signature.ts. */
  collectorSignature: string
  path: string[]
}
