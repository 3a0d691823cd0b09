import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { GranaryError } from '../../services/core/errors.ts'
import { readJsonFile, writeWhole } from './files.ts'

/** All on loopback. What a start chose is kept, so that URLs and multiaddrs stay the same. */
export interface Ports {
  gateway: number
  rpc: number
  postgres: number
  content: number
}

const DEFAULT_RPC_PORT = 8545
/** Services of a killed start let go of their ports within this time. */
const RELEASE_MS = 3000

/** `gateway` 0 means: any free ports, for a cooperative beside others. */
export async function choosePorts(dir: string, gateway: number): Promise<Ports> {
  const file = join(dir, 'ports.json')
  const kept = readKept(file)
  const wanted = gateway === 0 ? kept.gateway : gateway
  const ports = {
    gateway: gateway === 0 ? await freePort([wanted]) : await requirePort(gateway),
    rpc: await freePort([kept.rpc, ...(gateway === 0 ? [] : [DEFAULT_RPC_PORT])]),
    postgres: await freePort([kept.postgres]),
    content: await freePort([kept.content]),
  }
  writeWhole(file, JSON.stringify(ports))
  return ports
}

function readKept(file: string): Partial<Ports> {
  const kept = Object.entries(readJsonFile(file) ?? {})
  return Object.fromEntries(kept.filter(([, port]) => Number.isInteger(port) && Number(port) > 0))
}

async function requirePort(port: number): Promise<number> {
  const until = performance.now() + RELEASE_MS
  while (!(await isFree(port))) {
    if (performance.now() > until) {
      throw new GranaryError('start.port-in-use', `Port ${port} is in use by another program.`, { port })
    }
    await delay(100)
  }
  return port
}

async function freePort(preferred: readonly (number | undefined)[]): Promise<number> {
  for (const port of preferred) if (port !== undefined && (await isFree(port))) return port
  return listenOnce(0)
}

async function isFree(port: number): Promise<boolean> {
  return listenOnce(port).then(
    () => true,
    () => false,
  )
}

function listenOnce(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(port, '127.0.0.1', () => {
      const { port: chosen } = server.address() as AddressInfo
      server.close(() => resolve(chosen))
    })
  })
}
