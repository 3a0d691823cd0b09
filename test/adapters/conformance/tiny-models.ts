import { createHash } from 'node:crypto'
import { type Graph, writeOnnx } from '../../../scripts/models/onnx-writer.ts'
import type { ModelManifest } from '../../../services/core/manifest.ts'
import type { ModelFiles } from '../../../services/core/ports.ts'
import { floatTensor, type JsonTensor, type Tensor } from '../../../services/core/tensors.ts'

/** Models of a few nodes that each show one behaviour of a runtime. */

type Specs = Pick<ModelManifest, 'inputs' | 'outputs'>

export function modelFiles(modelId: string, onnx: Uint8Array, specs: Specs & { golden: ModelManifest['golden'] }): ModelFiles {
  const sha256 = `0x${createHash('sha256').update(onnx).digest('hex')}`
  const manifest: ModelManifest = {
    granary: 'model/1',
    name: modelId,
    version: '1',
    title: modelId,
    description: '',
    author: 'tests',
    licence: 'Apache-2.0',
    source: 'test/adapters/conformance/tiny-models.ts',
    task: 'tensor',
    onnx: { name: `${modelId}.onnx`, cid: 'not-stored', sha256, sizeBytes: onnx.length },
    files: [],
    settings: {},
    unit: 'row',
    ...specs,
  }
  return { modelId, manifest, onnx, files: new Map() }
}

function graph(parts: Pick<Graph, 'nodes' | 'inputs' | 'outputs'> & Partial<Graph>): Uint8Array {
  return writeOnnx({ name: 'tiny', opsets: { '': 17 }, initializers: [], ...parts })
}

function json(name: string, datatype: JsonTensor['datatype'], shape: number[], data: JsonTensor['data']): JsonTensor {
  return { name, datatype, shape, data }
}

export function int64Tensor(name: string, values: readonly number[], shape: number[] = [values.length]): Tensor {
  return { name, datatype: 'INT64', shape, data: new Uint8Array(BigInt64Array.from(values, BigInt).buffer) }
}

/** y = x · W + b, two columns from three: rows are independent. */
export function affineModel(modelId = 'affine'): ModelFiles {
  const onnx = graph({
    nodes: [{ op: 'Gemm', inputs: ['x', 'w', 'b'], outputs: ['y'] }],
    inputs: [{ name: 'x', type: 'float', shape: ['rows', 3] }],
    outputs: [{ name: 'y', type: 'float', shape: ['rows', 2] }],
    initializers: [
      { name: 'w', type: 'float', shape: [3, 2], values: [1, 2, 3, 4, 5, 6] },
      { name: 'b', type: 'float', shape: [2], values: [0.5, -0.5] },
    ],
  })
  return modelFiles(modelId, onnx, {
    inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, 3] }],
    outputs: [{ name: 'y', datatype: 'FP32', shape: [-1, 2] }],
    golden: [
      {
        inputs: [json('x', 'FP32', [1, 3], [1, 1, 1])],
        outputs: [json('y', 'FP32', [1, 2], [9.5, 11.5])],
        tolerance: 1e-6,
      },
    ],
  })
}

export function affineInput(rows: readonly (readonly [number, number, number])[]): Tensor[] {
  return [floatTensor('x', Float32Array.from(rows.flat()), [rows.length, 3])]
}

export function affineAnswer(rows: readonly (readonly [number, number, number])[]): number[] {
  return rows.flatMap(([a, b, c]) => [a + 3 * b + 5 * c + 0.5, 2 * a + 4 * b + 6 * c - 0.5])
}

export const TABLE_ROWS = 8

/** Row `index` of a table: an index outside of it fails the whole run. */
export function lookupModel(modelId = 'lookup'): ModelFiles {
  const onnx = graph({
    nodes: [{ op: 'Gather', inputs: ['table', 'index'], outputs: ['y'], attributes: { axis: { int: 0 } } }],
    inputs: [{ name: 'index', type: 'int64', shape: ['rows'] }],
    outputs: [{ name: 'y', type: 'float', shape: ['rows', 1] }],
    initializers: [
      { name: 'table', type: 'float', shape: [TABLE_ROWS, 1], values: Array.from({ length: TABLE_ROWS }, (_, row) => row * 10) },
    ],
  })
  return modelFiles(modelId, onnx, {
    inputs: [{ name: 'index', datatype: 'INT64', shape: [-1] }],
    outputs: [{ name: 'y', datatype: 'FP32', shape: [-1, 1] }],
    golden: [
      {
        inputs: [json('index', 'INT64', [2], [1, 2])],
        outputs: [json('y', 'FP32', [2, 1], [10, 20])],
        tolerance: 0,
      },
    ],
  })
}

/** Each value relative to the largest of the whole batch: rows influence each other. */
export function coupledModel(modelId = 'coupled'): ModelFiles {
  const onnx = graph({
    nodes: [
      { op: 'ReduceMax', inputs: ['x'], outputs: ['most'], attributes: { keepdims: { int: 1 } } },
      { op: 'Div', inputs: ['x', 'most'], outputs: ['y'] },
    ],
    inputs: [{ name: 'x', type: 'float', shape: ['rows', 2] }],
    outputs: [{ name: 'y', type: 'float', shape: ['rows', 2] }],
  })
  return modelFiles(modelId, onnx, {
    inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, 2] }],
    outputs: [{ name: 'y', datatype: 'FP32', shape: [-1, 2] }],
    golden: [
      {
        inputs: [json('x', 'FP32', [1, 2], [1, 2])],
        outputs: [json('y', 'FP32', [1, 2], [0.5, 1])],
        tolerance: 1e-6,
      },
    ],
  })
}

/** Multiplies two n × n matrices: n says how long it takes. The answer is n. */
export function slowModel(modelId = 'slow'): ModelFiles {
  const onnx = graph({
    nodes: [
      { op: 'Concat', inputs: ['n', 'n'], outputs: ['square'], attributes: { axis: { int: 0 } } },
      { op: 'Expand', inputs: ['one', 'square'], outputs: ['ones'] },
      { op: 'MatMul', inputs: ['ones', 'ones'], outputs: ['product'] },
      { op: 'ReduceMax', inputs: ['product'], outputs: ['most'], attributes: { keepdims: { int: 0 } } },
      { op: 'Unsqueeze', inputs: ['most', 'axis'], outputs: ['y'] },
    ],
    inputs: [{ name: 'n', type: 'int64', shape: [1] }],
    outputs: [{ name: 'y', type: 'float', shape: [1] }],
    initializers: [
      { name: 'one', type: 'float', shape: [1, 1], values: [1] },
      { name: 'axis', type: 'int64', shape: [1], values: [0] },
    ],
  })
  return modelFiles(modelId, onnx, {
    inputs: [{ name: 'n', datatype: 'INT64', shape: [1] }],
    outputs: [{ name: 'y', datatype: 'FP32', shape: [1] }],
    golden: [{ inputs: [json('n', 'INT64', [1], [3])], outputs: [json('y', 'FP32', [1], [3])], tolerance: 0 }],
  })
}

/** The same model with other golden answers. */
export function withGolden(model: ModelFiles, change: (data: JsonTensor['data']) => JsonTensor['data']): ModelFiles {
  const golden = model.manifest.golden.map((sample) => ({
    ...sample,
    outputs: sample.outputs.map((output) => ({ ...output, data: change(output.data) })),
  }))
  return { ...model, manifest: { ...model.manifest, golden } }
}
