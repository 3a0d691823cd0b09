import { createHash } from 'node:crypto'
import { InferenceSession, Tensor as OnnxTensor } from 'onnxruntime-node'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type BuiltModel, buildManifest, ppOcrRecognition, sileroVad, spamDraft } from '../../scripts/models/catalog.ts'
import {
  curlText,
  hamTexts,
  invoiceInput,
  invoiceLine,
  silenceInput,
  spamInput,
  spamTexts,
  voiceInput,
} from '../../scripts/models/examples.ts'
import { writeOnnx } from '../../scripts/models/onnx-writer.ts'
import { cleanMail, decodeRows, encodeRows, spamShards } from '../../scripts/models/spam-corpus.ts'
import { spamSeed, splitRows, trainSpam } from '../../scripts/models/train-spam.ts'
import { compareTensors } from '../../services/adapters/runtime/comparison.ts'
import { OnnxRuntime } from '../../services/adapters/runtime/onnx-runtime.ts'
import { MAX_MANIFEST_BYTES } from '../../services/core/manifest.ts'
import { countUnits } from '../../services/core/metering.ts'
import { planSteps } from '../../services/core/steps.ts'
import { floatTensor, type JsonTensor, joinBytes, type Tensor, toJsonTensor } from '../../services/core/tensors.ts'

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
const shards = spamShards()
const shardBytes = shards.map(({ bytes }) => bytes)
const trained = trainSpam({ shards: shardBytes, seed: spamSeed })

describe('the spam corpus', () => {
  test('gives two shards that both hold both labels', () => {
    expect(shards.length).toBe(2)
    for (const { bytes, rows } of shards) {
      const decoded = decodeRows(bytes)
      expect(decoded.length).toBe(rows)
      expect(new Set(decoded.map(({ label }) => label))).toEqual(new Set(['ham', 'spam']))
    }
  })

  test('holds no text twice, within or across shards', () => {
    const texts = shardBytes.flatMap(decodeRows).map(({ text }) => text)
    expect(new Set(texts).size).toBe(texts.length)
  })

  test('keeps subject and body, and drops headers, markup, links and addresses', () => {
    const mail = 'From: a@b.c\nX-Spam: yes\nSubject: Hello you\n\n<b>Write</b> to me@here.org or see http://here.org/x now'
    expect(cleanMail(mail)).toBe('Hello you Write to or see now')
  })

  test('refuses rows that are none', () => {
    for (const line of ['{}', '{"text":"a"}', '{"text":1,"label":"ham"}', '{"text":"a","label":"other"}', 'x']) {
      expect(() => decodeRows(new TextEncoder().encode(`${line}\n`))).toThrow()
    }
  })
})

describe('training', () => {
  test('gives the same bytes for the same shards and seed, in any order', () => {
    const again = trainSpam({ shards: [...shardBytes].reverse(), seed: spamSeed })
    expect(sha256(again.onnx)).toBe(sha256(trained.onnx))
    expect(again.metrics).toEqual(trained.metrics)
  })

  test('gives other bytes for another seed, or one row less', () => {
    const rows = shardBytes.flatMap(decodeRows).filter((_, index) => index % 10 === 0)
    const train = (count: number, seed: number) => sha256(trainSpam({ shards: [encodeRows(rows.slice(0, count))], seed }).onnx)
    const digests = [train(rows.length, 1), train(rows.length, 1), train(rows.length, 2), train(rows.length - 1, 1)]
    expect(digests.map((digest) => digests.indexOf(digest))).toEqual([0, 0, 2, 3])
  })

  test('is right on 97 of 100 mails it has not seen, also when ONNX Runtime reads them raw', async () => {
    const { rows, heldOut, training } = splitRows({ shards: shardBytes, seed: spamSeed })
    expect(new Set([...heldOut, ...training]).size).toBe(rows.length)
    const unseen = heldOut.flatMap((index) => rows[index] ?? [])
    const session = await InferenceSession.create(trained.onnx, { intraOpNumThreads: 1 })
    const { probability } = await session.run({
      text: new OnnxTensor(
        'string',
        unseen.map(({ text }) => text),
        [unseen.length],
      ),
    })
    const probabilities = [...((probability?.data ?? []) as Float32Array)]
    const right = unseen.filter(({ label }, index) => (label === 'spam') === (probabilities[index] ?? 0) >= 0.5).length
    expect(trained.metrics.accuracy).toBeGreaterThanOrEqual(0.97)
    expect(Math.round((right / unseen.length) * 10_000) / 10_000).toBe(trained.metrics.accuracy)
  })
})

describe('the ONNX writer', () => {
  const twice = (count: number) =>
    writeOnnx({
      name: 'twice',
      opsets: { '': 17 },
      inputs: [{ name: 'x', type: 'float', shape: ['n'] }],
      outputs: [{ name: 'y', type: 'float', shape: ['n'] }],
      nodes: [{ op: 'Mul', inputs: ['x', 'two'], outputs: ['y'] }],
      initializers: [{ name: 'two', type: 'float', shape: [count], values: [2] }],
      metadata: { made: 'here' },
    })

  test('writes what ONNX Runtime reads', async () => {
    const session = await InferenceSession.create(twice(1))
    expect(session.inputMetadata).toEqual([{ name: 'x', isTensor: true, type: 'float32', shape: ['n'] }])
    const { y } = await session.run({ x: new OnnxTensor('float32', [1, 2.5, -3], [3]) })
    expect([...((y?.data ?? []) as Float32Array)]).toEqual([2, 5, -6])
  })

  test('refuses an initializer whose values do not fill its shape', () => {
    expect(() => twice(2)).toThrow(RangeError)
  })
})

describe('the catalog', () => {
  const runtime = new OnnxRuntime()
  const built = new Map<string, BuiltModel>()
  const stored = new Map<string, Uint8Array>()
  const put = async (bytes: Uint8Array) => {
    const cid = `test-${sha256(bytes)}`
    stored.set(cid, bytes)
    return cid
  }
  const infer = async (name: string, inputs: readonly Tensor[]): Promise<Record<string, JsonTensor['data']>> => {
    const { outputs } = await runtime.infer(name, inputs, { timeoutMs: 20_000 })
    return Object.fromEntries(outputs.map((output) => [output.name, toJsonTensor(output).data]))
  }

  beforeAll(async () => {
    const training = { author: 'the tests', datasets: [] }
    for (const draft of [spamDraft(trained, training), sileroVad(), ppOcrRecognition()]) {
      const model = await buildManifest(draft, put)
      built.set(model.manifest.name, model)
      await runtime.load({ modelId: model.manifest.name, ...model }, { timeoutMs: 30_000 })
    }
  })
  afterAll(() => runtime[Symbol.asyncDispose]())

  test('has manifests that fit, name stored bytes and say who made the model', () => {
    for (const { manifest, manifestBytes, manifestCid } of built.values()) {
      expect(manifestBytes.length).toBeLessThan(MAX_MANIFEST_BYTES)
      expect(stored.get(manifestCid)).toEqual(manifestBytes)
      for (const file of [manifest.onnx, ...manifest.files]) {
        expect(`0x${sha256(stored.get(file.cid) ?? new Uint8Array())}`).toBe(file.sha256)
      }
      expect([manifest.author, manifest.licence, manifest.source].every((text) => text.length > 2)).toBe(true)
    }
  })

  test('has the same manifest each time it is built', async () => {
    const again = await buildManifest(sileroVad(), put)
    expect(again.manifestCid).toBe(built.get('silero-vad')?.manifestCid)
  })

  test('shares runs of the classifier only', () => {
    expect(Object.fromEntries(runtime.loaded().map(({ modelId, batchable }) => [modelId, batchable]))).toEqual({
      'spam-classifier': true,
      'silero-vad': false,
      'pp-ocrv4-rec': false,
    })
  })

  test('tells spam from ham, with the probability of what it says', async () => {
    const { label, score } = await infer('spam-classifier', spamInput([...hamTexts, ...spamTexts, curlText]))
    expect(label).toEqual([...hamTexts.map(() => 'ham'), ...spamTexts.map(() => 'spam'), 'spam'])
    expect(score?.every((value) => Number(value) >= 0.5 && Number(value) <= 1)).toBe(true)
    expect(countUnits('text', spamInput(hamTexts))).toBe(BigInt(hamTexts.length))
  })

  test('hears a voice between pauses, and none in silence', async () => {
    const [audio] = voiceInput({ seconds: 2, quietSeconds: 0.5 })
    const { probability, segments } = await infer('silero-vad', audio ? [audio] : [])
    expect(probability?.length).toBe(Math.ceil((3 * 16_000) / 512))
    const [[start = 0, end = 0] = []] = pairsOf(segments)
    expect(start).toBeGreaterThan(0.4 * 16_000)
    expect(end).toBeLessThanOrEqual(3 * 16_000)
    expect(end - start).toBeGreaterThan(1.5 * 16_000)
    expect((await infer('silero-vad', silenceInput())).segments).toEqual([])
  })

  test('carries nothing from one recording to the next', async () => {
    const before = await infer('silero-vad', silenceInput(0.3))
    await infer('silero-vad', voiceInput({ seconds: 1 }))
    expect(await infer('silero-vad', silenceInput(0.3))).toEqual(before)
  })

  test('ends the last segment with the audio', async () => {
    const [voice] = voiceInput({ seconds: 1, quietSeconds: 0 })
    const length = 10_000
    const cut = {
      name: 'audio',
      datatype: 'FP32',
      shape: [length],
      data: voice?.data.slice(0, length * 4) ?? new Uint8Array(),
    } as const
    const { probability, segments } = await infer('silero-vad', [{ ...cut, shape: [length] }])
    expect(probability?.length).toBe(20)
    expect(pairsOf(segments).at(-1)?.[1]).toBe(length)
  })

  /** Other requests run between two steps. */
  async function inSteps(name: string, inputs: readonly Tensor[]): Promise<Tensor[]> {
    const plan = planSteps(built.get(name)?.manifest ?? ({} as never), inputs)
    if (!plan) throw new Error(`${name} has no steps`)
    const given: Tensor[][] = []
    let carried: Tensor[] = []
    for (let step = 0; step < plan.steps; step += 1) {
      const isLast = step === plan.steps - 1
      const stepped = await runtime.step(name, { inputs: plan.inputsOf(step), carried, isLast }, { timeoutMs: 20_000 })
      given.push(stepped.outputs)
      carried = stepped.carried
      await runtime.infer(name, name === 'silero-vad' ? silenceInput(0.1) : spamInput(), { timeoutMs: 20_000 })
    }
    return (given[0] ?? []).map((first, index) => {
      const parts = given.flatMap((outputs) => outputs[index] ?? [])
      const rows = parts.reduce((sum, { shape }) => sum + (shape[0] ?? 0), 0)
      return { ...first, shape: [rows, ...first.shape.slice(1)], data: joinBytes(parts.map(({ data }) => data)) }
    })
  }

  test('hears a recording in steps as in one piece, to the bit, and a range over two steps once', async () => {
    for (const seconds of [0.3, 4, 8.004, 13.7]) {
      const voice = voiceInput({ seconds, quietSeconds: 0.5 })
      const stepped = await inSteps('silero-vad', voice)
      expect(stepped).toEqual((await runtime.infer('silero-vad', voice, { timeoutMs: 20_000 })).outputs)
    }
    const unbroken = await inSteps('silero-vad', voiceInput({ seconds: 13.7, quietSeconds: 0 }))
    expect(unbroken[1]?.shape[0]).toBeLessThan(20)
  })

  test('judges texts in steps as in one piece', async () => {
    const texts = spamInput(Array.from({ length: 21 }, (_, index) => `${[...hamTexts, ...spamTexts][index % 8]} ${index}`))
    const { outputs } = await runtime.infer('spam-classifier', texts, { timeoutMs: 20_000 })
    expect(compareTensors(outputs, await inSteps('spam-classifier', texts), 1e-5)).toBeNull()
  })

  test('takes a step only of what yields in steps, and loads nothing that says so and can not', async () => {
    const step = { inputs: invoiceInput(), carried: [], isLast: true }
    await expect(runtime.step('pp-ocrv4-rec', step, { timeoutMs: 1000 })).rejects.toMatchObject({ code: 'input.invalid' })
    for (const [name, size] of [
      ['silero-vad', 1000],
      ['pp-ocrv4-rec', 1],
    ] as const) {
      const model = built.get(name)
      if (!model) throw new Error(`no ${name}`)
      const files = { ...model, manifest: { ...model.manifest, steps: { size } }, modelId: `${name} in steps` }
      await expect(runtime.load(files, { timeoutMs: 30_000 })).rejects.toMatchObject({ code: 'request.malformed' })
    }
  })

  test('reads the line of the invoice, and counts one image', async () => {
    const { text, confidence } = await infer('pp-ocrv4-rec', invoiceInput())
    expect(text).toEqual([invoiceLine])
    expect(Number(confidence?.[0])).toBeGreaterThan(0.9)
    expect(countUnits('image', invoiceInput())).toBe(1n)
  })

  test('reads nothing, with confidence zero, from a blank image', async () => {
    const blank: Tensor = { name: 'image', datatype: 'UINT8', shape: [40, 200, 3], data: new Uint8Array(40 * 200 * 3).fill(255) }
    expect(await infer('pp-ocrv4-rec', [blank])).toEqual({ text: [''], confidence: [0] })
  })

  test('refuses values that its tasks cannot take', async () => {
    const image = (height: number, width: number): Tensor[] => [
      { name: 'image', datatype: 'UINT8', shape: [height, width, 3], data: new Uint8Array(height * width * 3) },
    ]
    const wrong: [string, Tensor[]][] = [
      ['spam-classifier', spamInput([])],
      ['silero-vad', [floatTensor('audio', new Float32Array(0), [0])]],
      ['silero-vad', [floatTensor('audio', Float32Array.of(0, Number.NaN), [2])]],
      ['silero-vad', [floatTensor('audio', Float32Array.of(Number.POSITIVE_INFINITY), [1])]],
      ['pp-ocrv4-rec', image(0, 10)],
      ['pp-ocrv4-rec', image(1, 500)],
    ]
    for (const [name, inputs] of wrong) {
      await expect(runtime.infer(name, inputs, { timeoutMs: 10_000 })).rejects.toMatchObject({ code: 'input.invalid' })
    }
  })

  test('does not load a manifest whose settings do not fit the task', async () => {
    const model = built.get('spam-classifier')
    if (!model) throw new Error('no model')
    for (const settings of [{}, { labels: ['one'], threshold: 0.5 }, { labels: ['ham', 'spam'], threshold: 2 }]) {
      const manifest = { ...model.manifest, settings }
      await expect(runtime.load({ ...model, modelId: 'odd', manifest }, { timeoutMs: 20_000 })).rejects.toMatchObject({
        code: 'request.malformed',
      })
    }
  })
})

function pairsOf(data: JsonTensor['data'] | undefined): number[][] {
  const values = (data ?? []).map(Number)
  return Array.from({ length: values.length / 2 }, (_, pair) => values.slice(pair * 2, pair * 2 + 2))
}
