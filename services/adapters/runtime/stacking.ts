import { GranaryError } from '../../core/errors.ts'
import type { ModelManifest } from '../../core/manifest.ts'
import { joinBytes, rowStarts, type Tensor } from '../../core/tensors.ts'

/** Several requests as one run: their rows one after another, and the answers' rows back to where they came from. */

/** Only where the first dimension is free, and nothing else is, can requests share a run. */
export function stackableShapes({ inputs, outputs }: Pick<ModelManifest, 'inputs' | 'outputs'>): boolean {
  return [...inputs, ...outputs].every(({ shape }) => shape[0] === -1 && shape.slice(1).every((size) => size > 0))
}

/** A request's rows; null when its inputs disagree, or there are none: such a request runs alone. */
export function rowsOf(inputs: readonly Tensor[]): number | null {
  const rows = inputs[0]?.shape[0] ?? 0
  return rows > 0 && inputs.every(({ shape }) => shape[0] === rows) ? rows : null
}

/** Row-major data and length-prefixed strings both stack by joining bytes. */
export function stack(requests: readonly (readonly Tensor[])[]): Tensor[] {
  const [first = []] = requests
  return first.map((model) => {
    const parts = requests.flatMap((inputs) => inputs.filter(({ name }) => name === model.name))
    const rows = parts.reduce((sum, { shape }) => sum + (shape[0] ?? 0), 0)
    return { ...model, shape: [rows, ...model.shape.slice(1)], data: joinBytes(parts.map(({ data }) => data)) }
  })
}

/** Throws `provider.failed` when an output has not one row per input row: then nobody's answer is known. */
export function unstack(outputs: readonly Tensor[], counts: readonly number[]): Tensor[][] {
  const rows = counts.reduce((sum, count) => sum + count, 0)
  const starts = outputs.map((output) => {
    if (output.shape[0] !== rows) {
      throw new GranaryError('provider.failed', `Output ${output.name} does not have a row per input.`, {
        shape: output.shape,
        rows,
      })
    }
    return rowStarts(output, rows)
  })
  let row = 0
  return counts.map((count) => {
    const [from, to] = [row, row + count]
    row = to
    return outputs.map((output, index) => ({
      ...output,
      shape: [count, ...output.shape.slice(1)],
      data: output.data.slice(starts[index]?.[from], starts[index]?.[to]),
    }))
  })
}
