import { connect, type Socket } from 'node:net'

export interface Answer {
  status: number
  body: Buffer
}

const HEAD_END = Buffer.from('\r\n\r\n')
const ANSWER_TIMEOUT_MS = 30_000

/** One keep-alive HTTP/1.1 connection with one request at a time: as little client as possible, so that the server is what is measured. */
export class Connection {
  readonly #socket: Socket
  #received: Buffer[] = []
  #size = 0
  /** Of the whole answer, once its head is there. */
  #expected = 0
  #waiting: PromiseWithResolvers<Answer> | null = null

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.setNoDelay(true)
    socket.setTimeout(ANSWER_TIMEOUT_MS, () => socket.destroy(new Error('no answer in time')))
    socket.on('data', (chunk: Buffer) => this.#take(chunk))
    socket.on('error', (error) => this.#fail(error))
    socket.on('close', () => this.#fail(new Error('the server closed the connection')))
  }

  static async open(port: number): Promise<Connection> {
    const socket = connect({ port, host: '127.0.0.1' })
    await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject))
    return new Connection(socket)
  }

  send(options: { method: string; path: string; headers: Record<string, string>; body: Uint8Array }): Promise<Answer> {
    const { method, path, headers, body } = options
    let head = `${method} ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: ${body.length}\r\n`
    for (const [name, value] of Object.entries(headers)) head += `${name}: ${value}\r\n`
    this.#waiting = Promise.withResolvers<Answer>()
    const { promise } = this.#waiting
    this.#socket.write(Buffer.concat([Buffer.from(`${head}\r\n`, 'latin1'), body]))
    return promise
  }

  close(): void {
    this.#waiting = null
    this.#socket.destroy()
  }

  #take(chunk: Buffer): void {
    this.#received.push(chunk)
    this.#size += chunk.length
    if (this.#expected > this.#size) return
    const all = this.#received.length === 1 ? chunk : Buffer.concat(this.#received)
    this.#received = [all]
    const headEnd = all.indexOf(HEAD_END)
    if (headEnd < 0) return
    const head = all.toString('latin1', 0, headEnd)
    const length = Number(/\r\ncontent-length: *([0-9]+)/i.exec(head)?.[1] ?? 0)
    this.#expected = headEnd + 4 + length
    if (this.#expected > all.length) return
    const answer = { status: Number(head.slice(9, 12)), body: all.subarray(headEnd + 4, this.#expected) }
    this.#received = []
    this.#size = 0
    this.#expected = 0
    const waiting = this.#waiting
    this.#waiting = null
    waiting?.resolve(answer)
  }

  #fail(error: Error): void {
    this.#waiting?.reject(error)
    this.#waiting = null
  }
}
