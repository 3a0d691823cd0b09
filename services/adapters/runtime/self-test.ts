import { GranaryError } from '../../core/errors.ts'
import type { ModelManifest } from '../../core/manifest.ts'
import { floatsOf, floatTensor, fromJsonTensor, joinBytes, type Tensor, textsOf, textTensor } from '../../core/tensors.ts'
import { compareTensors } from './comparison.ts'
import { rowsOf, stack, stackableShapes, unstack } from './stacking.ts'
import type { Task, TaskKind } from './tasks/task.ts'

/** What a model must show before it serves: its golden samples, and whether strangers' requests may share a run. */

/** Solo and batched runs may take different code paths inside the runtime, which shows in the last bits only. */
const BATCH_TOLERANCE = 1e-5
/** Far outside of what a golden sample holds, but finite after a few multiplications. */
const OUTLIER_FACTOR = 1000

/** Throws `provider.failed` with what differs. */
export async function checkGolden(manifest: ModelManifest, task: Task): Promise<void> {
  for (const [sample, { inputs, outputs, tolerance }] of manifest.golden.entries()) {
    const actual = await task(inputs.map(fromJsonTensor))
    const difference = compareTensors(outputs.map(fromJsonTensor), actual, tolerance)
    if (difference) {
      throw new GranaryError('provider.failed', `Model ${manifest.name} does not reproduce its golden sample ${sample}.`, {
        sample,
        ...difference,
      })
    }
  }
}

/**
 * True when rows do not influence each other: golden samples beside an outlier, before and behind it, answer as alone.
 * Models that quantise over the whole batch fail here: one caller's input would move another's answer.
 */
export async function isBatchable(manifest: ModelManifest, kind: TaskKind, task: Task): Promise<boolean> {
  if (!kind.stacks || !stackableShapes(manifest)) return false
  const samples = manifest.golden.map(({ inputs }) => inputs.map(fromJsonTensor))
  if (!samples.every((inputs) => rowsOf(inputs) !== null)) return false
  for (const sample of samples) {
    const alone = await task(sample)
    const outlier = sample.map(outlierOf)
    for (const [requests, place] of [
      [[sample, outlier], 0],
      [[outlier, sample], 1],
      [samples.concat([sample]), samples.length],
    ] as const) {
      const beside = await runStacked(task, requests).catch(() => null)
      if (!beside || compareTensors(alone, beside[place] ?? [], BATCH_TOLERANCE)) return false
    }
  }
  return true
}

export async function runStacked(task: Task, requests: readonly (readonly Tensor[])[]): Promise<Tensor[][]> {
  return unstack(
    await task(stack(requests)),
    requests.map((inputs) => rowsOf(inputs) ?? 0),
  )
}

/** Whole numbers stay as they are: they are often indices, and others would be invalid rather than extreme. */
function outlierOf(tensor: Tensor): Tensor {
  if (tensor.datatype === 'FP32') {
    const values = floatsOf(tensor)
    const extreme = OUTLIER_FACTOR * values.reduce((most, value) => Math.max(most, Math.abs(value)), 1)
    return floatTensor(
      tensor.name,
      values.map((_, index) => (index % 2 === 0 ? extreme : -extreme)),
      tensor.shape,
    )
  }
  if (tensor.datatype === 'FP64') {
    const view = new Float64Array(tensor.data.slice().buffer)
    const extremes = Float64Array.from(
      view,
      (value, index) => (index % 2 === 0 ? 1 : -1) * OUTLIER_FACTOR * Math.max(1, Math.abs(value)),
    )
    return { ...tensor, data: new Uint8Array(extremes.buffer) }
  }
  if (tensor.datatype === 'BYTES') {
    const longer = textsOf(tensor).map((text) => `${text} outlier`.repeat(OUTLIER_FACTOR / 10))
    return textTensor(tensor.name, longer, tensor.shape)
  }
  return { ...tensor, data: joinBytes([tensor.data]) }
}
