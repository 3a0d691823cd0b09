import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { getBytes } from 'ethers'
import pg from 'pg'
import { openLog } from '../../../services/adapters/log.ts'
import { x25519PublicKey } from '../../../services/core/sessions.ts'
import { deploymentPath, type LocalDeployment, openDeployment } from '../../local/deployment.ts'
import { type Family, openFamily } from '../../local/family.ts'
import { type LocalKeys, openKeys } from '../../local/keys.ts'
import { choosePorts, type Ports } from '../../local/ports.ts'
import { gatewayUrlOf, planServices, type ServicePlan } from '../../local/services.ts'
import { openProvider } from '../../story/chapters.ts'
import { until, World } from '../../story/world.ts'
import { namedIn, treeOf } from './machine.ts'
import { registerNoOp } from './no-op-model.ts'
import { type EscrowFacts, UNIT_PRICE } from './wallets.ts'

const root = resolve(import.meta.dirname, '..', '..', '..')
/** Between the three seconds of `npm start` and the hours that gas makes sensible. */
export const SETTLE_AGE_SECONDS = 30

/** A cooperative of its own in which inference costs nothing: chain, PostgreSQL, gateway, indexer and settler as processes. */
export interface Stage extends AsyncDisposable {
  dir: string
  port: number
  databaseUrl: string
  rpcUrl: string
  modelId: string
  facts: EscrowFacts
  world: World
  /** Whose processor time is the cost of a request: gateway, settler, indexer and every process of PostgreSQL. */
  servers(): { name: string; pids: number[] }[]
  gatewayPid(): number
  select<Row extends pg.QueryResultRow>(sql: string, values?: unknown[]): Promise<Row[]>
}

export async function openStage(onProgress: (line: string) => void, profile: string | null): Promise<Stage> {
  const dir = mkdtempSync(join(tmpdir(), 'granary-bench-'))
  // Passable, or root's PostgreSQL, which runs as another user, has to put its data elsewhere.
  chmodSync(dir, 0o711)
  await using stack = new AsyncDisposableStack()
  stack.defer(() => rmSync(dir, { recursive: true, force: true }))
  const log = openLog({ process: 'bench', level: 'error' })
  const family = await openFamily({ dir, log })
  stack.defer(() => family.stop(() => undefined))
  const ports = await choosePorts(dir, 0)
  const keys = openKeys(join(dir, 'keys'))
  onProgress('Starting the chain and PostgreSQL')
  const { rpcUrl, databaseUrl } = await startState({ family, dir, ports })
  const deployment = await openDeployment({ dir, rpcUrl, keys, log, onProgress })
  onProgress('Starting gateway, indexer and settler')
  await startServices({ family, dir, ports, keys, rpcUrl, databaseUrl, profile })
  const contracts = { ...deployment.contracts, Token: deployment.token }
  const chainId = BigInt(deployment.chainId)
  const world = stack.use(new World({ gatewayUrl: gatewayUrlOf(ports), rpcUrl, chainId, contracts }))
  onProgress('Registering a model and a provider')
  const modelId = await stock(world, keys)
  const pool = new pg.Pool({ connectionString: databaseUrl, max: 2 })
  stack.defer(() => pool.end())
  const disposables = stack.move()
  return {
    dir,
    port: ports.gateway,
    databaseUrl,
    rpcUrl,
    modelId,
    facts: await factsOf(ports, deployment),
    world,
    servers: () => serversOf(family),
    gatewayPid: () => pidOf(family, 'gateway'),
    select: async (sql, values = []) => (await pool.query(sql, values)).rows,
    [Symbol.asyncDispose]: () => disposables.disposeAsync(),
  }
}

async function startState({ family, dir, ports }: { family: Family; dir: string; ports: Ports }) {
  const start = (name: 'chain' | 'postgres', port: number) =>
    family.start({
      name,
      module: join(root, 'scripts', 'local', `${name}-main.ts`),
      args: [join(dir, name), String(port)],
      stopTimeoutMs: 35_000,
    }).ready
  const [chain, postgres] = await Promise.all([start('chain', ports.rpc), start('postgres', ports.postgres)])
  return { rpcUrl: String(chain.get('chain')?.url), databaseUrl: String(postgres.get('postgres')?.url) }
}

async function startServices(options: {
  family: Family
  dir: string
  ports: Ports
  keys: LocalKeys
  rpcUrl: string
  databaseUrl: string
  profile: string | null
}): Promise<void> {
  const { family, dir, keys, profile } = options
  const plans = planServices({ ...options, deployment: deploymentPath(dir), ipfsRpcUrl: null })
  const env = {
    ...plans.gateway.env,
    GRANARY_BENCH_PROVIDER: keys.operator.address,
    // The limits are per client address, and all buyers share one here.
    GRANARY_REQUESTS_PER_MINUTE: '10000000',
    GRANARY_RELAYS_PER_MINUTE: '100000',
  }
  const profiled = (plan: ServicePlan): ServicePlan => {
    if (profile === null) return plan
    return { ...plan, env: { ...plan.env, NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${join(profile, plan.name)}` } }
  }
  await family.start(profiled({ name: 'gateway', module: join(import.meta.dirname, 'gateway-main.ts'), env })).ready
  const settler = { ...plans.settler, env: { ...plans.settler.env, GRANARY_SETTLE_AGE_SECONDS: `${SETTLE_AGE_SECONDS}` } }
  await Promise.all([plans.indexer, settler].map((plan) => family.start(profiled(plan)).ready))
}

/** One model that the no-op stands for, offered by a staked provider. */
async function stock(world: World, keys: LocalKeys): Promise<string> {
  const [operator, author] = await Promise.all([world.person('operator', keys.operator.key), world.person('author')])
  await world.giveGas([operator])
  const modelId = await registerNoOp(author)
  await world.giveDollars(operator, 100_000_000n)
  await openProvider(world, {
    operator,
    sessionKey: keys.session.address,
    encryptionKey: x25519PublicKey(getBytes(keys.sealing.key)),
    stake: 100_000_000n,
    offers: [{ modelId, unit: 'request', unitPrice: UNIT_PRICE }],
  })
  const isSold = async () => {
    const models = (await operator.granary.models()) as { modelId: string; servedBy: string[] }[]
    return models.some((model) => model.modelId === modelId && model.servedBy.length > 0)
  }
  await until('the model to be sold', isSold, 60_000)
  return modelId
}

async function factsOf(ports: Ports, { chainId }: LocalDeployment): Promise<EscrowFacts> {
  const answer = await fetch(`${gatewayUrlOf(ports)}/v1`)
  const { escrow, token, collector, minThawSeconds } = (await answer.json()) as Omit<EscrowFacts, 'chainId'>
  return { chainId: BigInt(chainId), escrow, token, collector, minThawSeconds }
}

function pidOf(family: Family, name: string): number {
  return family.processes().find((entry) => entry.name === name)?.pid ?? 0
}

/** The postmaster is below the process that watches it. */
function serversOf(family: Family): { name: string; pids: number[] }[] {
  const services = ['gateway', 'settler', 'indexer'].map((name) => ({ name, pids: [pidOf(family, name)] }))
  return [...services, { name: 'postgres', pids: namedIn(treeOf(pidOf(family, 'postgres')), 'postgres') }]
}
