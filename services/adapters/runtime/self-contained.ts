import { GranaryError } from '../../core/errors.ts'

/**
 * ONNX files may keep weights in other files, named by a path: from bytes in memory, ONNX Runtime takes that path from
 * the working directory of this process. A stranger's model could so read this machine's files and answer with them.
 * Therefore the file is walked before it is opened, and must hold everything itself.
 */

/** Which fields of which message hold which message (onnx.proto3): all the ways from the model to a tensor. */
const children = {
  model: { 7: 'graph', 20: 'training', 25: 'function' },
  training: { 1: 'graph', 2: 'graph' },
  function: { 7: 'node', 11: 'attribute' },
  graph: { 1: 'node', 5: 'tensor', 15: 'sparse' },
  node: { 5: 'attribute' },
  attribute: { 5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 22: 'sparse', 23: 'sparse' },
  sparse: { 1: 'tensor', 2: 'tensor' },
  tensor: {},
} as const satisfies Record<string, Record<number, string>>

type Message = keyof typeof children

const EXTERNAL_DATA = 13
const DATA_LOCATION = 14
/** Subgraphs inside of subgraphs; real models need two or three. */
const MAX_DEPTH = 64

/** Throws `request.malformed` unless the bytes are one ONNX file that refers to no other. */
export function requireSelfContained(onnx: Uint8Array): void {
  // The runtime's own format, told by these letters, is another way in that nothing here reads.
  if (Buffer.from(onnx.subarray(4, 8)).toString('latin1') === 'ORTM') throw refusal('is not in the ONNX format')
  walk(onnx, 'model', 0)
}

function walk(bytes: Uint8Array, message: Message, depth: number): void {
  if (depth > MAX_DEPTH) throw refusal('nests too deeply')
  const fields: Record<number, Message> = children[message]
  let at = 0
  while (at < bytes.length) {
    const key = readVarint(bytes, at)
    const [field, wireType] = [Math.floor(key.value / 8), key.value % 8]
    if (message === 'tensor' && (field === EXTERNAL_DATA || field === DATA_LOCATION)) {
      // A location of 0 says that the data is here, which is also what leaving it out says.
      const location = field === DATA_LOCATION && wireType === 0 ? readVarint(bytes, key.end) : null
      if (location?.value !== 0) throw refusal('refers to another file')
    }
    if (wireType === 0) at = readVarint(bytes, key.end).end
    else if (wireType === 1) at = key.end + 8
    else if (wireType === 5) at = key.end + 4
    else if (wireType === 2) {
      const length = readVarint(bytes, key.end)
      at = length.end + length.value
      const child = fields[field]
      if (child && at <= bytes.length) walk(bytes.subarray(length.end, at), child, depth + 1)
    } else throw refusal('is not in the ONNX format')
    if (at > bytes.length) throw refusal('ends in the middle')
  }
}

/** Exact below 2^53, and never less than that beyond it. */
function readVarint(bytes: Uint8Array, start: number): { value: number; end: number } {
  let value = 0
  for (let index = 0; index < 10; index += 1) {
    const byte = bytes[start + index]
    if (byte === undefined) throw refusal('ends in the middle')
    value += (byte & 127) * 2 ** (7 * index)
    if (byte < 128) return { value, end: start + index + 1 }
  }
  throw refusal('is not in the ONNX format')
}

function refusal(why: string): GranaryError {
  return new GranaryError('request.malformed', `The model's ONNX file ${why}: it is not opened.`)
}
