import { rmSync } from 'node:fs'
import type { Log } from '../../services/adapters/log.ts'
import { GranaryError } from '../../services/core/errors.ts'
import { anvilPath, startEngine } from './anvil.ts'
import { openChainFiles, setAside } from './chain-log.ts'
import { serveRpc } from './chain-rpc.ts'
import { ChainSequence } from './chain-sequence.ts'

/**
 * A development chain that loses nothing: one block every second at the wall clock's time, each transaction in a log on disk
 * before its sender hears of it, each block before it exists. Killed at any point, it replays to the very same blocks.
 */
export interface LocalChain extends AsyncDisposable {
  url: string
  genesisHash: string
  /** Why an earlier chain was given up; null when it goes on, or is the first. */
  reset: string | null
  /** Rejects when the chain can't go on: its process should end and be started again. */
  failed: Promise<never>
}

const BLOCK_MS = 1000
/** A clock set back further than this is not waited for. */
const CLOCK_SETBACK_SECONDS = 5

export async function openLocalChain(options: {
  dir: string
  port: number
  host?: string | undefined
  log: Log
}): Promise<LocalChain> {
  const { dir, port, host, log } = options
  const { engine, files, sequence, reset } = await restoreOrReset(dir, log)
  const release = async () => {
    await engine[Symbol.asyncDispose]()
    files.close()
  }
  try {
    const genesis = (await engine.call('eth_getBlockByNumber', ['0x0', false])) as { hash: string }
    const server = await serveRpc({ port, host, engine, submit: (raw) => sequence.submit(raw) })
    const miner = mineEverySecond(sequence)
    let stopping = false
    const engineLost = engine.ended.then((why) => (stopping ? new Promise<never>(() => undefined) : rejectEnded(why)))
    const failed = Promise.race([miner.failed, engineLost])
    failed.catch(() => undefined)
    return {
      url: `http://127.0.0.1:${server.port}`,
      genesisHash: genesis.hash,
      reset,
      failed,
      async [Symbol.asyncDispose]() {
        stopping = true
        await server[Symbol.asyncDispose]()
        await miner.stop()
        // Without it the next start replays the log, which takes longer and gives the same.
        await sequence.snapshot().catch((error) => log.warn({ event: 'chain.snapshot-failed', error }))
        await release()
      },
    }
  } catch (error) {
    await release()
    throw error
  }
}

async function restoreOrReset(dir: string, log: Log) {
  let reset: string | null = null
  if (anvilPath() === null) {
    rmSync(dir, { recursive: true, force: true })
    reset = "there is no anvil for this platform, and Hardhat's node keeps nothing between two starts"
  } else {
    try {
      return { ...(await restore(dir, log)), reset }
    } catch (error) {
      const aside = setAside(dir)
      const why = String(error instanceof Error ? error.message : error).split('\n')[0]
      reset = `its files could not be read (${why}); they are kept in ${aside}`
      log.error({ event: 'chain.reset', reset, error })
    }
  }
  return { ...(await restore(dir, log)), reset }
}

async function restore(dir: string, log: Log) {
  const started = performance.now()
  const files = openChainFiles(dir, Math.floor(Date.now() / 1000) - 1)
  if (files.repaired !== null) log.warn({ event: 'chain.log-repaired', detail: files.repaired })
  try {
    const engine = await startEngine({ dir, genesisSeconds: files.genesisSeconds, snapshot: files.snapshotPath })
    try {
      const sequence = await ChainSequence.restore({ engine, files, log })
      const replayMs = Math.round(performance.now() - started)
      log.info({ event: 'chain.restored', head: sequence.tip.number, records: files.records.length, replayMs })
      return { engine, files, sequence }
    } catch (error) {
      await engine[Symbol.asyncDispose]()
      throw error
    }
  } catch (error) {
    files.close()
    throw error
  }
}

function mineEverySecond(sequence: ChainSequence): { failed: Promise<never>; stop: () => Promise<void> } {
  const stopping = Promise.withResolvers<'stop'>()
  const run = async () => {
    while ((await Promise.race([stopping.promise, nextSecond()])) !== 'stop') {
      const now = Math.floor(Date.now() / 1000)
      const last = sequence.tip.timestamp
      if (now > last) await sequence.mine(now)
      else if (now < last - CLOCK_SETBACK_SECONDS) await sequence.mine(last + 1)
    }
  }
  const running = run()
  return {
    failed: running.then(() => new Promise<never>(() => undefined)),
    async stop() {
      stopping.resolve('stop')
      await running.catch(() => undefined)
    },
  }
}

/** Just after the clock's next full second, so that no block is ahead of it. */
function nextSecond(): Promise<'mine'> {
  return new Promise((resolve) => setTimeout(() => resolve('mine'), BLOCK_MS - (Date.now() % BLOCK_MS) + 1))
}

function rejectEnded(why: string): never {
  throw new GranaryError('chain.unavailable', `The local chain's engine stopped: ${why}.`)
}
