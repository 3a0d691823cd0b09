import { GranaryError } from '../core/errors.ts'

/** One event with its data; a step of 1 MiB as numbers in text is the largest that there is. */
const MOST_EVENT_CHARACTERS = 32 << 20
/** Longer than a gateway lets a step, or a voucher, be waited for: then it is taken for dead. */
const LONGEST_SILENCE_MS = 120_000

export interface StreamEvent {
  event: string
  /** Parsed JSON. */
  data: unknown
}

/** The events of a text/event-stream as they come. Leaving the loop gives up the connection. */
export async function* eventsOf(response: Response): AsyncGenerator<StreamEvent, void> {
  const type = response.headers.get('content-type') ?? ''
  if (!response.body || !type.startsWith('text/event-stream'))
    throw new GranaryError('internal', `The gateway answered with ${type || 'nothing'} instead of a stream of events.`)
  const reader = response.body.getReader()
  const decoder = new TextDecoder()
  let text = ''
  try {
    for (;;) {
      const end = text.indexOf('\n\n')
      if (end >= 0) {
        const event = eventOf(text.slice(0, end))
        text = text.slice(end + 2)
        if (event) yield event
        continue
      }
      if (text.length > MOST_EVENT_CHARACTERS) throw new GranaryError('request.too-large', 'An event of the stream is too large.')
      const { done, value } = await read(reader)
      if (done) return
      text += decoder.decode(value, { stream: true }).replaceAll('\r', '')
    }
  } finally {
    await reader.cancel().catch(() => undefined)
  }
}

async function read(reader: ReadableStreamDefaultReader<Uint8Array>) {
  // What is cancelled ends, as if the gateway had ended it.
  const timer = setTimeout(() => void reader.cancel().catch(() => undefined), LONGEST_SILENCE_MS)
  try {
    return await reader.read()
  } catch (cause) {
    throw new GranaryError('gateway.unreachable', 'The gateway ended in the middle of a stream.', { cause })
  } finally {
    clearTimeout(timer)
  }
}

/** null for a comment. */
function eventOf(block: string): StreamEvent | null {
  let event = 'message'
  const data: string[] = []
  for (const line of block.split('\n')) {
    const [, field, value = ''] = /^([a-z]+): ?(.*)$/.exec(line) ?? []
    if (field === 'event') event = value
    if (field === 'data') data.push(value)
  }
  if (data.length === 0) return null
  try {
    return { event, data: JSON.parse(data.join('\n')) as unknown }
  } catch (cause) {
    throw new GranaryError('internal', 'An event of the stream holds no JSON.', { cause })
  }
}
