import { concat, getBytes, keccak256, sha256, toUtf8Bytes } from 'ethers'
import { GranaryError } from './errors.ts'

/**
 * Tensors as the Open Inference Protocol names them. `data` is little-endian and row-major; BYTES elements are each a
 * u32 length and their bytes. These are the canonical bytes that receipts commit to.
 */
export type Datatype = 'BYTES' | 'BOOL' | 'UINT8' | 'INT32' | 'INT64' | 'FP32' | 'FP64'

export interface Tensor {
  name: string
  datatype: Datatype
  shape: number[]
  data: Uint8Array
}

/** OIP's JSON form; INT64 beyond 2^53 as decimal strings. */
export interface JsonTensor {
  name: string
  datatype: Datatype
  shape: number[]
  data: (number | string | boolean)[]
}

const sizes: Record<Exclude<Datatype, 'BYTES'>, number> = { BOOL: 1, UINT8: 1, INT32: 4, INT64: 8, FP32: 4, FP64: 8 }
export const MAX_ELEMENTS = 1 << 24
/** Neither keeps anything between two texts; making one takes longer than its use. */
const encoder = new TextEncoder()
const decoder = new TextDecoder()

export function elementsOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1)
}

/** Refuses shapes that are no shapes, and data that does not fill them exactly. */
export function checkTensor(tensor: Tensor): void {
  const { name, datatype, shape, data } = tensor
  if (shape.length > 8 || !shape.every((size) => Number.isInteger(size) && size >= 0)) {
    throw new GranaryError('input.invalid', `Tensor ${name} has no valid shape.`, { tensor: name, shape })
  }
  const elements = elementsOf(shape)
  if (elements > MAX_ELEMENTS)
    throw new GranaryError('input.invalid', `Tensor ${name} is too large.`, { tensor: name, elements, limit: MAX_ELEMENTS })
  const actual = datatype === 'BYTES' ? countStrings(tensor) : data.length / sizes[datatype]
  if (actual !== elements) {
    throw new GranaryError('input.invalid', `Tensor ${name} needs ${elements} values for shape [${shape}], got ${actual}.`, {
      tensor: name,
    })
  }
}

export function fromJsonTensor({ name, datatype, shape, data }: JsonTensor): Tensor {
  if (datatype === 'BYTES') {
    if (!data.every((value) => typeof value === 'string'))
      throw new GranaryError('input.invalid', `Tensor ${name} must hold strings.`, { tensor: name })
    const tensor = textTensor(name, data as string[], shape)
    checkTensor(tensor)
    return tensor
  }
  const view = new DataView(new ArrayBuffer(data.length * sizes[datatype]))
  data.forEach((value, index) => {
    writeElement(view, datatype, { index, value, name })
  })
  const tensor = { name, datatype, shape, data: new Uint8Array(view.buffer) }
  checkTensor(tensor)
  return tensor
}

export function toJsonTensor({ name, datatype, shape, data }: Tensor): JsonTensor {
  if (datatype === 'BYTES') return { name, datatype, shape, data: textsOf({ name, datatype, shape, data }) }
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  return {
    name,
    datatype,
    shape,
    data: Array.from({ length: data.length / sizes[datatype] }, (_, index) => readElement(view, datatype, index)),
  }
}

export function textTensor(name: string, texts: readonly string[], shape: number[] = [texts.length]): Tensor {
  // Half a surrogate pair, as JSON may escape it, has no bytes of its own.
  if (!texts.every((text) => text.isWellFormed()))
    throw new GranaryError('input.invalid', `Tensor ${name} holds a text that is no Unicode.`, { tensor: name })
  const elements = texts.map((text) => encoder.encode(text))
  const data = new Uint8Array(elements.reduce((sum, bytes) => sum + 4 + bytes.length, 0))
  const view = new DataView(data.buffer)
  let offset = 0
  for (const bytes of elements) {
    view.setUint32(offset, bytes.length, true)
    data.set(bytes, offset + 4)
    offset += 4 + bytes.length
  }
  return { name, datatype: 'BYTES', shape, data }
}

export function floatTensor(name: string, values: Float32Array, shape: number[]): Tensor {
  const data = new Uint8Array(values.length * 4)
  const view = new DataView(data.buffer)
  values.forEach((value, index) => {
    view.setFloat32(index * 4, value, true)
  })
  return { name, datatype: 'FP32', shape, data }
}

/** The elements of a BYTES tensor, as raw bytes. */
export function elementBytes(tensor: Tensor): Uint8Array[] {
  const elements: Uint8Array[] = []
  for (let offset = 0; offset < tensor.data.length; ) {
    const end = elementEnd(tensor, offset)
    elements.push(tensor.data.subarray(offset + 4, end))
    offset = end
  }
  return elements
}

/** Where the element ends whose length stands at `offset`. */
function elementEnd({ name, data }: Tensor, offset: number): number {
  const [a, b, c, d] = [data[offset], data[offset + 1], data[offset + 2], data[offset + 3]]
  if (a === undefined || b === undefined || c === undefined || d === undefined)
    throw new GranaryError('input.invalid', `Tensor ${name} ends inside a length.`, { tensor: name })
  const end = offset + 4 + a + 2 ** 8 * b + 2 ** 16 * c + 2 ** 24 * d
  if (end > data.length) throw new GranaryError('input.invalid', `Tensor ${name} ends inside an element.`, { tensor: name })
  return end
}

export function textsOf(tensor: Tensor): string[] {
  return elementBytes(tensor).map((bytes) => decoder.decode(bytes))
}

export function floatsOf(tensor: Tensor): Float32Array {
  // Not slice(): a Buffer's shares its memory.
  return new Float32Array(new Uint8Array(tensor.data).buffer)
}

/**
 * Salted commitment to a list of tensors: keccak256(salt ‖ for each tensor in name order: sha256(name) ‖ sha256(datatype) ‖
 * sha256(shape as decimal, comma separated) ‖ sha256(data)). The salt keeps guessable inputs from being guessed.
 */
export function commitTensors(tensors: readonly Tensor[], salt: string): string {
  const ordered = [...tensors].sort((a, b) => (a.name < b.name ? -1 : 1))
  const parts = ordered.flatMap(({ name, datatype, shape, data }) => [
    sha256(toUtf8Bytes(name)),
    sha256(toUtf8Bytes(datatype)),
    sha256(toUtf8Bytes(shape.join(','))),
    sha256(data),
  ])
  return keccak256(concat([getBytes(salt), ...parts]))
}

export function joinBytes(parts: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let offset = 0
  for (const part of parts) {
    joined.set(part, offset)
    offset += part.length
  }
  return joined
}

/** The steps of one answer as one: each output's rows, one step after the other. */
export function joinRows(steps: readonly (readonly Tensor[])[]): Tensor[] {
  return (steps[0] ?? []).map((first) => {
    const parts = steps.flatMap((step) => step.filter(({ name }) => name === first.name))
    const rows = parts.reduce((sum, { shape }) => sum + (shape[0] ?? 0), 0)
    return { ...first, shape: [rows, ...first.shape.slice(1)], data: joinBytes(parts.map(({ data }) => data)) }
  })
}

/** Where each row of the first dimension begins in `data`, and where the last one ends. */
export function rowStarts({ datatype, shape, data }: Tensor, rows: number): number[] {
  if (datatype !== 'BYTES') return Array.from({ length: rows + 1 }, (_, row) => (row * data.length) / rows)
  const perRow = elementsOf(shape.slice(1))
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  const starts = [0]
  let offset = 0
  for (let row = 0; row < rows; row += 1) {
    for (let element = 0; element < perRow; element += 1) offset += 4 + view.getUint32(offset, true)
    starts.push(offset)
  }
  return starts
}

function countStrings(tensor: Tensor): number {
  let count = 0
  for (let offset = 0; offset < tensor.data.length; count += 1) offset = elementEnd(tensor, offset)
  return count
}

function writeElement(
  view: DataView,
  datatype: Exclude<Datatype, 'BYTES'>,
  { index, value, name }: { index: number; value: number | string | boolean; name: string },
): void {
  const refuse = () =>
    new GranaryError('input.invalid', `Tensor ${name} holds a value that is no ${datatype}.`, { tensor: name, index })
  if (datatype === 'INT64') {
    const whole =
      typeof value === 'number' ? Number.isSafeInteger(value) : typeof value === 'string' && /^-?[0-9]{1,19}$/.test(value)
    if (!whole || BigInt.asIntN(64, BigInt(value)) !== BigInt(value)) throw refuse()
    view.setBigInt64(index * 8, BigInt(value), true)
    return
  }
  if (datatype === 'BOOL') {
    if (typeof value !== 'boolean') throw refuse()
    view.setUint8(index, value ? 1 : 0)
    return
  }
  if (typeof value !== 'number') throw refuse()
  if (datatype === 'UINT8') {
    if (!Number.isInteger(value) || value < 0 || value > 255) throw refuse()
    view.setUint8(index, value)
  } else if (datatype === 'INT32') {
    if (!Number.isInteger(value) || value < -(2 ** 31) || value >= 2 ** 31) throw refuse()
    view.setInt32(index * 4, value, true)
  } else if (datatype === 'FP32') {
    if (!Number.isFinite(Math.fround(value))) throw refuse()
    view.setFloat32(index * 4, value, true)
  } else view.setFloat64(index * 8, value, true)
}

function readElement(view: DataView, datatype: Exclude<Datatype, 'BYTES'>, index: number): number | string | boolean {
  switch (datatype) {
    case 'BOOL':
      return view.getUint8(index) === 1
    case 'UINT8':
      return view.getUint8(index)
    case 'INT32':
      return view.getInt32(index * 4, true)
    case 'INT64': {
      const value = view.getBigInt64(index * 8, true)
      return value <= BigInt(Number.MAX_SAFE_INTEGER) && value >= -BigInt(Number.MAX_SAFE_INTEGER)
        ? Number(value)
        : value.toString()
    }
    case 'FP32':
      return view.getFloat32(index * 4, true)
    case 'FP64':
      return view.getFloat64(index * 8, true)
  }
}
