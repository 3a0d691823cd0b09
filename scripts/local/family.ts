import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Log } from '../../services/adapters/log.ts'
import { GranaryError } from '../../services/core/errors.ts'
import { type Child, type ChildOptions, rotateLog, startChild } from './children.ts'
import { readJsonFile, writeWhole } from './files.ts'
import { processAlive, startTicks } from './lock.mjs'

/** All processes of one cooperative: started in order, stopped in reverse, found again after a kill -9 of their parent. */
export interface Family {
  start(options: Pick<ChildOptions, 'name' | 'module' | 'args' | 'env' | 'stopTimeoutMs'>): Child
  processes(): { name: string; pid: number }[]
  /** Rejects with the first child that is given up. */
  failed: Promise<never>
  stop(onProgress: (line: string) => void): Promise<void>
}

const ORPHAN_MS = 15_000

export async function openFamily({ dir, log }: { dir: string; log: Log }): Promise<Family> {
  const record = join(dir, 'processes.json')
  await awaitOrphans(record, log)
  const children: Child[] = []
  let stopped = false
  const failed = Promise.withResolvers<never>()
  failed.promise.catch(() => undefined)
  const processes = () => children.flatMap(({ name, pid }) => (pid() === undefined ? [] : [{ name, pid: Number(pid()) }]))
  const onSpawn = () => {
    writeWhole(record, JSON.stringify({ processes: processes().map((entry) => ({ ...entry, ticks: startTicks(entry.pid) })) }))
  }
  return {
    processes,
    failed: failed.promise,
    start(options) {
      if (stopped) throw new GranaryError('internal', `${options.name} was to start while everything stops.`)
      rotateLog(join(dir, 'logs'), options.name)
      const child = startChild({ ...options, logDir: join(dir, 'logs'), log, onSpawn: () => queueMicrotask(onSpawn) })
      children.push(child)
      child.failed.catch(failed.reject)
      return child
    },
    async stop(onProgress) {
      stopped = true
      for (const child of children.reverse()) {
        onProgress(`Stopping ${child.name}`)
        await child.stop()
      }
      writeWhole(record, JSON.stringify({ processes: [] }))
    },
  }
}

/** They see that their parent is gone and end by themselves; whoever does not is ended, because two would share its files. */
async function awaitOrphans(record: string, log: Log): Promise<void> {
  const listed = readJsonFile(record)?.processes
  const known = (Array.isArray(listed) ? listed : []) as { name: string; pid: number; ticks: string }[]
  const living = () =>
    known.filter(({ pid, ticks }) => Number.isInteger(pid) && pid > 1 && ticks !== '' && processAlive({ pid, ticks }))
  const until = performance.now() + ORPHAN_MS
  while (living().length > 0 && performance.now() < until) await delay(100)
  for (const { name, pid } of living()) {
    log.warn({ event: 'orphan.killed', name, pid })
    process.kill(pid, 'SIGKILL')
  }
}
