import { GranaryError } from './errors.ts'
import type { ModelManifest } from './manifest.ts'
import { countUnits } from './metering.ts'
import { elementsOf, rowStarts, type Tensor } from './tensors.ts'

/** A request of more steps is refused: each is signed, checked and written down. */
export const MAX_STEPS = 16_384

/**
 * How a request to a model that yields in steps is cut: along the first dimension of its inputs, `steps.size` at a time. Payer,
 * gateway and provider come to the same plan from manifest and inputs alone, before any work is done.
 */
export interface StepPlan {
  /** At least 1. */
  steps: number
  size: number
  /** Units of the first so many steps: never falling, and for all of them those of the whole request. */
  unitsAfter(steps: number): bigint
  /** What one step, counted from 0, is computed from. */
  inputsOf(step: number): Tensor[]
}

/** null when the model doesn't yield in steps, or these inputs can't be cut: then the answer comes in one piece. */
export function planSteps(manifest: Pick<ModelManifest, 'steps' | 'unit'>, inputs: readonly Tensor[]): StepPlan | null {
  const first = inputs[0]
  const rows = first?.shape[0] ?? 0
  if (!manifest.steps || !first || rows === 0 || !inputs.every(({ shape }) => shape[0] === rows)) return null
  const { size } = manifest.steps
  const steps = Math.ceil(rows / size)
  if (steps > MAX_STEPS) {
    throw new GranaryError('input.invalid', `The input makes ${steps} steps of ${size}: split it.`, { steps, limit: MAX_STEPS })
  }
  const starts = inputs.map((input) => rowStarts(input, rows))
  const cut = (input: Tensor, index: number, [from, to]: readonly [number, number]): Tensor => ({
    ...input,
    shape: [to - from, ...input.shape.slice(1)],
    data: input.data.subarray(starts[index]?.[from], starts[index]?.[to]),
  })
  const rowsAfter = (count: number) => Math.min(rows, Math.max(0, count) * size)
  return {
    steps,
    size,
    unitsAfter(count) {
      const to = rowsAfter(count)
      if (to === 0) return 0n
      if (to === rows) return countUnits(manifest.unit, inputs)
      if (manifest.unit !== 'kilochar') return countUnits(manifest.unit, [cut(first, 0, [0, to])])
      // Bytes of text without the lengths before them: what countUnits would find by reading all of it again.
      const bytes = (starts[0]?.[to] ?? 0) - 4 * to * elementsOf(first.shape.slice(1))
      return BigInt(Math.max(1, Math.ceil(bytes / 1000)))
    },
    inputsOf(step) {
      const range = [rowsAfter(step), rowsAfter(step + 1)] as const
      return inputs.map((input, index) => cut(input, index, range))
    },
  }
}
