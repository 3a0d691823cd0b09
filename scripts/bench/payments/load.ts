import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { Command, Load, Run } from './load-protocol.ts'

/** The buyers, in a process of their own. */
export interface Buyers extends AsyncDisposable {
  tell(command: Exclude<Command, Run>): Promise<unknown>
  run(options: Omit<Run, 'act'>): Promise<Load>
}

export function openBuyers(): Buyers {
  const child = fork(join(import.meta.dirname, 'load-main.ts'), { execArgv: [], stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  const asked = new Map<number, PromiseWithResolvers<unknown>>()
  let count = 0
  child.on('message', ({ id, result, error }: { id: number; result?: unknown; error?: string }) => {
    const waiting = asked.get(id)
    asked.delete(id)
    if (error === undefined) waiting?.resolve(result)
    else waiting?.reject(new Error(error))
  })
  child.once('exit', (code) => {
    for (const waiting of asked.values()) waiting.reject(new Error(`the buyers' process ended with ${code}`))
  })
  const ask = (command: Command) => {
    const waiting = Promise.withResolvers<unknown>()
    asked.set(++count, waiting)
    child.send({ id: count, command })
    return waiting.promise
  }
  return {
    tell: ask,
    run: async (options) => (await ask({ act: 'run', ...options })) as Load,
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null) return
      const ended = once(child, 'exit')
      child.disconnect()
      await ended
    },
  }
}
