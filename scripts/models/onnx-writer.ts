/**
 * Writes ONNX files (protocol buffers, onnx.proto3) without a dependency. The bytes depend on the arguments alone: same
 * graph, same digest. Field numbers below are those of onnx.proto3.
 */
export type ElementType = 'float' | 'uint8' | 'int32' | 'int64' | 'string' | 'bool'

export type AttributeValue =
  | { int: number }
  | { float: number }
  | { text: string }
  | { ints: readonly number[] }
  | { texts: readonly string[] }

export interface Node {
  op: string
  inputs: readonly string[]
  outputs: readonly string[]
  attributes?: Readonly<Record<string, AttributeValue>>
  /** Empty for the standard operators. */
  domain?: string
}

/** A named input or output; a text dimension is symbolic. */
export interface ValueInfo {
  name: string
  type: ElementType
  shape: readonly (number | string)[]
}

export type Initializer =
  | { name: string; type: 'float'; shape: readonly number[]; values: ArrayLike<number> }
  | { name: string; type: 'int64'; shape: readonly number[]; values: readonly (number | bigint)[] }

export interface Graph {
  name: string
  nodes: readonly Node[]
  inputs: readonly ValueInfo[]
  outputs: readonly ValueInfo[]
  initializers: readonly Initializer[]
  /** Version of each operator domain used; '' is the standard one. */
  opsets: Readonly<Record<string, number>>
  description?: string
  /** Free text facts that travel inside the file. */
  metadata?: Readonly<Record<string, string>>
}

const IR_VERSION = 8
const elementTypes: Record<ElementType, number> = { float: 1, uint8: 2, int32: 6, int64: 7, string: 8, bool: 9 }
const attributeTypes = { float: 1, int: 2, text: 3, ints: 7, texts: 8 } as const

export function writeOnnx(graph: Graph): Uint8Array {
  return message([
    integerField(1, IR_VERSION),
    textField(2, 'granary'),
    ...(graph.description === undefined ? [] : [textField(6, graph.description)]),
    bytesField(7, graphMessage(graph)),
    ...Object.entries(graph.opsets).map(([domain, version]) =>
      bytesField(8, message([...(domain === '' ? [] : [textField(1, domain)]), integerField(2, version)])),
    ),
    ...Object.entries(graph.metadata ?? {}).map(([key, value]) =>
      bytesField(14, message([textField(1, key), textField(2, value)])),
    ),
  ])
}

function graphMessage({ name, nodes, inputs, outputs, initializers }: Graph): Uint8Array {
  return message([
    ...nodes.map((node) => bytesField(1, nodeMessage(node))),
    textField(2, name),
    ...initializers.map((initializer) => bytesField(5, tensorMessage(initializer))),
    ...inputs.map((input) => bytesField(11, valueInfoMessage(input))),
    ...outputs.map((output) => bytesField(12, valueInfoMessage(output))),
  ])
}

function nodeMessage({ op, inputs, outputs, attributes = {}, domain = '' }: Node): Uint8Array {
  return message([
    ...inputs.map((input) => textField(1, input)),
    ...outputs.map((output) => textField(2, output)),
    textField(3, `${op}:${outputs.join(',')}`),
    textField(4, op),
    ...Object.entries(attributes).map(([name, value]) => bytesField(5, attributeMessage(name, value))),
    ...(domain === '' ? [] : [textField(7, domain)]),
  ])
}

function attributeMessage(name: string, value: AttributeValue): Uint8Array {
  const parts = [textField(1, name)]
  if ('int' in value) parts.push(integerField(3, value.int), integerField(20, attributeTypes.int))
  else if ('float' in value) parts.push(floatField(2, value.float), integerField(20, attributeTypes.float))
  else if ('text' in value) parts.push(textField(4, value.text), integerField(20, attributeTypes.text))
  else if ('ints' in value) parts.push(...value.ints.map((int) => integerField(8, int)), integerField(20, attributeTypes.ints))
  else parts.push(...value.texts.map((text) => textField(9, text)), integerField(20, attributeTypes.texts))
  return message(parts)
}

function tensorMessage(initializer: Initializer): Uint8Array {
  const { name, type, shape, values } = initializer
  const elements = shape.reduce((product, size) => product * size, 1)
  if (elements !== values.length) throw new RangeError(`initializer ${name} needs ${elements} values, got ${values.length}`)
  return message([
    ...shape.map((size) => integerField(1, size)),
    integerField(2, elementTypes[type]),
    textField(8, name),
    bytesField(9, type === 'float' ? floatBytes(initializer.values) : int64Bytes(initializer.values)),
  ])
}

function valueInfoMessage({ name, type, shape }: ValueInfo): Uint8Array {
  const dimensions = shape.map((size) => bytesField(1, typeof size === 'string' ? textField(2, size) : integerField(1, size)))
  const tensorType = message([integerField(1, elementTypes[type]), bytesField(2, message(dimensions))])
  return message([textField(1, name), bytesField(2, bytesField(1, tensorType))])
}

function floatBytes(values: ArrayLike<number>): Uint8Array {
  const view = new DataView(new ArrayBuffer(values.length * 4))
  for (let index = 0; index < values.length; index += 1) view.setFloat32(index * 4, values[index] ?? 0, true)
  return new Uint8Array(view.buffer)
}

function int64Bytes(values: readonly (number | bigint)[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(values.length * 8))
  values.forEach((value, index) => {
    view.setBigInt64(index * 8, BigInt(value), true)
  })
  return new Uint8Array(view.buffer)
}

// ------------------------------------------------------------------------------------------- protocol buffers

const VARINT = 0
const LENGTH_DELIMITED = 2
const FIXED_32 = 5

function message(parts: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(parts)
}

function integerField(field: number, value: number): Uint8Array {
  return message([tag(field, VARINT), varint(BigInt(value))])
}

function floatField(field: number, value: number): Uint8Array {
  return message([tag(field, FIXED_32), floatBytes([value])])
}

function textField(field: number, text: string): Uint8Array {
  return bytesField(field, Buffer.from(text, 'utf8'))
}

function bytesField(field: number, bytes: Uint8Array): Uint8Array {
  return message([tag(field, LENGTH_DELIMITED), varint(BigInt(bytes.length)), bytes])
}

function tag(field: number, wireType: number): Uint8Array {
  return varint(BigInt((field << 3) | wireType))
}

/** Negative numbers take ten bytes, as the format wants. */
function varint(value: bigint): Uint8Array {
  const bytes: number[] = []
  let rest = BigInt.asUintN(64, value)
  do {
    const low = Number(rest & 127n)
    rest >>= 7n
    bytes.push(rest === 0n ? low : low | 128)
  } while (rest !== 0n)
  return Uint8Array.from(bytes)
}
