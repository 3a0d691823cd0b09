import { PNG } from 'pngjs'
import type { InferBody } from '../core/api.ts'
import { GranaryError } from '../core/errors.ts'
import type { ModelManifest } from '../core/manifest.ts'
import { AUDIO_SAMPLES_PER_SECOND } from '../core/metering.ts'
import { type Datatype, floatTensor, fromJsonTensor, type JsonTensor, type Tensor } from '../core/tensors.ts'

const MAX_PIXELS = 4 << 20

type Inputs = InferBody['inputs']
type Short = Exclude<Extract<Inputs, Record<string, unknown>>[string], undefined>

/** Tensors from the body: OIP's list, or the short forms by input name, read by the manifest's types. */
export function readInputs(inputs: Inputs, manifest: ModelManifest): Tensor[] {
  if (Array.isArray(inputs)) return inputs.map((input) => fromJsonTensor(input as JsonTensor))
  return Object.entries(inputs).map(([name, value]) => {
    const spec = manifest.inputs.find((input) => input.name === name)
    if (!spec) {
      const expected = manifest.inputs.map((input) => input.name)
      throw new GranaryError('input.invalid', `Model ${manifest.name} has no input "${name}".`, { expected })
    }
    return readShort({ name, value: value as Short, datatype: spec.datatype })
  })
}

function readShort({ name, value, datatype }: { name: string; value: Short; datatype: Datatype }): Tensor {
  if (typeof value === 'object' && !Array.isArray(value)) {
    return 'png' in value ? pngTensor(name, decodeBase64(name, value.png)) : wavTensor(name, decodeBase64(name, value.wav))
  }
  const data = Array.isArray(value) ? value : [value]
  return fromJsonTensor({ name, datatype, shape: [data.length], data })
}

function decodeBase64(name: string, encoded: string): Buffer {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(encoded))
    throw new GranaryError('input.invalid', `Input ${name} is no base64.`, { tensor: name })
  return Buffer.from(encoded, 'base64')
}

/** RGB pixels, [height, width, 3]. The size is read from the header first, so that a small file can't unfold into a huge one. */
function pngTensor(name: string, bytes: Buffer): Tensor {
  const signed = bytes.length >= 24 && bytes.readUInt32BE(0) === 0x89504e47
  if (!signed) throw new GranaryError('input.invalid', `Input ${name} is no PNG.`, { tensor: name })
  const pixels = bytes.readUInt32BE(16) * bytes.readUInt32BE(20)
  if (pixels === 0 || pixels > MAX_PIXELS) {
    throw new GranaryError('input.invalid', `Input ${name} has ${pixels} pixels.`, { tensor: name, limit: MAX_PIXELS })
  }
  let image: PNG
  try {
    image = PNG.sync.read(bytes)
  } catch (cause) {
    throw new GranaryError('input.invalid', `Input ${name} is no readable PNG.`, { cause, tensor: name })
  }
  const data = new Uint8Array(pixels * 3)
  for (let pixel = 0; pixel < pixels; pixel++) data.set(image.data.subarray(pixel * 4, pixel * 4 + 3), pixel * 3)
  return { name, datatype: 'UINT8', shape: [image.height, image.width, 3], data }
}

/** Mono samples in [-1, 1] of a 16-bit PCM WAV file at 16 kHz; several channels are averaged. */
function wavTensor(name: string, bytes: Buffer): Tensor {
  const refuse = (why: string) =>
    new GranaryError('input.invalid', `Input ${name} must be a 16-bit PCM WAV at 16 kHz: ${why}.`, { tensor: name })
  if (bytes.length < 44 || bytes.toString('latin1', 0, 4) !== 'RIFF' || bytes.toString('latin1', 8, 12) !== 'WAVE')
    throw refuse('no RIFF header')
  let channels = 0
  for (let offset = 12; offset + 8 <= bytes.length; ) {
    const chunk = bytes.toString('latin1', offset, offset + 4)
    const size = bytes.readUInt32LE(offset + 4)
    const start = offset + 8
    if (chunk === 'fmt ' && start + 16 <= bytes.length) {
      if (bytes.readUInt16LE(start) !== 1 || bytes.readUInt16LE(start + 14) !== 16) throw refuse('not 16-bit PCM')
      if (bytes.readUInt32LE(start + 4) !== AUDIO_SAMPLES_PER_SECOND) throw refuse(`${bytes.readUInt32LE(start + 4)} Hz`)
      channels = bytes.readUInt16LE(start + 2)
    }
    if (chunk === 'data') {
      if (channels < 1 || channels > 8) throw refuse('no format before the samples')
      return floatTensorOf(name, bytes.subarray(start, Math.min(bytes.length, start + size)), channels)
    }
    offset = start + size + (size & 1)
  }
  throw refuse('no samples')
}

function floatTensorOf(name: string, pcm: Buffer, channels: number): Tensor {
  const samples = new Float32Array(Math.floor(pcm.length / 2 / channels))
  for (let index = 0; index < samples.length; index++) {
    let sum = 0
    for (let channel = 0; channel < channels; channel++) sum += pcm.readInt16LE(2 * (index * channels + channel))
    samples[index] = sum / channels / 32_768
  }
  return floatTensor(name, samples, [samples.length])
}
