import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Runtime } from '../../../services/core/ports.ts'
import { floatsOf, floatTensor, type Tensor } from '../../../services/core/tensors.ts'
import {
  affineAnswer,
  affineInput,
  affineModel,
  int64Tensor,
  lookupModel,
  slowModel,
  TABLE_ROWS,
  withGolden,
} from './tiny-models.ts'

const loadLimit = { timeoutMs: 40_000 }
const limit = { timeoutMs: 30_000 }
/** A product of matrices of this size takes a good part of a second. */
const SLOW = 2000

/** What every Runtime promises. `open` gives a fresh one. */
export function runtimeConformance(name: string, open: () => Promise<Runtime>): void {
  describe(`${name} as a Runtime`, () => {
    let runtime: Runtime
    beforeAll(async () => {
      runtime = await open()
      await Promise.all([affineModel(), lookupModel(), slowModel()].map((model) => runtime.load(model, loadLimit)))
    })
    afterAll(() => runtime[Symbol.asyncDispose]())

    test('answers any rows as the model defines', async () => {
      const row = fc.tuple(
        fc.integer({ min: -99, max: 99 }),
        fc.integer({ min: -99, max: 99 }),
        fc.integer({ min: -99, max: 99 }),
      )
      await fc.assert(
        fc.asyncProperty(fc.array(row, { minLength: 1, maxLength: 20 }), async (rows) => {
          const { outputs, computeMicros } = await runtime.infer('affine', affineInput(rows), limit)
          expect(outputs.map(({ name, datatype, shape }) => ({ name, datatype, shape }))).toEqual([
            { name: 'y', datatype: 'FP32', shape: [rows.length, 2] },
          ])
          expect([...floatsOf(first(outputs))]).toEqual(affineAnswer(rows))
          expect(computeMicros).toBeGreaterThan(0)
        }),
        { numRuns: 50 },
      )
    })

    test('gives each of many callers at once the answer to their own rows', async () => {
      const callers = Array.from({ length: 100 }, (_, index) => [[index, 1, 0]] as [number, number, number][])
      const answers = await Promise.all(callers.map((rows) => runtime.infer('affine', affineInput(rows), limit)))
      expect(answers.map(({ outputs }) => [...floatsOf(first(outputs))])).toEqual(callers.map(affineAnswer))
    })

    test('leaves the tensors of the caller as they were', async () => {
      const [input] = affineInput([[1, 2, 3]])
      if (!input) throw new Error('no input')
      const whole = Buffer.alloc(64, 7)
      whole.set(input.data, 16)
      const view = { ...input, data: whole.subarray(16, 16 + input.data.length) }
      const { outputs } = await runtime.infer('affine', [view], limit)
      expect([...floatsOf(first(outputs))]).toEqual(affineAnswer([[1, 2, 3]]))
      expect(Buffer.from(input.data).equals(view.data)).toBe(true)
      expect(whole.length).toBe(64)
    })

    test('fails a bad input alone among others that wait with it', async () => {
      const indices = Array.from({ length: 20 }, (_, index) => (index === 13 ? TABLE_ROWS + 5 : index % TABLE_ROWS))
      const answers = await Promise.allSettled(
        indices.map((index) => runtime.infer('lookup', [int64Tensor('index', [index])], limit)),
      )
      for (const [at, answer] of answers.entries()) {
        if (at === 13) expect(answer).toMatchObject({ status: 'rejected', reason: { code: 'provider.failed' } })
        else if (answer.status === 'rejected') throw answer.reason
        else expect([...floatsOf(first(answer.value.outputs))]).toEqual([(indices[at] ?? 0) * 10])
      }
    })

    test('refuses inputs that do not fit the manifest', async () => {
      const wrong: Tensor[][] = [
        [],
        [floatTensor('x', new Float32Array(4), [2, 2])],
        [floatTensor('z', new Float32Array(3), [1, 3])],
        [int64Tensor('x', [1, 2, 3], [1, 3])],
        [{ ...first(affineInput([[1, 2, 3]])), data: new Uint8Array(11) }],
      ]
      for (const inputs of wrong)
        await expect(runtime.infer('affine', inputs, limit)).rejects.toMatchObject({ code: 'input.invalid' })
    })

    test('knows only what was loaded', async () => {
      await expect(runtime.infer('unheard', affineInput([[1, 2, 3]]), limit)).rejects.toMatchObject({ code: 'model.unknown' })
      expect(runtime.loaded().map(({ modelId }) => modelId)).toEqual(expect.arrayContaining(['affine', 'lookup', 'slow']))
    })

    test('refuses bytes that are not the ones the manifest names', async () => {
      const model = affineModel('forged')
      const bytes = new Uint8Array(model.onnx)
      bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1
      await expect(runtime.load({ ...model, onnx: bytes }, loadLimit)).rejects.toMatchObject({ code: 'content.mismatch' })
      await expect(runtime.load({ ...model, onnx: model.onnx.subarray(1) }, loadLimit)).rejects.toMatchObject({
        code: 'content.mismatch',
      })
      expect(runtime.loaded().some(({ modelId }) => modelId === 'forged')).toBe(false)
    })

    test('refuses a model that does not reproduce its golden samples', async () => {
      const model = withGolden(affineModel('boastful'), (data) => data.map((value) => Number(value) * 1.001))
      await expect(runtime.load(model, loadLimit)).rejects.toMatchObject({
        code: 'provider.failed',
        evidence: { sample: 0, tensor: 'y' },
      })
      expect(runtime.loaded().some(({ modelId }) => modelId === 'boastful')).toBe(false)
    })

    test('ends a wait at its limit and serves on', async () => {
      const started = performance.now()
      await expect(runtime.infer('slow', [int64Tensor('n', [SLOW])], { timeoutMs: 20 })).rejects.toMatchObject({
        code: 'deadline.exceeded',
      })
      const waited = performance.now() - started
      const { outputs, computeMicros } = await runtime.infer('slow', [int64Tensor('n', [SLOW])], limit)
      expect([...floatsOf(first(outputs))]).toEqual([SLOW])
      expect(waited).toBeLessThan(computeMicros / 1000)
    })

    test('forgets a model that was unloaded, and can load it again', async () => {
      await runtime.load(affineModel('passing'), loadLimit)
      await runtime.unload('passing')
      await expect(runtime.infer('passing', affineInput([[1, 2, 3]]), limit)).rejects.toMatchObject({ code: 'model.unknown' })
      await runtime.load(affineModel('passing'), loadLimit)
      await expect(runtime.infer('passing', affineInput([[1, 2, 3]]), limit)).resolves.toBeDefined()
      await runtime.unload('passing')
      await runtime.unload('passing')
    })

    test('serves nothing once disposed', async () => {
      const other = await open()
      await other.load(affineModel(), loadLimit)
      const pending = other.infer('affine', affineInput([[1, 2, 3]]), limit).catch((error) => error)
      await other[Symbol.asyncDispose]()
      await pending
      await expect(other.infer('affine', affineInput([[1, 2, 3]]), limit)).rejects.toMatchObject({ code: 'model.unknown' })
      await expect(other.load(affineModel(), loadLimit)).rejects.toMatchObject({ code: 'provider.gone' })
      expect(await other.health()).toMatchObject({ live: false, queued: 0 })
    })
  })
}

function first(tensors: readonly Tensor[]): Tensor {
  const [tensor] = tensors
  if (!tensor) throw new Error('no tensor')
  return tensor
}
