import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import fc from 'fast-check'
import * as onnxruntime from 'onnxruntime-node'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { compareTensors } from '../../services/adapters/runtime/comparison.ts'
import { OnnxRuntime, type RuntimeLimits } from '../../services/adapters/runtime/onnx-runtime.ts'
import { requireSelfContained } from '../../services/adapters/runtime/self-contained.ts'
import { stack, unstack } from '../../services/adapters/runtime/stacking.ts'
import { floatsOf, floatTensor, type Tensor, textTensor } from '../../services/core/tensors.ts'
import { runtimeConformance } from './conformance/runtime.ts'
import { affineModel, coupledModel, int64Tensor, lookupModel, modelFiles, slowModel } from './conformance/tiny-models.ts'

const loadLimit = { timeoutMs: 40_000 }
const limit = { timeoutMs: 30_000 }
const SLOW = 2000

runtimeConformance('OnnxRuntime', async () => new OnnxRuntime())

describe('OnnxRuntime', () => {
  const opened: OnnxRuntime[] = []
  const open = (limits: Partial<RuntimeLimits> = {}) => {
    const runtime = new OnnxRuntime(limits)
    opened.push(runtime)
    return runtime
  }
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((runtime) => runtime[Symbol.asyncDispose]()))
  })

  test('gives what ONNX Runtime gives on the same bytes', async () => {
    const runtime = open()
    const model = affineModel()
    await runtime.load(model, loadLimit)
    const values = Float32Array.from({ length: 30 }, (_, index) => Math.sin(index) * 10)
    const session = await onnxruntime.InferenceSession.create(model.onnx, { intraOpNumThreads: 1 })
    const direct = await session.run({ x: new onnxruntime.Tensor('float32', values, [10, 3]) })
    const input: Tensor = { name: 'x', datatype: 'FP32', shape: [10, 3], data: new Uint8Array(values.buffer) }
    const { outputs } = await runtime.infer('affine', [input], limit)
    expect(outputs.map((output) => [...floatsOf(output)])).toEqual([[...((direct.y?.data ?? []) as Float32Array)]])
  })

  test('shares runs only where rows do not influence each other', async () => {
    const runtime = open()
    const loaded = await Promise.all(
      [affineModel(), lookupModel(), coupledModel(), slowModel()].map((model) => runtime.load(model, loadLimit)),
    )
    expect(loaded.map(({ modelId, batchable }) => ({ modelId, batchable }))).toEqual([
      { modelId: 'affine', batchable: true },
      { modelId: 'lookup', batchable: true },
      { modelId: 'coupled', batchable: false },
      { modelId: 'slow', batchable: false },
    ])
  })

  test('leaves the event loop free while a model computes', async () => {
    const runtime = open()
    await runtime.load(slowModel(), loadLimit)
    let turns = 0
    const timer = setInterval(() => {
      turns += 1
    }, 2)
    const { computeMicros } = await runtime.infer('slow', [int64Tensor('n', [SLOW])], limit)
    clearInterval(timer)
    expect(computeMicros).toBeGreaterThan(50_000)
    expect(turns).toBeGreaterThan(10)
  })

  test('refuses what would make the queue too long', async () => {
    const runtime = open({ maxQueued: 2 })
    await runtime.load(slowModel(), loadLimit)
    const answers = await Promise.allSettled([SLOW, 1, 2, 3].map((n) => runtime.infer('slow', [int64Tensor('n', [n])], limit)))
    expect(answers.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'fulfilled', 'rejected'])
    expect(answers[3]).toMatchObject({ reason: { code: 'provider.busy', retryable: true } })
    await expect(runtime.infer('slow', [int64Tensor('n', [4])], limit)).resolves.toBeDefined()
  })

  test('refuses more models than it may hold', async () => {
    const runtime = open({ maxModels: 1 })
    const loads = await Promise.allSettled(
      [affineModel('one'), affineModel('two')].map((model) => runtime.load(model, loadLimit)),
    )
    expect(loads.map(({ status }) => status)).toEqual(['fulfilled', 'rejected'])
    expect(loads[1]).toMatchObject({ reason: { code: 'provider.busy' } })
  })

  test('loads a model once, however often it is asked to at once', async () => {
    const runtime = open()
    const loads = await Promise.all([1, 2, 3].map(() => runtime.load(affineModel(), loadLimit)))
    expect(new Set(loads).size).toBe(1)
    expect(runtime.loaded().length).toBe(1)
  })

  test('ends a thread that nobody waits for any more, and starts another', async () => {
    const runtime = open({ hungAfterMs: 0 })
    await runtime.load(slowModel(), loadLimit)
    await expect(runtime.infer('slow', [int64Tensor('n', [SLOW])], { timeoutMs: 20 })).rejects.toMatchObject({
      code: 'deadline.exceeded',
    })
    await vi.waitUntil(async () => !(await runtime.health()).live, { timeout: 20_000, interval: 1 })
    const { outputs } = await runtime.infer('slow', [int64Tensor('n', [5])], limit)
    expect(outputs.map((output) => [...floatsOf(output)])).toEqual([[5]])
    expect(await runtime.health()).toEqual({ live: true, queued: 0 })
  })

  test('does not run what expired in the queue', async () => {
    const runtime = open({ maxQueued: 1 })
    await runtime.load(slowModel(), loadLimit)
    const running = runtime.infer('slow', [int64Tensor('n', [SLOW])], limit)
    await expect(runtime.infer('slow', [int64Tensor('n', [1])], { timeoutMs: 1 })).rejects.toMatchObject({
      code: 'deadline.exceeded',
    })
    expect((await runtime.health()).queued).toBe(1)
    await expect(runtime.infer('slow', [int64Tensor('n', [2])], limit)).resolves.toBeDefined()
    await running
  })

  test('gives up a load at its limit and keeps nothing', async () => {
    const runtime = open()
    await expect(runtime.load(affineModel(), { timeoutMs: 1 })).rejects.toMatchObject({ code: 'deadline.exceeded' })
    expect(runtime.loaded()).toEqual([])
    await expect(runtime.load(affineModel(), loadLimit)).resolves.toMatchObject({ modelId: 'affine' })
  })

  test('refuses bytes that are no ONNX file, though the digest is right', async () => {
    const { inputs, outputs, golden } = affineModel().manifest
    const noise = modelFiles('noise', new Uint8Array(100).fill(255), { inputs, outputs, golden })
    await expect(open().load(noise, loadLimit)).rejects.toMatchObject({ code: 'request.malformed' })
  })

  test('fails what waits when a model is unloaded', async () => {
    const runtime = open()
    await runtime.load(slowModel(), loadLimit)
    const waiting = [SLOW, 1].map((n) => runtime.infer('slow', [int64Tensor('n', [n])], limit).catch((error) => error.code))
    await runtime.unload('slow')
    expect(await Promise.all(waiting)).toEqual(['provider.gone', 'provider.gone'])
  })

  test('keeps no process alive once disposed', async () => {
    const at = (path: string) => JSON.stringify(fileURLToPath(new URL(path, import.meta.url)))
    const program = `
      const { OnnxRuntime } = await import(${at('../../services/adapters/runtime/onnx-runtime.ts')})
      const { affineModel, affineInput } = await import(${at('./conformance/tiny-models.ts')})
      const runtime = new OnnxRuntime()
      await runtime.load(affineModel(), { timeoutMs: 20000 })
      await runtime.infer('affine', affineInput([[1, 2, 3]]), { timeoutMs: 10000 })
      await runtime[Symbol.asyncDispose]()
      console.log('disposed')`
    const args = ['--input-type=module', '--eval', program]
    const { stdout, stderr } = await promisify(execFile)(process.execPath, args, { timeout: 30_000 })
    expect({ stdout, stderr }).toEqual({ stdout: 'disposed\n', stderr: '' })
  })
})

describe('a shared run', () => {
  const row = fc.record({ text: fc.string({ unit: 'grapheme' }), numbers: fc.tuple(fc.float(), fc.float(), fc.float()) })
  const request = fc.array(row, { minLength: 1, maxLength: 5 }).map((rows) => [
    textTensor(
      'text',
      rows.map(({ text }) => text),
    ),
    floatTensor('numbers', Float32Array.from(rows.flatMap(({ numbers }) => numbers)), [rows.length, 3]),
  ])

  test('gives every request its own rows back', () => {
    fc.assert(
      fc.property(fc.array(request, { minLength: 1, maxLength: 6 }), (requests) => {
        const counts = requests.map(([first]) => first?.shape[0] ?? 0)
        expect(unstack(stack(requests), counts)).toEqual(requests)
      }),
    )
  })

  test('fails when an output has not one row per input row', () => {
    expect(() => unstack([floatTensor('y', new Float32Array(3), [3])], [1, 1])).toThrow(/row per input/)
  })
})

describe('the comparison of tensors', () => {
  const floats = (...values: number[]) => [floatTensor('y', Float32Array.from(values), [values.length])]

  test('allows a difference relative to the largest magnitude of the tensor, not of the value', () => {
    expect(compareTensors(floats(1000, 0), floats(1000, 0.5), 1e-3)).toBeNull()
    expect(compareTensors(floats(1000, 0), floats(1000, 2), 1e-3)).toMatchObject({ tensor: 'y', difference: 2 })
    expect(compareTensors(floats(0, 0), floats(0, 1e-9), 1e-3)).toMatchObject({ tensor: 'y' })
  })

  test('takes no answer that is no number for a number', () => {
    expect(compareTensors(floats(1), floats(Number.NaN), 0.1)).not.toBeNull()
    expect(compareTensors(floats(1), floats(Number.POSITIVE_INFINITY), 0.1)).not.toBeNull()
    expect(compareTensors(floats(Number.NaN), floats(Number.NaN), 0)).toBeNull()
  })

  test('wants strings, whole numbers, shapes and names exactly', () => {
    expect(compareTensors([textTensor('t', ['a'])], [textTensor('t', ['b'])], 0.1)).toMatchObject({ tensor: 't' })
    expect(compareTensors([int64Tensor('n', [1000])], [int64Tensor('n', [1001])], 0.1)).toMatchObject({ tensor: 'n' })
    expect(compareTensors(floats(1), floats(1, 1), 0.1)).toMatchObject({ tensor: 'y' })
    expect(compareTensors(floats(1), [], 0.1)).toMatchObject({ why: 'missing' })
    expect(compareTensors([], floats(1), 0.1)).toMatchObject({ why: 'not expected' })
  })
})

describe('an ONNX file that names another file', () => {
  const message = (...parts: Buffer[]) => Buffer.concat(parts)
  const varint = (value: number): Buffer =>
    value < 128 ? Buffer.of(value) : message(Buffer.of((value % 128) | 128), varint(value >> 7))
  const int = (field: number, value: number) => message(varint(field << 3), varint(value))
  const bytes = (field: number, value: Buffer | string) =>
    message(varint((field << 3) | 2), varint(Buffer.from(value).length), Buffer.from(value))
  const entry = (key: string, value: string) => bytes(13, message(bytes(1, key), bytes(2, value)))
  const external = message(
    int(1, 4),
    int(2, 2),
    bytes(8, 'w'),
    entry('location', 'package.json'),
    entry('length', '4'),
    int(14, 1),
  )
  const inside = message(int(1, 1), int(2, 2), bytes(8, 'w'), bytes(9, 'x'), int(14, 0))
  const attribute = (field: number, value: Buffer) => bytes(5, message(bytes(1, 'value'), bytes(field, value)))
  const node = (value: Buffer) => message(bytes(2, 'y'), bytes(4, 'Constant'), value)
  const inGraph = (graph: Buffer) => message(int(1, 8), bytes(7, graph))

  const places = {
    'as an initializer': inGraph(bytes(5, external)),
    'in a node': inGraph(bytes(1, node(attribute(5, external)))),
    'in a list of tensors': inGraph(bytes(1, node(attribute(10, external)))),
    'in a subgraph': inGraph(bytes(1, node(attribute(6, bytes(5, external))))),
    'in a sparse tensor': inGraph(bytes(15, bytes(1, external))),
    'in a function': message(int(1, 8), bytes(25, bytes(7, node(attribute(5, external))))),
    'after a graph that does not': message(inGraph(bytes(5, inside)), bytes(7, bytes(5, external))),
  }
  test.each(Object.entries(places))('is refused: %s', (_, onnx) => {
    expect(() => requireSelfContained(onnx)).toThrow(/refers to another file/)
  })

  test('is never opened by the runtime', async () => {
    await using runtime = new OnnxRuntime()
    const { inputs, outputs, golden } = affineModel().manifest
    const model = modelFiles('thief', places['as an initializer'], { inputs, outputs, golden })
    await expect(runtime.load(model, loadLimit)).rejects.toMatchObject({ code: 'request.malformed' })
  })

  test('is told from files that hold their weights', () => {
    for (const { onnx } of [affineModel(), lookupModel(), coupledModel(), slowModel()]) requireSelfContained(onnx)
    requireSelfContained(inGraph(bytes(5, inside)))
  })

  test('is not hidden by an end in the middle, another format, or nesting', () => {
    const { onnx } = affineModel()
    for (let length = onnx.length - 1; length > onnx.length - 4; length -= 1) {
      expect(() => requireSelfContained(onnx.subarray(0, length))).toThrow(/ends in the middle/)
    }
    expect(() => requireSelfContained(Buffer.from('\u0010\0\0\0ORTM and more'))).toThrow(/format/)
    const deep = Array.from({ length: 40 }).reduce<Buffer>((graph) => bytes(1, node(attribute(6, graph))), bytes(5, external))
    expect(() => requireSelfContained(inGraph(deep))).toThrow(/nests too deeply/)
  })
})
