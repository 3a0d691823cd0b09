import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Engine, startEngine } from '../local/anvil.ts'

/**
 * A development chain that mines every second, behind an RPC that can be had in every mood a node has, and whose last
 * blocks can be taken back.
 */
export interface ShakyChain extends AsyncDisposable {
  url: string
  mood: Mood
  /** Replaces the last blocks by as many others; their transactions come back into the pool, or are lost. */
  reorganise(depth: number, options: { lose: boolean }): Promise<void>
  mine(blocks: number): Promise<void>
  /** Moves the chain's clock. */
  pass(seconds: number): Promise<void>
}

/**
 * `down` hangs up, `silent` never answers, `behind` shows the chain as it was some blocks ago, `forgetful` takes
 * transactions, says that it failed, and knows no receipt.
 */
export type Mood = 'well' | 'down' | 'silent' | 'behind' | 'forgetful'

export const moods: readonly Mood[] = ['down', 'silent', 'behind', 'forgetful']

const BLOCK_MS = 1000
const BEHIND_BLOCKS = 6
const MAX_BODY_BYTES = 8 * 1024 * 1024
const MAX_KNOWN = 2000
/** Where a method names the block that it asks about. */
const BLOCK_ARGUMENT: Record<string, number> = { eth_call: 1, eth_getBalance: 1, eth_getBlockByNumber: 0 }

interface Rpc {
  id: unknown
  method: string
  params: unknown[]
}

export async function openShakyChain(dir: string): Promise<ShakyChain> {
  const engine = await startEngine({ dir, genesisSeconds: Math.floor(Date.now() / 1000), snapshot: null })
  /** Raw transactions by the number of the block that was the head when they came. */
  const known: { raw: string; block: number }[] = []
  let turn: Promise<unknown> = Promise.resolve()
  const inTurn = <T>(act: () => Promise<T>): Promise<T> => {
    const result = turn.then(act)
    turn = result.catch(() => undefined)
    return result
  }
  const head = async () => Number(await engine.call('eth_blockNumber'))
  const chain: ShakyChain = {
    url: '',
    mood: 'well',
    mine: (blocks) =>
      inTurn(async () => {
        for (let i = 0; i < blocks; i += 1) await engine.call('evm_mine')
      }),
    pass: (seconds) =>
      inTurn(async () => {
        await engine.call('evm_increaseTime', [seconds])
        await engine.call('evm_mine')
      }),
    reorganise: (depth, { lose }) =>
      inTurn(async () => {
        const from = (await head()) - depth
        await engine.call('anvil_reorg', [depth, []])
        if (lose) return
        // Those that the reorganisation did not take back are refused, as they are known.
        for (const { raw } of known.filter(({ block }) => block >= from))
          await engine.call('eth_sendRawTransaction', [raw]).catch(() => null)
      }),
    async [Symbol.asyncDispose]() {
      clearInterval(miner)
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
      await inTurn(async () => engine[Symbol.asyncDispose]())
    },
  }
  const server = createServer((request, response) => {
    answer({ request, response, engine, mood: () => chain.mood, remember }).catch(() => response.destroy())
  })
  server.keepAliveTimeout = 65_000
  const remember = (raw: string) => {
    void head().then((block) => known.push({ raw, block }))
    if (known.length > MAX_KNOWN) known.shift()
  }
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  chain.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const miner = setInterval(() => void chain.mine(1).catch(() => null), BLOCK_MS)
  return chain
}

async function answer(exchange: {
  request: IncomingMessage
  response: ServerResponse
  engine: Engine
  mood: () => Mood
  remember: (raw: string) => void
}): Promise<void> {
  const { request, response, engine, mood, remember } = exchange
  const body = await readBody(request)
  const parsed = JSON.parse(body) as Rpc | Rpc[]
  const now = mood()
  if (now === 'down') return void response.destroy()
  // The client's own time limit ends it, or the server when the chain ends.
  if (now === 'silent') return
  if (Array.isArray(parsed)) return reply(response, await engine.forward(body))
  const { id, method, params } = parsed
  if (method === 'eth_sendRawTransaction') remember(String(params[0]))
  if (now === 'forgetful' && method === 'eth_sendRawTransaction') {
    await engine.forward(body)
    return reply(response, JSON.stringify({ jsonrpc: '2.0', id, error: { code: -32000, message: 'the node is busy' } }))
  }
  if (now === 'forgetful' && (method === 'eth_getTransactionReceipt' || method === 'eth_getTransactionByHash'))
    return reply(response, JSON.stringify({ jsonrpc: '2.0', id, result: null }))
  if (now === 'behind') return reply(response, await engine.forward(JSON.stringify(await asOfBefore(parsed, engine))))
  reply(response, await engine.forward(body))
}

async function asOfBefore(rpc: Rpc, engine: Engine): Promise<object> {
  const place = BLOCK_ARGUMENT[rpc.method]
  if (place === undefined || rpc.params[place] !== 'latest') return { jsonrpc: '2.0', ...rpc }
  const head = Number(await engine.call('eth_blockNumber'))
  const params = rpc.params.with(place, `0x${Math.max(0, head - BEHIND_BLOCKS).toString(16)}`)
  return { jsonrpc: '2.0', ...rpc, params }
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > MAX_BODY_BYTES) throw new Error('too large')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

function reply(response: ServerResponse, body: string): void {
  if (!response.destroyed) response.writeHead(200, { 'content-type': 'application/json' }).end(body)
}
