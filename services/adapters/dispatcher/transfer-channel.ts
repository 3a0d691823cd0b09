import type { RawData, WebSocket } from 'ws'
import { GranaryError } from '../../core/errors.ts'
import { joinBytes } from '../../core/tensors.ts'
import { decodeFrame, encodeFrame, type Frame, MAX_BODY_BYTES, MAX_MESSAGE_BYTES } from './frames.ts'
import { type Outgoing, placeBefore, takeChunk } from './outgoing.ts'

/** Sent ahead of the receiver's credit, for each transfer. */
export const WINDOW_BYTES = 1024 * 1024
/** Handed to the socket and not yet taken by the network. */
const HIGH_WATER_BYTES = 1024 * 1024
/** Credits and answers alone never pile up this high unless nobody reads. */
const STUCK_BYTES = 8 * 1024 * 1024
/** Being put together at one time, over all transfers of one connection. */
export const MAX_INCOMING_BYTES = 256 * 1024 * 1024
const MAX_INCOMING = 256
const CLOSE_GRACE_MS = 1_000

/** For ws and @fastify/websocket: tensors do not compress, and a message is never larger than a frame. */
export const websocketOptions = { perMessageDeflate: false, maxPayload: MAX_MESSAGE_BYTES } as const

export interface ChannelEvents {
  control(message: unknown): void
  /** Whether a transfer is wanted; the other side is told to stop if not. */
  admits(transfer: { stream: number; header: unknown; bodyBytes: number }): boolean
  received(transfer: { stream: number; header: unknown; body: Uint8Array }): void
  /** The other side does not want the transfer, or has given up on the stream. */
  cancelled(stream: number): void
  closed(why: string): void
}

interface Incoming {
  header: unknown
  bodyBytes: number
  parts: Uint8Array[]
  received: number
  granted: number
  unacknowledged: number
}

/** Transfers of tensors over one socket, interleaved chunk by chunk, so that a large one delays neither pings nor small ones. */
export class TransferChannel {
  readonly #socket: WebSocket
  readonly #events: ChannelEvents
  readonly #outgoing: Outgoing[] = []
  readonly #incoming = new Map<number, Incoming>()
  readonly #heartbeat: NodeJS.Timeout
  #incomingBytes = 0
  #silentBeats = 0
  #closed = false
  #why = 'the connection ended'

  constructor(options: { socket: WebSocket; events: ChannelEvents; pingMs?: number }) {
    const { socket, events, pingMs = 15_000 } = options
    this.#socket = socket
    this.#events = events
    socket.on('message', (message, isBinary) => this.#onMessage(message, isBinary))
    socket.on('pong', () => {
      this.#silentBeats = 0
    })
    socket.on('error', (error) => {
      this.#why = error.message
    })
    socket.on('close', (_code, reason) => this.#onClose(reason.toString()))
    this.#heartbeat = setInterval(() => this.#beat(), pingMs)
  }

  control(message: unknown): void {
    this.#write({ kind: 'control', message })
  }

  /** Queues a transfer; its chunks leave as credit and socket allow, and those of one stream one after the other. */
  send(transfer: { stream: number; header: unknown; body: readonly Uint8Array[] }): void {
    const { stream, header, body } = transfer
    const parts = body.filter(({ length }) => length > 0)
    const bodyBytes = parts.reduce((sum, { length }) => sum + length, 0)
    if (bodyBytes > MAX_BODY_BYTES) {
      throw new GranaryError('request.too-large', 'The tensors are too large for one job.', {
        sizeBytes: bodyBytes,
        limit: MAX_BODY_BYTES,
      })
    }
    const isFirst = !this.#outgoing.some((outgoing) => outgoing.stream === stream)
    this.#outgoing.push({ stream, header, bodyBytes, parts, offset: 0, credit: 0 })
    if (isFirst) this.#begin(stream)
    this.#pump()
  }

  /** Opens the stream's next transfer, and those behind it as long as they have no body. */
  #begin(stream: number): void {
    for (;;) {
      const index = this.#outgoing.findIndex((outgoing) => outgoing.stream === stream)
      const next = this.#outgoing[index]
      if (!next) return
      this.#write({ kind: 'open', stream, bodyBytes: next.bodyBytes, header: next.header })
      next.credit = WINDOW_BYTES
      if (next.bodyBytes > 0) return
      this.#outgoing.splice(index, 1)
    }
  }

  /** Ends both directions of a stream. */
  cancel(stream: number): void {
    this.#forget(stream)
    this.#write({ kind: 'cancel', stream })
  }

  close(why: string, code = 1000): void {
    if (this.#closed) return
    this.#why = why
    this.#socket.close(code, why.slice(0, 100))
    setTimeout(() => this.#socket.terminate(), CLOSE_GRACE_MS).unref()
  }

  #write(frame: Frame): void {
    if (this.#closed || this.#socket.readyState !== this.#socket.OPEN) return
    if (this.#socket.bufferedAmount > STUCK_BYTES) {
      this.#why = 'the other side does not read'
      this.#socket.terminate()
      return
    }
    this.#socket.send(encodeFrame(frame), () => this.#pump())
  }

  /** Round robin: each transfer with credit sends one chunk and goes to the end of the line. */
  #pump(): void {
    while (!this.#closed && this.#socket.bufferedAmount < HIGH_WATER_BYTES) {
      const index = this.#outgoing.findIndex(({ credit }) => credit > 0)
      const next = this.#outgoing[index]
      if (!next) return
      this.#outgoing.splice(index, 1)
      const bytes = takeChunk(next)
      const isDone = next.parts.length === 0
      // Before those that wait behind it on its stream.
      if (!isDone) this.#outgoing.splice(placeBefore(this.#outgoing, next.stream), 0, next)
      this.#write({ kind: 'data', stream: next.stream, bytes })
      if (isDone) this.#begin(next.stream)
    }
  }

  #onMessage(message: RawData, isBinary: boolean): void {
    this.#silentBeats = 0
    try {
      if (!isBinary || !(message instanceof Uint8Array)) throw breach('is no binary message')
      this.#take(decodeFrame(message))
    } catch (error) {
      this.close(error instanceof GranaryError ? error.message : 'the frame could not be read', 1002)
    }
  }

  #take(frame: Frame): void {
    switch (frame.kind) {
      case 'control':
        this.#events.control(frame.message)
        break
      case 'open':
        this.#open(frame)
        break
      case 'data':
        this.#data(frame.stream, frame.bytes)
        break
      case 'credit': {
        const outgoing = this.#outgoing.find(({ stream }) => stream === frame.stream)
        if (outgoing) outgoing.credit = Math.min(outgoing.credit + frame.bytes, WINDOW_BYTES)
        this.#pump()
        break
      }
      case 'cancel':
        this.#forget(frame.stream)
        this.#events.cancelled(frame.stream)
    }
  }

  #open({ stream, header, bodyBytes }: { stream: number; header: unknown; bodyBytes: number }): void {
    if (this.#incoming.has(stream)) throw breach('opens a stream twice')
    const fits =
      bodyBytes <= MAX_BODY_BYTES && this.#incomingBytes + bodyBytes <= MAX_INCOMING_BYTES && this.#incoming.size < MAX_INCOMING
    if (!fits || !this.#events.admits({ stream, header, bodyBytes })) {
      this.#write({ kind: 'cancel', stream })
      if (!fits) this.#events.cancelled(stream)
      return
    }
    if (bodyBytes === 0) {
      this.#events.received({ stream, header, body: new Uint8Array() })
      return
    }
    this.#incomingBytes += bodyBytes
    this.#incoming.set(stream, { header, bodyBytes, parts: [], received: 0, granted: WINDOW_BYTES, unacknowledged: 0 })
  }

  #data(stream: number, bytes: Uint8Array): void {
    const incoming = this.#incoming.get(stream)
    // Chunks may still be under way when a stream is cancelled; they get no credit.
    if (!incoming) return
    incoming.received += bytes.length
    if (incoming.received > incoming.bodyBytes) throw breach('carries more than it announced')
    if (incoming.received > incoming.granted) throw breach('comes without credit')
    incoming.parts.push(bytes)
    if (incoming.received === incoming.bodyBytes) {
      this.#forgetIncoming(stream)
      this.#events.received({ stream, header: incoming.header, body: joinBytes(incoming.parts) })
      return
    }
    incoming.unacknowledged += bytes.length
    if (incoming.unacknowledged < WINDOW_BYTES / 2) return
    incoming.granted += incoming.unacknowledged
    this.#write({ kind: 'credit', stream, bytes: incoming.unacknowledged })
    incoming.unacknowledged = 0
  }

  #forget(stream: number): void {
    for (let index = this.#outgoing.length - 1; index >= 0; index -= 1)
      if (this.#outgoing[index]?.stream === stream) this.#outgoing.splice(index, 1)
    this.#forgetIncoming(stream)
  }

  #forgetIncoming(stream: number): void {
    this.#incomingBytes -= this.#incoming.get(stream)?.bodyBytes ?? 0
    this.#incoming.delete(stream)
  }

  #beat(): void {
    this.#silentBeats += 1
    if (this.#silentBeats > 2) {
      this.#why = 'the other side is silent'
      this.#socket.terminate()
    } else if (this.#socket.readyState === this.#socket.OPEN) this.#socket.ping()
  }

  #onClose(reason: string): void {
    if (this.#closed) return
    this.#closed = true
    clearInterval(this.#heartbeat)
    this.#outgoing.length = 0
    this.#incoming.clear()
    this.#events.closed(reason || this.#why)
  }
}

function breach(why: string): GranaryError {
  return new GranaryError('request.malformed', `The frame ${why}.`)
}
