import type { ModelManifest } from '../../../core/manifest.ts'
import type { Datatype, Tensor } from '../../../core/tensors.ts'

/** A session's input or output as the ONNX file declares it; -1 for a free size. */
export interface SessionTensor {
  name: string
  datatype: Datatype
  shape: readonly number[]
}

/** What a task sees of ONNX Runtime. */
export interface Session {
  inputs: readonly SessionTensor[]
  outputs: readonly SessionTensor[]
  /** Throws what ONNX Runtime throws. */
  run(feeds: readonly Tensor[]): Promise<Tensor[]>
}

export interface TaskContext {
  manifest: ModelManifest
  /** By the manifest's file name, digests checked. */
  files: ReadonlyMap<string, Uint8Array>
  session: Session
}

/** The caller's tensors in, the caller's tensors out; each call starts fresh. Bad values throw `input.invalid`. */
export type Task = (inputs: readonly Tensor[]) => Promise<Tensor[]>

export interface TaskKind {
  /** True when every row of the first dimension is answered by itself, so that requests can share a run. */
  stacks: boolean
  /** Reads the settings; throws `request.malformed` when the manifest does not fit the task or the file. */
  open(context: TaskContext): Task
}
