import { GranaryError } from '../core/errors.ts'
import type { Log } from './log.ts'

/**
 * Runs a process until it is told to stop: SIGINT, SIGTERM, or the parent that forked it being gone (also by kill -9: the
 * IPC channel closes). Stopping disposes what `start` returned, at most `stopTimeoutMs` long.
 */
export async function runProcess(options: {
  log: Log
  start: () => Promise<AsyncDisposable>
  stopTimeoutMs?: number
}): Promise<void> {
  const { log, start, stopTimeoutMs = 8000 } = options
  const stop = Promise.withResolvers<string>()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.resolve(signal))
  if (process.channel) process.once('disconnect', () => stop.resolve('parent gone'))
  try {
    const running = await start()
    process.send?.({ event: 'ready' })
    log.info({ event: 'process.ready' })
    const why = await stop.promise
    log.info({ event: 'process.stopping', why })
    const timer = setTimeout(() => {
      log.error({ event: 'process.stop-timeout', stopTimeoutMs })
      process.exit(1)
    }, stopTimeoutMs)
    await running[Symbol.asyncDispose]()
    clearTimeout(timer)
    process.exit(0)
  } catch (error) {
    log.fatal({ event: 'process.failed', error })
    const detail =
      error instanceof GranaryError ? { code: error.code, message: error.message } : { code: 'internal', message: String(error) }
    process.send?.({ event: 'failed', ...detail })
    process.exit(1)
  }
}
