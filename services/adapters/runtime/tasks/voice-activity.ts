import { GranaryError } from '../../../core/errors.ts'
import { floatsOf, floatTensor, type Tensor } from '../../../core/tensors.ts'
import { numberSetting, requireSession, requireTensors, tensorNamed } from './settings.ts'
import type { Session, TaskKind } from './task.ts'

const SAMPLE_RATE = 16_000
/** The model hears 32 ms at a time, and the last 4 ms before them. */
const CHUNK = 512
const CONTEXT = 64
const STATE_SHAPE = [2, 1, 128]
const STATE_SIZE = 256

/**
 * Silero's voice activity: `audio` FP32 [samples], mono at 16 kHz in [-1, 1] → `probability` FP32 [frames], one per 512
 * samples (the last frame is filled up with silence), and `segments` INT64 [k, 2], the sample ranges from start up to,
 * not including, end where it is at least settings.threshold. The state runs through one request, never into the next.
 */
export const voiceActivityTask: TaskKind = {
  stacks: false,
  open({ manifest, session }) {
    requireTensors(manifest, { inputs: ['audio'], outputs: ['probability', 'segments'] })
    requireSession(manifest, session, { inputs: ['input', 'state', 'sr'] })
    const threshold = numberSetting(manifest, 'threshold', { least: 0, most: 1 })
    return async (inputs) => {
      const samples = floatsOf(tensorNamed(inputs, 'audio'))
      if (samples.length === 0) throw new GranaryError('input.invalid', 'Input audio holds no samples.', { tensor: 'audio' })
      if (!samples.every(Number.isFinite)) {
        throw new GranaryError('input.invalid', 'Input audio holds a sample that is no number.', { tensor: 'audio' })
      }
      const probabilities = await listen(session, samples)
      const segments = segmentsOf(probabilities, { threshold, length: samples.length })
      return [floatTensor('probability', probabilities, [probabilities.length]), int64Tensor('segments', segments)]
    }
  },
}

async function listen(session: Session, samples: Float32Array): Promise<Float32Array> {
  const probabilities = new Float32Array(Math.ceil(samples.length / CHUNK))
  const rate = { name: 'sr', datatype: 'INT64', shape: [], data: int64Bytes([SAMPLE_RATE]) } as const satisfies Tensor
  let state = floatTensor('state', new Float32Array(STATE_SIZE), STATE_SHAPE)
  const window = new Float32Array(CONTEXT + CHUNK)
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
  return probabilities
}

/** Neighbouring frames at or above the threshold as one range; the last range ends with the audio. */
function segmentsOf(
  probabilities: Float32Array,
  { threshold, length }: { threshold: number; length: number },
): [number, number][] {
  const segments: [number, number][] = []
  probabilities.forEach((probability, frame) => {
    if (probability < threshold) return
    const [start, end] = [frame * CHUNK, Math.min((frame + 1) * CHUNK, length)]
    const last = segments.at(-1)
    if (last && last[1] === start) last[1] = end
    else segments.push([start, end])
  })
  return segments
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
