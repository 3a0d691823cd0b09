import { type ChildProcess, fork } from 'node:child_process'
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { JsonRpcProvider, type TransactionReceipt, Wallet } from 'ethers'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { anvilPath } from '../../scripts/local/anvil.ts'
import { DEV_ACCOUNT_KEY } from '../../scripts/local/keys.ts'

const main = join(import.meta.dirname, '../../scripts/local/chain-main.ts')

interface Running {
  child: ChildProcess
  url: string
  genesisHash: string
  reset: string | null
  provider: JsonRpcProvider
}

let dir = ''
const started = new Set<Running>()

beforeEach(() => {
  dir = join(mkdtempSync(join(tmpdir(), 'granary chain ')), 'chain')
})

afterEach(async () => {
  for (const chain of started) await killHard(chain)
  rmSync(join(dir, '..'), { recursive: true, force: true })
})

describe.skipIf(anvilPath() === null)('the local chain', () => {
  it('keeps every acknowledged transaction in its block through kill -9', { timeout: 120_000 }, async () => {
    const seen = new Map<string, TransactionReceipt>()
    const acknowledged: string[] = []
    let nonce = 0
    for (let round = 0; round < 4; round++) {
      const chain = await start()
      for (const hash of acknowledged) {
        const receipt = await mined(chain, hash)
        const before = seen.get(hash)
        if (before) expect(receipt.blockHash).toBe(before.blockHash)
        seen.set(hash, receipt)
      }
      const killAt = acknowledged.length + 12
      while (acknowledged.length < killAt) acknowledged.push(await sendRaw(chain, nonce++))
      const last = acknowledged.at(-1 - round)
      if (round % 2 === 0 && last !== undefined) await mined(chain, last)
      await killHard(chain)
    }
    const chain = await start()
    for (const hash of acknowledged) await mined(chain, hash)
    expect(acknowledged).toHaveLength(48)
    expect(await chain.provider.getTransactionCount(new Wallet(DEV_ACCOUNT_KEY).address)).toBe(48)
  })

  it('goes on after a clean stop with the same blocks, receipts and waiting transactions', async () => {
    const first = await start()
    const receipt = await mined(first, await sendRaw(first, 0))
    const block = await first.provider.getBlock(receipt.blockNumber)
    // A gap in the nonces: it waits in the pool until nonce 1 comes.
    const early = await sendRaw(first, 2)
    await stopCleanly(first)
    expect(readdirSync(dir).some((name) => name.startsWith('snapshot-'))).toBe(true)

    const second = await start()
    expect(second.genesisHash).toBe(first.genesisHash)
    expect(second.reset).toBeNull()
    expect((await second.provider.getTransactionReceipt(receipt.hash))?.blockHash).toBe(receipt.blockHash)
    expect((await second.provider.getBlock(receipt.blockNumber))?.hash).toBe(block?.hash)
    await sendRaw(second, 1)
    expect((await mined(second, early)).status).toBe(1)
  })

  it('mines every second at the time of the clock, never ahead of it', async () => {
    const { provider } = await start()
    const blocks = await nextBlocks(provider, 4)
    for (const [index, block] of blocks.entries()) {
      expect(block.seenAtMs).toBeGreaterThanOrEqual(block.timestamp * 1000)
      expect(block.seenAtMs - block.timestamp * 1000).toBeLessThan(3000)
      const before = blocks[index - 1]
      if (before) expect(block.timestamp).toBeGreaterThan(before.timestamp)
    }
  })

  it('cuts off a torn end of its log and keeps the rest', async () => {
    const first = await start()
    const receipt = await mined(first, await sendRaw(first, 0))
    await killHard(first)
    const log = readdirSync(dir).find((name) => name.startsWith('log-')) ?? ''
    appendFileSync(join(dir, log), '1234 {"block":9')

    const second = await start()
    expect(second.reset).toBeNull()
    expect((await second.provider.getTransactionReceipt(receipt.hash))?.blockHash).toBe(receipt.blockHash)
    expect(readFileSync(join(dir, log), 'utf8')).not.toContain('{"block":9\n')
  })

  it('starts anew and says why when its snapshot cannot be read', async () => {
    const first = await start()
    await mined(first, await sendRaw(first, 0))
    await stopCleanly(first)
    const snapshot = readdirSync(dir).find((name) => name.startsWith('snapshot-')) ?? ''
    writeFileSync(join(dir, snapshot), '')

    const second = await start()
    expect(second.reset).toContain('could not be read')
    expect(second.genesisHash).not.toBe(first.genesisHash)
    expect(readdirSync(`${dir}-unreadable`)).toContain(snapshot)
  })

  it.each([
    'anvil_setBalance',
    'evm_increaseTime',
    'hardhat_reset',
    'eth_sendTransaction',
    'eth_sendRawTransactionSync',
    'eth_sign',
  ])('refuses %s, which would change the state past the log', async (method) => {
    const { provider } = await start()
    await expect(provider.send(method, [])).rejects.toThrow(/not served/)
  })
})

async function start(): Promise<Running> {
  const child = fork(main, [dir, '0'], { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] })
  let output = ''
  child.stderr?.on('data', (chunk: Buffer) => {
    output += chunk.toString()
  })
  const opened = await new Promise<Pick<Running, 'url' | 'genesisHash' | 'reset'>>((resolve, reject) => {
    child.on('message', (message: { event: string } & Pick<Running, 'url' | 'genesisHash' | 'reset'>) => {
      if (message.event === 'chain') resolve(message)
    })
    child.once('exit', () => reject(new Error(output)))
  })
  const provider = new JsonRpcProvider(opened.url, 31337, { staticNetwork: true, cacheTimeout: -1, pollingInterval: 50 })
  const running = { ...opened, child, provider }
  started.add(running)
  return running
}

/** The supervising process and the engine, as `kill -9` of everything does. */
async function killHard(chain: Running): Promise<void> {
  chain.provider.destroy()
  started.delete(chain)
  if (chain.child.exitCode !== null || chain.child.signalCode !== null) return
  const gone = new Promise((resolve) => chain.child.once('exit', resolve))
  const engine = JSON.parse(readFileSync(join(dir, 'engine.pid'), 'utf8'))
  chain.child.kill('SIGKILL')
  process.kill(engine.pid, 'SIGKILL')
  await gone
}

async function stopCleanly(chain: Running): Promise<void> {
  chain.provider.destroy()
  started.delete(chain)
  const code = new Promise((resolve) => chain.child.once('exit', resolve))
  chain.child.kill('SIGTERM')
  expect(await code).toBe(0)
}

async function sendRaw({ provider }: Running, nonce: number): Promise<string> {
  const to = `0x${(1000 + nonce).toString(16).padStart(40, '0')}`
  const fees = { maxFeePerGas: 3_000_000_000n, maxPriorityFeePerGas: 1n, gasLimit: 21_000n }
  const raw = await new Wallet(DEV_ACCOUNT_KEY).signTransaction({ to, value: 1n, nonce, chainId: 31337n, type: 2, ...fees })
  return provider.send('eth_sendRawTransaction', [raw])
}

async function mined({ provider }: Running, hash: string): Promise<TransactionReceipt> {
  const receipt = await provider.waitForTransaction(hash, 1, 15_000)
  if (receipt === null) throw new Error(`${hash} was lost`)
  return receipt
}

async function nextBlocks(provider: JsonRpcProvider, count: number) {
  const blocks: { timestamp: number; seenAtMs: number }[] = []
  await new Promise<void>((resolve, reject) => {
    provider.on('block', (number: number) => {
      const seenAtMs = Date.now()
      provider.getBlock(number).then((block) => {
        if (block) blocks.push({ timestamp: block.timestamp, seenAtMs })
        if (blocks.length === count) resolve()
      }, reject)
    })
  })
  return blocks.sort((a, b) => a.timestamp - b.timestamp)
}
