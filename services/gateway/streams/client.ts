import type { FastifyReply } from 'fastify'

/** Whoever reads a streamed answer. Nothing is sent before the first event, so that until then the request can still be refused. */
export interface StreamClient {
  /** Aborted once the client has left. */
  readonly left: AbortSignal
  /** True once the connection has taken all of it; false when the client has left, or takes nothing for too long. */
  send(event: string, data: unknown): Promise<boolean>
  end(): void
}

/** Server-sent events over a reply. One event at a time: a slow reader is waited for, and holds up its own stream only. */
export function openStreamClient(
  reply: FastifyReply,
  { patienceMs, headers }: { patienceMs: number; headers: Record<string, string> },
): StreamClient {
  const { raw } = reply
  const left = new AbortController()
  raw.once('close', () => left.abort())

  function begin(): void {
    if (raw.headersSent) return
    reply.hijack()
    const kept = Object.entries(reply.getHeaders()).filter((entry): entry is [string, string] => entry[1] !== undefined)
    raw.writeHead(200, {
      ...Object.fromEntries(kept),
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      // Proxies that would collect events first.
      'x-accel-buffering': 'no',
      // A gateway that stops waits for its connections.
      connection: 'close',
      ...headers,
    })
  }

  return {
    left: left.signal,
    async send(event, data) {
      if (left.signal.aborted) return false
      begin()
      const taken = Promise.withResolvers<boolean>()
      const gone = () => taken.resolve(false)
      const timer = setTimeout(gone, patienceMs)
      left.signal.addEventListener('abort', gone, { once: true })
      raw.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`, (error) => taken.resolve(!error))
      const isTaken = await taken.promise
      clearTimeout(timer)
      left.signal.removeEventListener('abort', gone)
      if (!isTaken) raw.destroy()
      return isTaken
    },
    end() {
      if (raw.headersSent) raw.end()
    },
  }
}
