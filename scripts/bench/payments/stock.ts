import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { cpuSecondsOf } from './machine.ts'

const CHANNELS = 16
const WARM_SECONDS = 3

export interface StockResult {
  /** Paid requests for each second of the server's processor time. */
  perCoreSecond: number
  answered: number
  failed: number
}

/** What a core-second of the stock x402 server serves to stock x402 clients in a process of their own. */
export async function measureStock(seconds: number): Promise<StockResult> {
  const server = start('stock-server.ts')
  const client = start('stock-client.ts')
  try {
    const { port } = (await answerOf(server)) as { port: number }
    const run = async (length: number) => {
      client.send({ port, channels: CHANNELS, seconds: length })
      return (await answerOf(client)) as { answered: number; failed: number; failure: string | null; error?: string }
    }
    await run(WARM_SECONDS)
    const before = cpuSecondsOf([server.pid ?? 0])
    const { answered, failed, failure, error } = await run(seconds)
    const used = cpuSecondsOf([server.pid ?? 0]) - before
    server.send('deposits?')
    const { deposits } = (await answerOf(server)) as { deposits: number }
    if (deposits > CHANNELS) throw new Error('the stock client deposited more than once: that is not its voucher path')
    if (error !== undefined || answered === 0) throw new Error(`the stock server served nobody: ${error ?? failure}`)
    return { perCoreSecond: answered / used, answered, failed }
  } finally {
    for (const child of [client, server]) if (child.connected) child.disconnect()
  }
}

function start(module: string): ChildProcess {
  return fork(join(import.meta.dirname, module), { execArgv: [], stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
}

async function answerOf(child: ChildProcess): Promise<unknown> {
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`a process of the stock reference ended with ${code}`)
  })
  ended.catch(() => undefined)
  const [message] = await Promise.race([once(child, 'message'), ended])
  return message
}
