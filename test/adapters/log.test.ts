import { execFile } from 'node:child_process'
import { resolve } from 'node:path'
import { promisify } from 'node:util'
import fc from 'fast-check'
import { pino } from 'pino'
import { describe, expect, it, vi } from 'vitest'
import { gathered, openTimestamps } from '../../services/adapters/log.ts'

const module = resolve(import.meta.dirname, '../../services/adapters/log.ts')

/** A process of its own, since what it is about is the end of one. */
async function logged(script: string): Promise<Record<string, unknown>[]> {
  const code = `import { openLog } from ${JSON.stringify(module)}\nconst log = openLog({ process: 'test', level: 'info' })\n${script}`
  const run = promisify(execFile)(process.execPath, ['--input-type=module-typescript', '-e', code], { timeout: 60_000 })
  const { stderr } = await run.catch((error: { stderr: string }) => error)
  return stderr
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line))
}

describe('the log', () => {
  it('names the event, the process and the time, and hides nothing of an error', async () => {
    const before = Date.now()
    const [line, ...others] = await logged(
      `log.error({ event: 'it.failed', error: new Error('why', { cause: new Error('because') }) })`,
    )
    expect(others).toEqual([])
    expect(line).toMatchObject({ level: 50, event: 'it.failed', process: 'test' })
    expect(line?.error).toEqual({ name: 'Error', message: 'why', cause: { name: 'Error', message: 'because' } })
    expect(new Date(String(line?.time)).getTime()).toBeGreaterThanOrEqual(before)
  })

  it.each([
    ['ends by itself', ''],
    ['exits', 'process.exit(1)'],
    ['dies of an error', `throw new Error('nobody caught it')`],
  ])('loses no line of a process that %s', async (_how, end) => {
    const lines = await logged(`for (let index = 0; index < 500; index++) log.info({ event: 'counted', index })\n${end}`)
    expect(lines.map(({ index }) => index)).toEqual(Array.from({ length: 500 }, (_, index) => index))
  })

  it('writes what warns at once and after what came before, even if the process is killed', async () => {
    const lines = await logged(
      `log.info({ event: 'before' })\nlog.warn({ event: 'warned' })\nprocess.kill(process.pid, 'SIGKILL')`,
    )
    expect(lines.map(({ event }) => event)).toEqual(['before', 'warned'])
  })

  it('keeps other lines for a moment, and never more than its bound', () => {
    vi.useFakeTimers()
    const written: string[] = []
    const log = pino(
      {},
      gathered((text) => written.push(text)),
    )
    try {
      for (let index = 0; index < 3; index++) log.info({ index })
      expect(written).toEqual([])
      vi.advanceTimersByTime(100)
      expect(written).toHaveLength(1)
      expect(written[0]?.match(/"index"/g)).toHaveLength(3)
      for (let index = 0; index < 100; index++) log.info({ text: 'x'.repeat(1000) })
      expect(written.length).toBeGreaterThan(5)
      for (const text of written) expect(text.length).toBeLessThan(20_000)
    } finally {
      vi.useRealTimers()
    }
  })

  it('leaves no listener on a process whose lines are written', () => {
    const before = process.listenerCount('exit')
    const destination = gathered(() => undefined)
    for (let index = 0; index < 20; index++) {
      destination.write('line\n')
      destination.flushSync()
    }
    expect(process.listenerCount('exit')).toBe(before)
  })
})

describe('timestamps', () => {
  it('are those of ISO 8601, whichever order they are asked for in', () => {
    const times = fc.array(fc.oneof(fc.integer({ min: 0, max: 4_000 }), fc.integer({ min: 0, max: 4e12 })), { maxLength: 20 })
    fc.assert(
      fc.property(times, (asked) => {
        let now = 0
        const timestamp = openTimestamps(() => now)
        for (now of asked) expect(timestamp()).toBe(`,"time":"${new Date(now).toISOString()}"`)
      }),
    )
  })
})
