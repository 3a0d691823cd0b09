import { GranaryError } from '../../../core/errors.ts'
import { floatsOf, floatTensor, textTensor } from '../../../core/tensors.ts'
import { malformed, numberSetting, requireTensors, tensorNamed, textsSetting } from './settings.ts'
import type { TaskKind } from './task.ts'

/**
 * `text` BYTES [n] → `label` BYTES [n] and `score` FP32 [n], the probability of that label. The ONNX file takes raw
 * strings and gives one probability per text (of the second label) or one per label. settings: labels [negative,
 * positive, ...], threshold (two labels only): from where on a text is positive.
 */
export const textClassificationTask: TaskKind = {
  stacks: true,
  open({ manifest, session }) {
    requireTensors(manifest, { inputs: ['text'], outputs: ['label', 'score'] })
    const labels = textsSetting(manifest, 'labels')
    if (labels.length < 2) throw malformed(manifest, 'settings.labels must name two labels or more')
    const threshold = labels.length === 2 ? numberSetting(manifest, 'threshold', { least: 0, most: 1 }) : 0
    const [input] = session.inputs
    if (!input || session.inputs.length !== 1 || input.datatype !== 'BYTES' || input.shape.length !== 1) {
      throw malformed(manifest, 'its ONNX file must take one list of strings')
    }
    return async (inputs) => {
      const text = tensorNamed(inputs, 'text')
      const count = text.shape[0] ?? 0
      if (count === 0) throw new GranaryError('input.invalid', 'Input text holds no text.', { tensor: 'text' })
      const [output] = await session.run([{ ...text, name: input.name }])
      const probabilities = output?.datatype === 'FP32' ? floatsOf(output) : new Float32Array()
      const columns = probabilities.length / count
      if (columns !== 1 && columns !== labels.length) {
        throw new GranaryError('provider.failed', 'The model gave no probability per text.', { shape: output?.shape })
      }
      const answers = Array.from({ length: count }, (_, row) =>
        classify(probabilities.subarray(row * columns, (row + 1) * columns), threshold),
      )
      return [
        textTensor(
          'label',
          answers.map(({ index }) => labels[index] ?? ''),
        ),
        floatTensor(
          'score',
          Float32Array.from(answers, ({ score }) => score),
          [count],
        ),
      ]
    }
  },
}

/** One column is the probability of the second label; more are one per label. */
function classify(row: Float32Array, threshold: number): { index: number; score: number } {
  const [first = 0] = row
  if (row.length === 1) return first >= threshold ? { index: 1, score: first } : { index: 0, score: 1 - first }
  return row.reduce((best, score, index) => (score > best.score ? { index, score } : best), { index: 0, score: first })
}
