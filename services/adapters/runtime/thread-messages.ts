import { type ErrorCode, GranaryError } from '../../core/errors.ts'
import type { ModelManifest } from '../../core/manifest.ts'
import type { ModelStep } from '../../core/ports.ts'
import type { Tensor } from '../../core/tensors.ts'

/** What the runtime and a session's thread say to each other: one question at a time, one answer each. */
export type Question =
  | { ask: 'open'; manifest: ModelManifest; onnx: Uint8Array; files: ReadonlyMap<string, Uint8Array> }
  | { ask: 'run'; requests: Tensor[][] }
  | { ask: 'step'; step: ModelStep }
  /** The thread ends as soon as it computes nothing; no answer. */
  | { ask: 'end' }

export type Answer =
  | { answer: 'opened'; batchable: boolean }
  /** One result per request, in order. */
  | { answer: 'ran'; results: RunResult[] }
  | { answer: 'failed'; failure: Failure }

/** `carried` of a step only. */
export type RunResult =
  | { ok: true; outputs: Tensor[]; carried?: Tensor[]; computeMicros: number }
  | { ok: false; failure: Failure }

export interface Failure {
  code: ErrorCode
  message: string
  evidence: Record<string, unknown>
}

const MAX_MESSAGE = 300

/** Errors lose their class between threads. ONNX Runtime's own are the provider's failure. */
export function failureOf(error: unknown): Failure {
  if (error instanceof GranaryError) return { code: error.code, message: error.message, evidence: error.evidence }
  const text = error instanceof Error ? error.message : String(error)
  return { code: 'provider.failed', message: `ONNX Runtime: ${text.slice(0, MAX_MESSAGE)}`, evidence: {} }
}

export function errorOf({ code, message, evidence }: Failure): GranaryError {
  return new GranaryError(code, message, evidence)
}

/** What to hand over instead of copying. */
export function buffersOf(tensors: readonly Tensor[]): ArrayBuffer[] {
  return [...new Set(tensors.map(({ data }) => data.buffer as ArrayBuffer))]
}
