import { runProcess } from '../../services/adapters/lifecycle.ts'
import { openLog } from '../../services/adapters/log.ts'
import { processAlive, startTicks } from './lock.mjs'
import { openLocalPostgres } from './postgres.ts'

/** The embedded PostgreSQL as a process of its own: postgres-main.ts <dir> <port>. Ends with its parent, or with the server. */
const [dir, port] = process.argv.slice(2)
const log = openLog({ process: 'postgres', level: 'info' })

await runProcess({
  log,
  stopTimeoutMs: 20_000,
  async start() {
    if (dir === undefined || port === undefined) throw new Error('usage: postgres-main.ts <dir> <port>')
    const postgres = await openLocalPostgres({ dir, port: Number(port), log })
    const server = { pid: postgres.pid, ticks: startTicks(postgres.pid) }
    const watch = setInterval(() => {
      if (processAlive(server)) return
      log.fatal({ event: 'postgres.gone', pid: server.pid })
      process.exit(1)
    }, 500)
    process.send?.({ event: 'postgres', url: postgres.url })
    return {
      async [Symbol.asyncDispose]() {
        clearInterval(watch)
        await postgres[Symbol.asyncDispose]()
      },
    }
  },
})
