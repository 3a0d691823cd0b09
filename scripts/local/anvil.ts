import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { GranaryError } from '../../services/core/errors.ts'
import { processAlive, startTicks } from './lock.mjs'

export interface RpcError {
  code: number
  message: string
  data?: unknown
}

/** The machine that executes transactions, on a private port; only chain.ts speaks to it. */
export interface Engine extends AsyncDisposable {
  /** False where nothing can be restored (no anvil on this platform). */
  durable: boolean
  /** Sends a JSON-RPC body as it is. */
  forward(body: string): Promise<string>
  /** One call; the engine's refusal is thrown as EngineRefusal. */
  call(method: string, params?: readonly unknown[]): Promise<unknown>
  /** Resolves when the engine has ended. */
  ended: Promise<string>
}

export class EngineRefusal extends Error {
  readonly rpc: RpcError
  constructor(rpc: RpcError) {
    super(rpc.message)
    this.rpc = rpc
  }
}

const START_TIMEOUT_MS = 60_000
const CALL_TIMEOUT_MS = 120_000
/** Blocks that eth_call can go back to, two minutes; each kept state costs memory (2000 of them half a gigabyte). */
const STATES_KEPT = 120

/**
 * Starts anvil without mining of its own, or Hardhat's node where there is no anvil.
 * `snapshot` is a file in anvil's own state format.
 */
export async function startEngine(options: { dir: string; genesisSeconds: number; snapshot: string | null }): Promise<Engine> {
  stopOrphan(options.dir)
  const anvil = anvilPath()
  const command = anvil === null ? hardhatNode() : anvilNode(anvil, options)
  const home = join(options.dir, 'engine-home')
  mkdirSync(home, { recursive: true })
  const child = spawn(command.path, command.args, {
    cwd: command.cwd,
    env: { PATH: process.env.PATH, HOME: home, ...command.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    // Not in the terminal's group: Ctrl-C is for our process, which then still writes a snapshot.
    detached: true,
  })
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message))
    child.once('exit', (code, signal) => resolve(`it ended with ${signal ?? code}`))
  })
  if (child.pid !== undefined) {
    writeFileSync(orphanFile(options.dir), JSON.stringify({ pid: child.pid, ticks: startTicks(child.pid) }))
  }
  const port = await listeningPort(child, ended)
  return { durable: anvil !== null, ended, ...client(port), [Symbol.asyncDispose]: () => stop(child, ended, options.dir) }
}

export function anvilPath(): string | null {
  try {
    const path = createRequire(import.meta.url).resolve('@foundry-rs/anvil-linux-amd64/bin/anvil')
    return existsSync(path) ? path : null
  } catch {
    return null
  }
}

function anvilNode(path: string, { genesisSeconds, snapshot }: { genesisSeconds: number; snapshot: string | null }) {
  const args = ['--host', '127.0.0.1', '--port', '0', '--no-mining', '--order', 'fifo', '--chain-id', '31337']
  args.push('--hardfork', 'prague', '--timestamp', String(genesisSeconds), '--slots-in-an-epoch', '1')
  args.push('--accounts', '1', '--balance', '1000000', '--prune-history', String(STATES_KEPT))
  if (snapshot !== null) args.push('--load-state', snapshot)
  return { path, args, cwd: undefined, env: {} }
}

function hardhatNode() {
  const require = createRequire(import.meta.url)
  const cli = join(dirname(require.resolve('hardhat/package.json')), 'dist/src/cli.js')
  const root = join(import.meta.dirname, '..', '..')
  return { path: process.execPath, args: [cli, 'node', '--port', '0'], cwd: root, env: { CI: '1', DO_NOT_TRACK: '1' } }
}

/** Both programs say where they listen; what they print later is dropped, so that their pipes never fill. */
async function listeningPort(child: ChildProcess, ended: Promise<string>): Promise<number> {
  let output = ''
  const port = new Promise<number>((resolve) => {
    const read = (chunk: Buffer) => {
      if (output.length > 100_000) return
      output += chunk.toString()
      const match = /(?:Listening on |http:\/\/)127\.0\.0\.1:(\d+)/.exec(output)
      if (match) resolve(Number(match[1]))
    }
    child.stdout?.on('data', read)
    child.stderr?.on('data', read)
  })
  const limit = AbortSignal.timeout(START_TIMEOUT_MS)
  const late = new Promise<string>((resolve) => limit.addEventListener('abort', () => resolve('it did not start in time')))
  const first = await Promise.race([port, ended, late])
  if (typeof first === 'number') return first
  child.kill('SIGKILL')
  throw new GranaryError('chain.unavailable', `The local chain's engine does not run: ${first}. ${output.slice(-600).trim()}`)
}

function client(port: number): Pick<Engine, 'forward' | 'call'> {
  const agent = new Agent({ keepAlive: true, maxSockets: 16 })
  const forward = (body: string) => post({ port, agent, body })
  const call = async (method: string, params: readonly unknown[] = []) => {
    const answer = JSON.parse(await forward(JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })))
    if (answer.error) throw new EngineRefusal(answer.error)
    return answer.result
  }
  return { forward, call }
}

function post({ port, agent, body }: { port: number; agent: Agent; body: string }): Promise<string> {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(CALL_TIMEOUT_MS)
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
    const sent = request({ host: '127.0.0.1', port, method: 'POST', agent, headers, signal }, (answer) => {
      const chunks: Buffer[] = []
      answer.on('data', (chunk: Buffer) => chunks.push(chunk))
      answer.on('end', () => resolve(Buffer.concat(chunks).toString()))
      answer.on('error', reject)
    })
    sent.on('error', reject)
    sent.end(body)
  })
}

async function stop(child: ChildProcess, ended: Promise<string>, dir: string): Promise<void> {
  // Its state lies in our log and snapshots: nothing is lost by not asking twice.
  child.kill('SIGKILL')
  await ended
  rmSync(orphanFile(dir), { force: true })
}

function orphanFile(dir: string): string {
  return join(dir, 'engine.pid')
}

/** An engine whose parent was killed with -9 goes on living; the kernel's start time tells it from a recycled pid. */
function stopOrphan(dir: string): void {
  try {
    const holder = JSON.parse(readFileSync(orphanFile(dir), 'utf8'))
    if (Number.isInteger(holder.pid) && holder.pid > 1 && holder.ticks !== '' && processAlive(holder))
      process.kill(holder.pid, 'SIGKILL')
  } catch {
    // No file, or half of one: no orphan that we know of.
  }
}
