import { GranaryError } from './errors.ts'
import { type ModelManifest, type UnitName, unitNames } from './manifest.ts'
import { checkTensor, elementBytes, elementsOf, type Tensor } from './tensors.ts'

/** Chapter 4: what is counted, and what it costs. The index in `unitNames` is the unit's number on chain. */
export const unitIndex = (unit: UnitName): number => unitNames.indexOf(unit)

export const AUDIO_SAMPLES_PER_SECOND = 16_000

/**
 * Units of a request, from its inputs alone, so that payer, gateway and provider count the same before any work is done.
 * Rounds up: request 1; text, row: elements of the first input's first dimension; image: the same if it has four (a list
 * of images), else 1; kilochar: started 1,000 bytes of text; audio-second: started seconds of 16 kHz samples.
 */
export function countUnits(unit: UnitName, inputs: readonly Tensor[]): bigint {
  const first = inputs[0]
  if (!first) throw new GranaryError('input.invalid', 'The request has no input tensor.')
  switch (unit) {
    case 'request':
      return 1n
    case 'text':
    case 'row':
      return atLeastOne(first.shape[0] ?? 1)
    case 'image':
      return first.shape.length > 3 ? atLeastOne(first.shape[0] ?? 1) : 1n
    case 'kilochar':
      return atLeastOne(Math.ceil(elementBytes(first).reduce((sum, bytes) => sum + bytes.length, 0) / 1000))
    case 'audio-second':
      return atLeastOne(Math.ceil(elementsOf(first.shape) / AUDIO_SAMPLES_PER_SECOND))
  }
}

/** Refuses inputs that do not fit the manifest, before anything is reserved or charged. */
export function checkInputs(manifest: ModelManifest, inputs: readonly Tensor[]): void {
  if (inputs.length > 1 && new Set(inputs.map(({ name }) => name)).size !== inputs.length)
    throw new GranaryError('input.invalid', 'An input is given twice.')
  for (const input of inputs) {
    const spec = manifest.inputs.find(({ name }) => name === input.name)
    if (!spec) {
      throw new GranaryError('input.invalid', `Model ${manifest.name} has no input ${input.name}.`, {
        expected: manifest.inputs.map(({ name }) => name),
      })
    }
    const fits =
      spec.datatype === input.datatype &&
      spec.shape.length === input.shape.length &&
      spec.shape.every((size, index) => size === -1 || size === input.shape[index])
    if (!fits) {
      throw new GranaryError('input.invalid', `Input ${input.name} must be ${spec.datatype} of shape [${spec.shape}].`, {
        tensor: input.name,
        expected: { datatype: spec.datatype, shape: spec.shape },
        actual: { datatype: input.datatype, shape: input.shape },
      })
    }
    checkTensor(input)
  }
  // None is given twice, and each is one of them.
  if (inputs.length < manifest.inputs.length) {
    const missing = manifest.inputs.filter(({ name }) => !inputs.some((input) => input.name === name))
    if (missing.length > 0)
      throw new GranaryError('input.invalid', `Input ${missing[0]?.name} is missing.`, {
        missing: missing.map(({ name }) => name),
      })
  }
}

/** What a request costs; never negative, never a fraction. */
export function priceOf(units: bigint, unitPrice: bigint): bigint {
  return units * unitPrice
}

function atLeastOne(count: number): bigint {
  return BigInt(Math.max(1, count))
}
