import { type Static, Type } from 'typebox'
import { Value } from 'typebox/value'
import { type ErrorCode, GranaryError } from '../../core/errors.ts'
import type { Job, JobReceipt, JobResult, JobStep } from '../../core/jobs.ts'
import { bodySize, tensorHeaders, tensorsOf } from './frames.ts'
import { WINDOW_BYTES } from './transfer-channel.ts'

/** The JSON inside the frames: who may say what, checked where it arrives. */
export const PROTOCOL = 'granary-worker/1'
export const MAX_READY_MODELS = 256
export const MAX_CAPACITY = 128
/** Tensors of one step: as much as a transfer may send without the receiver's credit. */
export const MAX_STEP_BYTES = WINDOW_BYTES

const Hex32 = Type.String({ pattern: '^0x[0-9a-f]{64}$' })
const Address = Type.String({ pattern: '^0x[0-9a-f]{40}$' })
const Signature = Type.String({ pattern: '^0x[0-9a-f]{130}$' })
const Decimal = Type.String({ pattern: '^(0|[1-9][0-9]{0,38})$' })
const whole = (maximum: number) => Type.Integer({ minimum: 0, maximum })

export const Challenge = Type.Object({
  kind: Type.Literal('challenge'),
  protocol: Type.Literal(PROTOCOL),
  challenge: Hex32,
  /** The collector on whose behalf this gateway sells. */
  gateway: Address,
  /** Where the gateway's content store can be dialled. */
  contentAddresses: Type.Array(Type.String({ maxLength: 400 }), { maxItems: 32 }),
})
export const Hello = Type.Object({
  kind: Type.Literal('hello'),
  sessionKey: Address,
  signature: Signature,
  capacity: Type.Integer({ minimum: 1, maximum: MAX_CAPACITY }),
  /** Random for each worker process: the same one coming back replaces its old connection. */
  instance: Type.String({ pattern: '^[0-9a-f-]{8,64}$' }),
})
export const Welcome = Type.Object({ kind: Type.Literal('welcome'), workerId: Type.String({ maxLength: 64 }), provider: Address })
export const Refused = Type.Object({ kind: Type.Literal('refused'), detail: Type.String({ maxLength: 500 }) })
export const Ready = Type.Object({ kind: Type.Literal('ready'), models: Type.Array(Hex32, { maxItems: MAX_READY_MODELS }) })

/** How many steps of a job the worker may have sent in all. */
export const Grant = Type.Object({ kind: Type.Literal('grant'), stream: whole(2 ** 32 - 1), steps: whole(2 ** 32) })

export const FromGateway = Type.Union([Challenge, Welcome, Refused, Grant])
export const FromWorker = Type.Union([Hello, Ready])
export type FromGateway = Static<typeof FromGateway>
export type FromWorker = Static<typeof FromWorker>

const TensorHeader = Type.Object({
  name: Type.String({ minLength: 1, maxLength: 64 }),
  datatype: Type.Union((['BYTES', 'BOOL', 'UINT8', 'INT32', 'INT64', 'FP32', 'FP64'] as const).map((name) => Type.Literal(name))),
  shape: Type.Array(whole(2 ** 31), { maxItems: 8 }),
  sizeBytes: whole(2 ** 31),
})
const Tensors = Type.Array(TensorHeader, { maxItems: 16 })

const JobHeader = Type.Object({
  jobId: Hex32,
  modelId: Hex32,
  purpose: whole(255),
  jurisdiction: whole(255),
  consentBlock: whole(2 ** 48),
  units: Decimal,
  unitPrice: Decimal,
  inputSalt: Hex32,
  outputSalt: Hex32,
  /** What is left of the caller's time. */
  timeoutMs: Type.Integer({ minimum: 1, maximum: 3_600_000 }),
  /** The answer is to come in steps of this size, the first `granted` of them at once. */
  steps: Type.Optional(Type.Object({ size: whole(2 ** 31), granted: whole(2 ** 32) })),
  tensors: Tensors,
})
const ReceiptHeader = Type.Object({
  jobId: Hex32,
  modelId: Hex32,
  provider: Address,
  purpose: whole(255),
  consentBlock: whole(2 ** 48),
  inputCommitment: Hex32,
  outputCommitment: Hex32,
  units: Decimal,
  unitPrice: Decimal,
  servedAt: whole(2 ** 40 - 1),
  computeMicros: whole(2 ** 32 - 1),
})
const signed = { receipt: ReceiptHeader, signature: Signature, tensors: Tensors }
const Answer = Type.Union([
  Type.Object({ kind: Type.Literal('result'), ...signed }),
  Type.Object({ kind: Type.Literal('step'), index: whole(2 ** 32), ...signed }),
  Type.Object({
    kind: Type.Literal('problem'),
    code: Type.String({ maxLength: 64 }),
    detail: Type.String({ maxLength: 1000 }),
    evidence: Type.Record(Type.String({ maxLength: 64 }), Type.Unknown()),
  }),
])

/** What a worker may answer with; anything else from it is `provider.failed`. */
const workerCodes: readonly string[] = [
  'provider.refused',
  'provider.failed',
  'provider.busy',
  'consent.stale',
  'input.invalid',
  'deadline.exceeded',
  'request.too-large',
] satisfies ErrorCode[]

export function parseControl<T extends typeof FromGateway | typeof FromWorker>(schema: T, message: unknown): Static<T> {
  if (Value.Check(schema, message)) return message as Static<T>
  throw new GranaryError('request.malformed', 'The control message is none of this protocol.')
}

export function encodeJob(job: Job, timeoutMs: number, granted = 0): { header: unknown; body: Uint8Array[] } {
  const { inputs, units, unitPrice, stepSize, ...plain } = job
  const steps = stepSize === undefined ? {} : { steps: { size: stepSize, granted } }
  const header = { ...plain, ...steps, units: `${units}`, unitPrice: `${unitPrice}`, timeoutMs, tensors: tensorHeaders(inputs) }
  return { header, body: inputs.map(({ data }) => data) }
}

export function decodeJob(header: unknown, body: Uint8Array): { job: Job; timeoutMs: number; granted: number } {
  if (!Value.Check(JobHeader, header)) throw new GranaryError('request.malformed', 'The job has no valid header.')
  const { tensors, units, unitPrice, timeoutMs, steps, ...plain } = header
  const job = { ...plain, units: BigInt(units), unitPrice: BigInt(unitPrice), inputs: tensorsOf(tensors, body) }
  return { job: steps ? { ...job, stepSize: steps.size } : job, timeoutMs, granted: steps?.granted ?? 0 }
}

export function encodeResult(result: JobResult): { header: unknown; body: Uint8Array[] } {
  return encodeSigned({ kind: 'result' }, result)
}

export function encodeStep({ index, ...result }: JobStep): { header: unknown; body: Uint8Array[] } {
  const sizeBytes = bodySize(result.outputs)
  if (sizeBytes > MAX_STEP_BYTES) {
    throw new GranaryError('provider.failed', 'A step of the answer is too large.', { sizeBytes, limit: MAX_STEP_BYTES })
  }
  return encodeSigned({ kind: 'step', index }, result)
}

function encodeSigned(kind: object, { outputs, receipt, signature }: JobResult): { header: unknown; body: Uint8Array[] } {
  const plain = { ...receipt, units: `${receipt.units}`, unitPrice: `${receipt.unitPrice}` }
  return {
    header: { ...kind, receipt: plain, signature, tensors: tensorHeaders(outputs) },
    body: outputs.map(({ data }) => data),
  }
}

export function encodeProblem(error: unknown): unknown {
  const known = error instanceof GranaryError && workerCodes.includes(error.code) ? error : null
  const detail = known?.message ?? 'The worker could not run the job.'
  return {
    kind: 'problem',
    code: known?.code ?? 'provider.failed',
    detail: detail.slice(0, 1000),
    evidence: known?.evidence ?? {},
  }
}

/** A worker's answer to a job: its result or next step, or the error that it says to throw. */
export function decodeAnswer(header: unknown, body: Uint8Array): JobResult | JobStep | GranaryError {
  if (!Value.Check(Answer, header)) throw new GranaryError('request.malformed', 'The answer has no valid header.')
  if (header.kind === 'problem') {
    const code = workerCodes.includes(header.code) ? (header.code as ErrorCode) : 'provider.failed'
    return new GranaryError(code, header.detail, header.evidence)
  }
  const { receipt, signature, tensors } = header
  const exact: JobReceipt = { ...receipt, units: BigInt(receipt.units), unitPrice: BigInt(receipt.unitPrice) }
  const result = { outputs: tensorsOf(tensors, body), receipt: exact, signature }
  return header.kind === 'step' ? { index: header.index, ...result } : result
}
