import * as onnxruntime from 'onnxruntime-node'
import { GranaryError } from '../../core/errors.ts'
import { type Datatype, type Tensor, textsOf, textTensor } from '../../core/tensors.ts'
import type { Session, SessionTensor } from './tasks/task.ts'

/** One ONNX Runtime session seen as tensors of ours. `run` blocks the thread it is called in. */
export interface OnnxSession extends Session {
  release(): Promise<void>
}

const datatypes: Partial<Record<string, Datatype>> = {
  string: 'BYTES',
  bool: 'BOOL',
  uint8: 'UINT8',
  int32: 'INT32',
  int64: 'INT64',
  float32: 'FP32',
  float64: 'FP64',
}

/** Fatal only: what fails comes back as an error, and native logs would mix into ours. */
const LOG_SEVERITY = 4

export async function openOnnxSession(onnx: Uint8Array): Promise<OnnxSession> {
  const session = await onnxruntime.InferenceSession.create(onnx, {
    executionProviders: ['cpu'],
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: 'all',
    logSeverityLevel: LOG_SEVERITY,
  })
  return {
    inputs: session.inputMetadata.map(sessionTensor),
    outputs: session.outputMetadata.map(sessionTensor),
    async run(feeds) {
      const results = await session.run(Object.fromEntries(feeds.map((feed) => [feed.name, toOnnx(feed)])), {
        logSeverityLevel: LOG_SEVERITY,
      })
      return session.outputNames.flatMap((name) => {
        const result = results[name]
        return result ? [fromOnnx(name, result)] : []
      })
    },
    release: () => session.release(),
  }
}

function sessionTensor(metadata: onnxruntime.InferenceSession.ValueMetadata): SessionTensor {
  const datatype = metadata.isTensor ? datatypes[metadata.type] : undefined
  if (!metadata.isTensor || !datatype) {
    throw new GranaryError('provider.failed', `The ONNX file's ${metadata.name} is of a type that is not served.`)
  }
  return { name: metadata.name, datatype, shape: metadata.shape.map((size) => (typeof size === 'number' ? size : -1)) }
}

function toOnnx(tensor: Tensor): onnxruntime.Tensor {
  const { datatype, shape, data } = tensor
  // Typed arrays want aligned bytes; a copy starts at zero.
  const aligned = data.byteOffset % 8 === 0 ? data : new Uint8Array(data)
  const at = [aligned.buffer as ArrayBuffer, aligned.byteOffset] as const
  switch (datatype) {
    case 'BYTES':
      return new onnxruntime.Tensor('string', textsOf(tensor), shape)
    case 'BOOL':
      return new onnxruntime.Tensor('bool', aligned, shape)
    case 'UINT8':
      return new onnxruntime.Tensor('uint8', aligned, shape)
    case 'INT32':
      return new onnxruntime.Tensor('int32', new Int32Array(...at, data.length / 4), shape)
    case 'INT64':
      return new onnxruntime.Tensor('int64', new BigInt64Array(...at, data.length / 8), shape)
    case 'FP32':
      return new onnxruntime.Tensor('float32', new Float32Array(...at, data.length / 4), shape)
    case 'FP64':
      return new onnxruntime.Tensor('float64', new Float64Array(...at, data.length / 8), shape)
  }
}

function fromOnnx(name: string, tensor: onnxruntime.Tensor): Tensor {
  const shape = [...tensor.dims]
  if (tensor.type === 'string') return textTensor(name, tensor.data as string[], shape)
  const datatype = datatypes[tensor.type]
  if (!datatype) throw new GranaryError('provider.failed', `The model's output ${name} is of a type that is not served.`)
  const { buffer, byteOffset, byteLength } = tensor.data as Exclude<onnxruntime.Tensor['data'], string[]>
  return { name, datatype, shape, data: new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength).slice() }
}
