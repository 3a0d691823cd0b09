import { GranaryError } from '../../../core/errors.ts'
import { floatsOf, floatTensor, type Tensor } from '../../../core/tensors.ts'
import { malformed, numberSetting, requireSession, requireTensors, tensorNamed } from './settings.ts'
import type { Session, TaskContext, TaskKind } from './task.ts'

const SAMPLE_RATE = 16_000
/** The model hears 32 ms at a time, and the last 4 ms before them. */
const CHUNK = 512
const CONTEXT = 64
const STATE_SHAPE = [2, 1, 128]
const STATE_SIZE = 256
/** No range is open. */
const NONE = -1

/**
 * Silero's voice activity: `audio` FP32 [samples], mono at 16 kHz in [-1, 1] → `probability` FP32 [frames], one per 512
 * samples (the last frame is filled up with silence), and `segments` INT64 [k, 2], the sample ranges from start up to,
 * not including, end where it is at least settings.threshold. The state runs through one request, never into the next.
 * In steps a range is given in the step in which it ends.
 */
export const voiceActivityTask: TaskKind = {
  stacks: false,
  open(context) {
    const hear = openHearing(context)
    return async (inputs) => {
      const { probabilities, segments } = await hear(inputs, { ...silence(), isLast: true })
      return outputsOf(probabilities, segments)
    }
  },
  openSteps(context, size) {
    if (size % CHUNK !== 0) throw malformed(context.manifest, `steps.size must be a multiple of ${CHUNK} samples`)
    const hear = openHearing(context)
    return async ({ inputs, carried, isLast }) => {
      const { probabilities, segments, heard } = await hear(inputs, { ...heardFrom(carried), isLast })
      return { outputs: outputsOf(probabilities, segments), carried: isLast ? [] : carriedOf(heard) }
    }
  },
}

/** What the model knows of the samples before. */
interface Heard {
  state: Tensor
  /** The last samples. */
  context: Float32Array
  /** How many there were. */
  samples: number
  /** Where the range begins that has not ended yet, or NONE. */
  openedAt: number
}

function openHearing({ manifest, session }: TaskContext) {
  requireTensors(manifest, { inputs: ['audio'], outputs: ['probability', 'segments'] })
  requireSession(manifest, session, { inputs: ['input', 'state', 'sr'] })
  const threshold = numberSetting(manifest, 'threshold', { least: 0, most: 1 })
  return async (inputs: readonly Tensor[], { isLast, ...before }: Heard & { isLast: boolean }) => {
    const samples = floatsOf(tensorNamed(inputs, 'audio'))
    if (samples.length === 0) throw new GranaryError('input.invalid', 'Input audio holds no samples.', { tensor: 'audio' })
    if (!samples.every(Number.isFinite)) {
      throw new GranaryError('input.invalid', 'Input audio holds a sample that is no number.', { tensor: 'audio' })
    }
    const { probabilities, state, context } = await listen(session, samples, before)
    const end = before.samples + samples.length
    const { segments, openedAt } = segmentsOf(probabilities, { threshold, from: before.samples, end, openedAt: before.openedAt })
    if (isLast && openedAt !== NONE) segments.push([openedAt, end])
    return { probabilities, segments, heard: { state, context, samples: end, openedAt } }
  }
}

async function listen(session: Session, samples: Float32Array, before: Heard) {
  const probabilities = new Float32Array(Math.ceil(samples.length / CHUNK))
  const rate = { name: 'sr', datatype: 'INT64', shape: [], data: int64Bytes([SAMPLE_RATE]) } as const satisfies Tensor
  let { state } = before
  const window = new Float32Array(CONTEXT + CHUNK)
  window.set(before.context, CHUNK)
  for (let frame = 0; frame < probabilities.length; frame += 1) {
    window.copyWithin(0, CHUNK)
    window.fill(0, CONTEXT)
    window.set(samples.subarray(frame * CHUNK, (frame + 1) * CHUNK), CONTEXT)
    const outputs = await session.run([floatTensor('input', window, [1, window.length]), state, rate])
    const [probability, next] = [outputs.find(({ name }) => name === 'output'), outputs.find(({ name }) => name === 'stateN')]
    if (!probability || !next) throw new GranaryError('provider.failed', 'The model gave no probability and state.')
    probabilities[frame] = floatsOf(probability)[0] ?? 0
    state = { ...next, name: 'state' }
  }
  return { probabilities, state, context: window.slice(CHUNK) }
}

/** Neighbouring frames at or above the threshold as one range, which ends with the first frame below. */
function segmentsOf(
  probabilities: Float32Array,
  { threshold, from, end, openedAt }: { threshold: number; from: number; end: number; openedAt: number },
): { segments: [number, number][]; openedAt: number } {
  const segments: [number, number][] = []
  let start = openedAt
  probabilities.forEach((probability, frame) => {
    const at = Math.min(from + frame * CHUNK, end)
    if (probability >= threshold && start === NONE) start = at
    if (probability < threshold && start !== NONE) {
      segments.push([start, at])
      start = NONE
    }
  })
  return { segments, openedAt: start }
}

function silence(): Heard {
  const state = floatTensor('state', new Float32Array(STATE_SIZE), STATE_SHAPE)
  return { state, context: new Float32Array(CONTEXT), samples: 0, openedAt: NONE }
}

function carriedOf({ state, context, samples, openedAt }: Heard): Tensor[] {
  const place = int64Bytes([samples, openedAt])
  return [state, floatTensor('context', context, [CONTEXT]), { name: 'place', datatype: 'INT64', shape: [2], data: place }]
}

function heardFrom(carried: readonly Tensor[]): Heard {
  if (carried.length === 0) return silence()
  const place = tensorNamed(carried, 'place').data
  const view = new DataView(place.buffer, place.byteOffset, place.byteLength)
  return {
    state: tensorNamed(carried, 'state'),
    context: floatsOf(tensorNamed(carried, 'context')),
    samples: Number(view.getBigInt64(0, true)),
    openedAt: Number(view.getBigInt64(8, true)),
  }
}

function outputsOf(probabilities: Float32Array, segments: readonly [number, number][]): Tensor[] {
  return [floatTensor('probability', probabilities, [probabilities.length]), int64Tensor('segments', segments)]
}

function int64Tensor(name: string, pairs: readonly [number, number][]): Tensor {
  return { name, datatype: 'INT64', shape: [pairs.length, 2], data: int64Bytes(pairs.flat()) }
}

function int64Bytes(values: readonly number[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(values.length * 8))
  values.forEach((value, index) => {
    view.setBigInt64(index * 8, BigInt(value), true)
  })
  return new Uint8Array(view.buffer)
}
