import { type Logger, pino } from 'pino'

export type Log = Logger

/** JSON lines on stderr, the event first: log.info({ event: 'voucher.accepted', account, ceiling }). Secrets never get a field. */
export function openLog(options: { process: string; level: string }): Log {
  return pino(
    {
      level: options.level,
      serializers: { error: errorFields },
      base: { process: options.process },
      timestamp: pino.stdTimeFunctions.isoTime,
    },
    pino.destination({ dest: 2, sync: true }),
  )
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
