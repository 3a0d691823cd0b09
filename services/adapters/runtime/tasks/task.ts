import type { ModelManifest } from '../../../core/manifest.ts'
import type { ModelStep, Stepped } from '../../../core/ports.ts'
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

/** One step of a longer input; what it carries to the next one comes back with its outputs, which joined are those of the task. */
export type StepTask = (step: ModelStep) => Promise<Pick<Stepped, 'outputs' | 'carried'>>

export interface TaskKind {
  /** True when every row of the first dimension is answered by itself, so that requests can share a run. */
  stacks: boolean
  /** Reads the settings; throws `request.malformed` when the manifest does not fit the task or the file. */
  open(context: TaskContext): Task
  /** Where a step depends on the ones before it. What `stacks` needs none: its steps are requests of their own. */
  openSteps?(context: TaskContext, size: number): StepTask
}
