import { type Logger, pino } from 'pino'

export type Log = Logger

/**
 * JSON lines on stderr, the event first: log.info({ event: 'voucher.accepted', account, ceiling }). Secrets never get a field. Lines
 * below `warn` wait a moment for each other, so that a busy process writes many at once.
 */
export function openLog(options: { process: string; level: string }): Log {
  return pino(
    {
      level: options.level,
      serializers: { error: errorFields },
      base: { process: options.process },
      timestamp: openTimestamps(),
    },
    gathered((text) => void stderr.write(text)),
  )
}

/** Waits where a pipe is full. */
const stderr = pino.destination({ dest: 2, sync: true })

const HELD_MS = 100
const HELD_CHARACTERS = 16_384
const WARN = 40

/** What pino tells a destination that asks for it, beside the line. */
interface Destination {
  write(line: string): void
  flushSync(): void
  lastLevel: number
}

/** Whatever warns is written at once, after what came before it; so is all that is held when the process exits. */
export function gathered(write: (text: string) => void): Destination {
  let held = ''
  let timer: NodeJS.Timeout | null = null

  function flushSync(): void {
    if (timer) clearTimeout(timer)
    timer = null
    process.off('exit', flushSync)
    const text = held
    held = ''
    if (text !== '') write(text)
  }

  return {
    [pino.symbols.needsMetadataGsym]: true,
    lastLevel: 0,
    flushSync,
    write(line) {
      held += line
      if (this.lastLevel >= WARN || held.length >= HELD_CHARACTERS) return flushSync()
      if (timer) return
      timer = setTimeout(flushSync, HELD_MS)
      timer.unref()
      process.on('exit', flushSync)
    },
  } as Destination
}

/** ISO 8601, of which all but the milliseconds stays the same for a second. */
export function openTimestamps(clock: () => number = Date.now): () => string {
  let second = Number.NaN
  let text = ''
  return () => {
    const now = clock()
    const ofNow = Math.floor(now / 1000)
    if (ofNow !== second) {
      second = ofNow
      text = `,"time":"${new Date(1000 * second).toISOString().slice(0, 20)}`
    }
    return `${text}${String(now - 1000 * second).padStart(3, '0')}Z"`
  }
}

function errorFields(error: unknown): unknown {
  if (!(error instanceof Error)) return String(error)
  const { name, message, cause } = error
  return {
    name,
    message,
    ...('code' in error ? { code: error.code } : {}),
    ...(cause === undefined ? {} : { cause: errorFields(cause) }),
  }
}
