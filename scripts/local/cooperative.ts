import { mkdirSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { JsonRpcProvider } from 'ethers'
import type { Log } from '../../services/adapters/log.ts'
import { GranaryError } from '../../services/core/errors.ts'
import { curlLines, seed } from '../seed.ts'
import { deploymentPath, type LocalDeployment, openDeployment } from './deployment.ts'
import { type Family, openFamily } from './family.ts'
import { readJsonFile, writeWhole } from './files.ts'
import { reconcile, seedFolder } from './identity.ts'
import { type LocalKeys, openKeys } from './keys.ts'
import { acquireLock } from './lock.mjs'
import { choosePorts, type Ports } from './ports.ts'
import { gatewayUrlOf, planServices } from './services.ts'

const root = resolve(import.meta.dirname, '..', '..')

/** What `local.json` says of a running cooperative. */
export interface LocalFacts {
  gatewayUrl: string
  rpcUrl: string
  chainId: number
  contracts: Record<string, string>
  token: string
  /** Shell lines: one paid inference, and one that is answered 402. Absent where nothing was seeded. */
  tryIt?: string
  unpaidTry?: string
  [fact: string]: unknown
}

export interface Cooperative extends AsyncDisposable {
  facts: LocalFacts
  deployment: LocalDeployment
  keys: LocalKeys
  databaseUrl: string
  /** What was reset, and why. */
  notes: string[]
  /** As they are now: a process that died has another pid. */
  processes(): { name: string; pid: number }[]
  /** Rejects when a process dies again and again; then stop. */
  failed: Promise<never>
  stop(): Promise<void>
}

export interface CooperativeOptions {
  /** Everything that it keeps. */
  dir: string
  /** The gateway's; 0 takes any free ports for everything. */
  port: number
  log: Log
  onProgress?: (line: string) => void
  /** A PostgreSQL server; null for the embedded one. */
  databaseUrl?: string | null
  /** A development chain that runs already, with nobody's contracts on it; null for an own one. */
  rpcUrl?: string | null
  /** A Kubo node's RPC; null for embedded nodes. */
  ipfsRpcUrl?: string | null
  /** False leaves it empty: no models, no accounts. */
  seeded?: boolean
  /** Gives up starting: what runs already is stopped. */
  signal?: AbortSignal
}

/** Starts the whole cooperative in processes of its own, or goes on where the last start in `dir` ended. */
export async function startCooperative(options: CooperativeOptions): Promise<Cooperative> {
  const { dir, log, onProgress = () => undefined } = options
  // Passable, so that root's PostgreSQL, which runs as another user, reaches its folder; what is secret has modes of its own.
  mkdirSync(dir, { recursive: true, mode: 0o711 })
  const release = lockFolder(dir)
  rmSync(factsPath(dir), { force: true })
  let family: Family | null = null
  const stop = async () => {
    rmSync(factsPath(dir), { force: true })
    await family?.stop(onProgress)
    release()
  }
  try {
    family = await openFamily({ dir, log })
    const begun = await Promise.race([begin(options, family), family.failed, aborted(options.signal)])
    writeWhole(factsPath(dir), JSON.stringify(begun.facts, null, 2))
    const stopOnce = once(stop)
    return { ...begun, processes: family.processes, failed: family.failed, stop: stopOnce, [Symbol.asyncDispose]: stopOnce }
  } catch (error) {
    await stop()
    throw error
  }
}

async function begin(options: CooperativeOptions, family: Family) {
  const { dir, log, onProgress = () => undefined } = options
  const ports = await choosePorts(dir, options.port)
  const keys = openKeys(join(dir, 'keys'))
  onProgress('Starting the chain and the database')
  const { rpcUrl, databaseUrl, notes } = await openState({ ...options, ports, family })
  const deployment = await openDeployment({ dir, rpcUrl, keys, log, onProgress })
  const gatewayUrl = gatewayUrlOf(ports)
  const plans = planServices({
    dir,
    ports,
    keys,
    rpcUrl,
    databaseUrl,
    deployment: deploymentPath(dir),
    ipfsRpcUrl: options.ipfsRpcUrl ?? null,
  })
  onProgress('Starting gateway, indexer, settler and provider')
  // The others ask the gateway for its content addresses.
  await family.start(plans.gateway).ready
  const rest = [plans.indexer, plans.settler, plans.provider].map((plan) => family.start(plan))
  await Promise.all(rest.slice(0, 2).map((child) => child.ready))
  const contracts = { ...deployment.contracts, Token: deployment.token }
  const facts: LocalFacts = { gatewayUrl, rpcUrl, ...deployment, contracts }
  if (options.seeded !== false) {
    const world = { gatewayUrl, rpcUrl, chainId: BigInt(deployment.chainId), contracts: facts.contracts }
    mkdirSync(seedFolder(dir), { recursive: true, mode: 0o700 })
    const seeded = await seed({ world, keys, dir: seedFolder(dir), onProgress: (step) => onProgress(`Seeding: ${step}`) })
    Object.assign(facts, curlLines(gatewayUrl, seeded))
  }
  // Last, because a worker may wait for its provider to be registered, which the seed does.
  await Promise.all(rest.map((child) => child.ready))
  return { facts, deployment, keys, databaseUrl, notes }
}

async function openState(options: CooperativeOptions & { ports: Ports; family: Family }) {
  const { dir, ports, family } = options
  const script = (name: string) => join(root, 'scripts', 'local', name)
  const rpcUrl = options.rpcUrl ?? null
  const chain =
    rpcUrl === null
      ? family.start({
          name: 'chain',
          module: script('chain-main.ts'),
          args: [join(dir, 'chain'), String(ports.rpc)],
          stopTimeoutMs: 35_000,
        })
      : null
  const external = options.databaseUrl ?? null
  const postgres =
    external === null
      ? family.start({
          name: 'postgres',
          module: script('postgres-main.ts'),
          args: [join(dir, 'postgres'), String(ports.postgres)],
          stopTimeoutMs: 25_000,
        })
      : null
  const [chainTold, postgresTold] = await Promise.all([chain?.ready, postgres?.ready])
  const { url, genesisHash, reset } =
    rpcUrl === null ? (chainTold?.get('chain') ?? {}) : { url: rpcUrl, genesisHash: await genesisOf(rpcUrl), reset: null }
  const databaseUrl = external ?? String(postgresTold?.get('postgres')?.url)
  const chainReset = reset === null || reset === undefined ? null : String(reset)
  const notes = await reconcile({ dir, genesisHash: String(genesisHash), chainReset, databaseUrl, external: external !== null })
  return { rpcUrl: String(url), databaseUrl, notes }
}

async function genesisOf(rpcUrl: string): Promise<string> {
  const provider = new JsonRpcProvider(rpcUrl, undefined, { staticNetwork: true })
  try {
    return String((await provider.getBlock(0))?.hash)
  } finally {
    provider.destroy()
  }
}

export function factsPath(dir: string): string {
  return join(dir, 'local.json')
}

function lockFolder(dir: string): () => void {
  const taken = acquireLock(join(dir, 'start.lock'))
  if (taken.ok) return taken.release
  const facts = readJsonFile(factsPath(dir)) as LocalFacts | null
  const where = facts === null ? 'it is still starting or stopping' : `gateway ${facts.gatewayUrl}, chain ${facts.rpcUrl}`
  throw new GranaryError('start.already-running', `Granary runs here already, as process ${taken.holder.pid}: ${where}.`, {
    pid: taken.holder.pid,
  })
}

function aborted(signal: AbortSignal | undefined): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal?.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
}

function once(work: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | null = null
  return () => {
    done ??= work()
    return done
  }
}
