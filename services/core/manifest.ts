import canonicalize from 'canonicalize'
import { sha256, toUtf8Bytes } from 'ethers'
import { type Static, Type } from 'typebox'
import { Value } from 'typebox/value'
import { GranaryError } from './errors.ts'

/**
 * What a model is, beyond its bytes: canonical JSON (RFC 8785), at most 256 KiB, put to IPFS as one raw block, so that
 * the digest on chain is the digest in its CID. It names the ONNX file, the tensors, the task that wraps them, how use
 * is counted, and golden samples that a worker must reproduce before it serves.
 */
export const MAX_MANIFEST_BYTES = 256 * 1024

const Hex32 = Type.String({ pattern: '^0x[0-9a-f]{64}$' })
const Name = Type.String({ pattern: '^[a-z0-9][a-z0-9.-]{1,63}$' })
const datatype = Type.Enum(['BYTES', 'BOOL', 'UINT8', 'INT32', 'INT64', 'FP32', 'FP64'])
const TensorSpec = Type.Object({
  name: Type.String({ minLength: 1, maxLength: 64 }),
  datatype,
  /** -1 for any size. */
  shape: Type.Array(Type.Integer({ minimum: -1 }), { maxItems: 8 }),
  description: Type.Optional(Type.String({ maxLength: 500 })),
})
const FileRef = Type.Object({
  name: Type.String({ minLength: 1, maxLength: 128 }),
  cid: Type.String({ minLength: 8, maxLength: 128 }),
  sha256: Hex32,
  sizeBytes: Type.Integer({ minimum: 1, maximum: 2 ** 31 }),
})
const GoldenTensor = Type.Object({
  name: Type.String({ maxLength: 64 }),
  datatype,
  shape: Type.Array(Type.Integer({ minimum: 0 }), { maxItems: 8 }),
  data: Type.Array(Type.Union([Type.Number(), Type.String(), Type.Boolean()])),
})

export const unitNames = ['request', 'text', 'kilochar', 'audio-second', 'image', 'row'] as const
export const taskNames = ['text-classification', 'voice-activity', 'text-recognition', 'tensor'] as const

export const ModelManifest = Type.Object({
  granary: Type.Literal('model/1'),
  name: Name,
  version: Type.String({ maxLength: 32 }),
  title: Type.String({ minLength: 1, maxLength: 120 }),
  description: Type.String({ maxLength: 2000 }),
  author: Type.String({ minLength: 1, maxLength: 200 }),
  licence: Type.String({ minLength: 1, maxLength: 100 }),
  source: Type.String({ maxLength: 300 }),
  task: Type.Enum([...taskNames]),
  onnx: FileRef,
  /** Further files of the task, such as a dictionary. */
  files: Type.Array(FileRef, { maxItems: 16 }),
  /** What callers send and get: the task's own tensors, which the task turns into the session's. */
  inputs: Type.Array(TensorSpec, { minItems: 1, maxItems: 16 }),
  outputs: Type.Array(TensorSpec, { minItems: 1, maxItems: 16 }),
  /** Task settings such as labels; interpreted by the task only. */
  settings: Type.Record(Type.String({ maxLength: 64 }), Type.Unknown()),
  unit: Type.Enum([...unitNames]),
  /**
   * The model yields in steps: the answer to each `size` of the inputs' first dimension is an answer of its own, and all of them
   * joined are the answer to the whole.
   */
  steps: Type.Optional(Type.Object({ size: Type.Integer({ minimum: 1, maximum: 2 ** 24 }) })),
  golden: Type.Array(
    Type.Object({
      inputs: Type.Array(GoldenTensor, { minItems: 1, maxItems: 16 }),
      outputs: Type.Array(GoldenTensor, { minItems: 1, maxItems: 16 }),
      /** Largest allowed difference, relative to the largest magnitude in the expected tensor. */
      tolerance: Type.Number({ minimum: 0, maximum: 0.1 }),
    }),
    { minItems: 1, maxItems: 16 },
  ),
  training: Type.Optional(
    Type.Object({
      datasets: Type.Array(Type.Object({ datasetId: Hex32, rowsDigest: Hex32, rows: Type.Integer({ minimum: 1 }) }), {
        maxItems: 32,
      }),
      script: Type.String({ maxLength: 300 }),
      scriptDigest: Hex32,
      seed: Type.Integer(),
      metrics: Type.Record(Type.String({ maxLength: 64 }), Type.Number()),
    }),
  ),
})
export type ModelManifest = Static<typeof ModelManifest>

export type UnitName = (typeof unitNames)[number]
export type TaskName = (typeof taskNames)[number]

/** The bytes that are hashed and stored. */
export function encodeManifest(manifest: unknown): Uint8Array {
  const text = canonicalize(manifest)
  if (text === undefined) throw new GranaryError('request.malformed', 'The manifest is no JSON value.')
  return toUtf8Bytes(text)
}

export function digestOfBytes(bytes: Uint8Array): string {
  return sha256(bytes)
}

/** Reads a manifest from bytes somebody else made. */
export function parseModelManifest(bytes: Uint8Array): ModelManifest {
  if (bytes.length > MAX_MANIFEST_BYTES) {
    throw new GranaryError('request.too-large', 'The model manifest is too large.', {
      sizeBytes: bytes.length,
      limit: MAX_MANIFEST_BYTES,
    })
  }
  let parsed: unknown
  try {
    parsed = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new GranaryError('request.malformed', 'The model manifest is no JSON.', { cause })
  }
  if (!Value.Check(ModelManifest, parsed)) {
    const first = Value.Errors(ModelManifest, parsed)[0]
    throw new GranaryError(
      'request.malformed',
      `The model manifest is invalid: ${first?.instancePath ?? ''} ${first?.message ?? ''}`.trim(),
    )
  }
  return parsed
}
