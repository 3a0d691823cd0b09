import { GranaryError } from '../../../core/errors.ts'
import { floatsOf, floatTensor, type Tensor, textTensor } from '../../../core/tensors.ts'
import { malformed, requireSession, requireTensors, tensorNamed, textSetting } from './settings.ts'
import type { TaskContext, TaskKind } from './task.ts'

/** What the recogniser was trained on: lines of this height. */
const HEIGHT = 48
const LEAST_WIDTH = 16
/** A longer line is no line; it also bounds the work of one image. */
const MOST_WIDTH = 4096

/**
 * PP-OCR's recogniser: `image` UINT8 [height, width, 3], RGB, one line of text → `text` BYTES [1] and `confidence` FP32
 * [1], the mean probability of its characters (0 when nothing was read). settings.dictionary names the file that lists
 * the characters, one per line.
 */
export const textRecognitionTask: TaskKind = {
  stacks: false,
  open(context) {
    const { manifest, session } = context
    requireTensors(manifest, { inputs: ['image'], outputs: ['text', 'confidence'] })
    requireSession(manifest, session, { inputs: ['x'] })
    const characters = readDictionary(context)
    return async (inputs) => {
      const [output] = await session.run([lineTensor(tensorNamed(inputs, 'image'))])
      if (!output || output.shape[2] !== characters.length) {
        throw new GranaryError('provider.failed', 'The model and its dictionary do not belong together.', {
          classes: output?.shape[2],
          characters: characters.length,
        })
      }
      const { text, confidence } = decode(floatsOf(output), characters)
      return [textTensor('text', [text]), floatTensor('confidence', Float32Array.of(confidence), [1])]
    }
  },
}

/** Class 0 is "no character", the last one a space; the file lists what is between. */
function readDictionary({ manifest, files }: TaskContext): string[] {
  const bytes = files.get(textSetting(manifest, 'dictionary'))
  if (!bytes) throw malformed(manifest, 'settings.dictionary names none of its files')
  const lines = new TextDecoder().decode(bytes).split('\n')
  if (lines.at(-1) === '') lines.pop()
  return ['', ...lines.map((line) => line.replace('\r', '')), ' ']
}

/** Scales to the model's height (bilinear, pixel centres), turns RGB into planes of B, G, R in [-1, 1]. */
function lineTensor(image: Tensor): Tensor {
  const [height = 0, width = 0, channels = 0] = image.shape
  if (height === 0 || width === 0 || channels !== 3) {
    throw new GranaryError('input.invalid', 'Input image must have the shape [height, width, 3].', { shape: image.shape })
  }
  const scaledWidth = Math.max(LEAST_WIDTH, Math.ceil((HEIGHT * width) / height))
  if (scaledWidth > MOST_WIDTH) {
    throw new GranaryError('input.invalid', 'Input image is too wide for one line of text.', {
      shape: image.shape,
      mostWidthPerHeight: MOST_WIDTH / HEIGHT,
    })
  }
  const rows = samplePositions(height, HEIGHT)
  const columns = samplePositions(width, scaledWidth)
  const planes = new Float32Array(3 * HEIGHT * scaledWidth)
  for (const [y, row] of rows.entries()) {
    for (const [x, column] of columns.entries()) {
      for (let channel = 0; channel < 3; channel += 1) {
        const at = (line: number, place: number) => image.data[(line * width + place) * 3 + channel] ?? 0
        const upper = mix(at(row.low, column.low), at(row.low, column.high), column.weight)
        const lower = mix(at(row.high, column.low), at(row.high, column.high), column.weight)
        const value = mix(upper, lower, row.weight)
        planes[((2 - channel) * HEIGHT + y) * scaledWidth + x] = (value / 255 - 0.5) / 0.5
      }
    }
  }
  return floatTensor('x', planes, [1, 3, HEIGHT, scaledWidth])
}

interface SamplePosition {
  low: number
  high: number
  /** Of `high`. */
  weight: number
}

function samplePositions(from: number, to: number): SamplePosition[] {
  return Array.from({ length: to }, (_, index) => {
    const position = Math.min(Math.max(((index + 0.5) * from) / to - 0.5, 0), from - 1)
    const low = Math.floor(position)
    return { low, high: Math.min(low + 1, from - 1), weight: position - low }
  })
}

function mix(a: number, b: number, weight: number): number {
  return a + (b - a) * weight
}

/** Connectionist temporal classification, greedy: the best class per step, repeats once, blanks never. */
function decode(probabilities: Float32Array, characters: readonly string[]): { text: string; confidence: number } {
  const classes = characters.length
  const scores: number[] = []
  let text = ''
  let previous = 0
  for (let step = 0; step < probabilities.length / classes; step += 1) {
    const row = probabilities.subarray(step * classes, (step + 1) * classes)
    let best = 0
    for (let index = 1; index < classes; index += 1) if ((row[index] ?? 0) > (row[best] ?? 0)) best = index
    if (best !== 0 && best !== previous) {
      text += characters[best] ?? ''
      scores.push(row[best] ?? 0)
    }
    previous = best
  }
  const confidence = scores.length === 0 ? 0 : scores.reduce((sum, score) => sum + score, 0) / scores.length
  return { text: text.trim(), confidence }
}
