import { GranaryError } from '../../core/errors.ts'
import { checkTensor, type Datatype, type Tensor } from '../../core/tensors.ts'

/**
 * What travels between gateway and worker, one frame in each binary WebSocket message: a byte that says what it is, the
 * stream's number (u32, big-endian), and the payload. A transfer is an `open` with its header and size, then `data`
 * until all of it is there; the receiver hands out `credit` as it takes data in. Numbers that may be large are decimal
 * strings in headers; tensors are the body, one after the other.
 */
export const MAX_MESSAGE_BYTES = 256 * 1024
export const MAX_HEADER_BYTES = 64 * 1024
/** Tensors of one job, and of one result. */
export const MAX_BODY_BYTES = 64 * 1024 * 1024
const FRAME_HEAD_BYTES = 5
export const CHUNK_BYTES = MAX_MESSAGE_BYTES - FRAME_HEAD_BYTES

const kinds = ['control', 'open', 'data', 'credit', 'cancel'] as const

export type Frame =
  | { kind: 'control'; message: unknown }
  | { kind: 'open'; stream: number; bodyBytes: number; header: unknown }
  | { kind: 'data'; stream: number; bytes: Uint8Array }
  | { kind: 'credit'; stream: number; bytes: number }
  | { kind: 'cancel'; stream: number }

export function encodeFrame(frame: Frame): Uint8Array {
  switch (frame.kind) {
    case 'control':
      return assemble(frame.kind, 0, [encodeJson(frame.message)])
    case 'open':
      return assemble(frame.kind, frame.stream, [u32(frame.bodyBytes), encodeJson(frame.header)])
    case 'data':
      return assemble(frame.kind, frame.stream, [frame.bytes])
    case 'credit':
      return assemble(frame.kind, frame.stream, [u32(frame.bytes)])
    case 'cancel':
      return assemble(frame.kind, frame.stream, [])
  }
}

/** Reads what the other side sent; throws `request.malformed` or `request.too-large`. */
export function decodeFrame(message: Uint8Array): Frame {
  if (message.length > MAX_MESSAGE_BYTES) throw tooLarge('message', message.length, MAX_MESSAGE_BYTES)
  if (message.length < FRAME_HEAD_BYTES) throw malformed('is too short')
  // A plain view: a Buffer's slice() would share memory where callers expect a copy.
  const plain = new Uint8Array(message.buffer, message.byteOffset, message.byteLength)
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength)
  const kind = kinds[view.getUint8(0)]
  const stream = view.getUint32(1)
  const payload = plain.subarray(FRAME_HEAD_BYTES)
  switch (kind) {
    case 'control':
      return { kind, message: decodeJson(payload) }
    case 'open': {
      if (payload.length < 4) throw malformed('has no size')
      const bodyBytes = view.getUint32(FRAME_HEAD_BYTES)
      return { kind, stream, bodyBytes, header: decodeJson(payload.subarray(4)) }
    }
    case 'data':
      if (payload.length === 0) throw malformed('holds no data')
      return { kind, stream, bytes: payload }
    case 'credit':
      if (payload.length !== 4) throw malformed('names no credit')
      return { kind, stream, bytes: view.getUint32(FRAME_HEAD_BYTES) }
    case 'cancel':
      return { kind, stream }
    default:
      throw malformed('is of no known kind')
  }
}

export interface TensorHeader {
  name: string
  datatype: Datatype
  shape: number[]
  sizeBytes: number
}

export function tensorHeaders(tensors: readonly Tensor[]): TensorHeader[] {
  return tensors.map(({ name, datatype, shape, data }) => ({ name, datatype, shape, sizeBytes: data.length }))
}

export function bodySize(tensors: readonly Tensor[]): number {
  return tensors.reduce((sum, { data }) => sum + data.length, 0)
}

/** Cuts the body into the tensors that the header names; every one must be what it says. */
export function tensorsOf(headers: readonly TensorHeader[], body: Uint8Array): Tensor[] {
  let offset = 0
  const tensors = headers.map(({ name, datatype, shape, sizeBytes }) => {
    const data = body.subarray(offset, offset + sizeBytes)
    offset += sizeBytes
    const tensor = { name, datatype, shape, data }
    checkTensor(tensor)
    return tensor
  })
  if (offset !== body.length) throw malformed(`describes ${offset} bytes of tensors and carries ${body.length}`)
  return tensors
}

function assemble(kind: Frame['kind'], stream: number, parts: readonly Uint8Array[]): Uint8Array {
  const message = new Uint8Array(parts.reduce((sum, part) => sum + part.length, FRAME_HEAD_BYTES))
  if (message.length > MAX_MESSAGE_BYTES) throw tooLarge('message', message.length, MAX_MESSAGE_BYTES)
  message[0] = kinds.indexOf(kind)
  new DataView(message.buffer).setUint32(1, stream)
  let offset = FRAME_HEAD_BYTES
  for (const part of parts) {
    message.set(part, offset)
    offset += part.length
  }
  return message
}

function encodeJson(value: unknown): Uint8Array {
  const bytes = new TextEncoder().encode(JSON.stringify(value))
  if (bytes.length > MAX_HEADER_BYTES) throw tooLarge('header', bytes.length, MAX_HEADER_BYTES)
  return bytes
}

function decodeJson(bytes: Uint8Array): unknown {
  if (bytes.length > MAX_HEADER_BYTES) throw tooLarge('header', bytes.length, MAX_HEADER_BYTES)
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new GranaryError('request.malformed', 'The frame holds no JSON.', { cause })
  }
}

function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, value)
  return bytes
}

function malformed(why: string): GranaryError {
  return new GranaryError('request.malformed', `The frame ${why}.`)
}

function tooLarge(what: string, sizeBytes: number, limit: number): GranaryError {
  return new GranaryError('request.too-large', `The frame's ${what} is too large.`, { sizeBytes, limit })
}
