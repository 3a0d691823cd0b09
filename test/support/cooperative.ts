import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Cooperative, startCooperative } from '../../scripts/local/cooperative.ts'
import { until, World } from '../../scripts/story/world.ts'
import { openLog } from '../../services/adapters/log.ts'

/** A real cooperative in a folder and on ports of its own, and the world of people around it. */
export interface Stage extends AsyncDisposable {
  dir: string
  cooperative: Cooperative
  world: World
  gatewayUrl: string
  /** Of a process as it is now; 0 while it is being started again. */
  pid(name: string): number
  /** Until the gateway answers that it is able to serve, and a worker has `model` ready. */
  untilServing(model: string, timeoutMs?: number): Promise<void>
}

/** Takes most of a minute: one for each test file. */
export async function openStage(name: string): Promise<Stage> {
  const dir = mkdtempSync(join(tmpdir(), `granary-${name}-`))
  // Passable, or root's PostgreSQL, which runs as another user, has to put its data elsewhere.
  chmodSync(dir, 0o711)
  const remove = () => rmSync(dir, { recursive: true, force: true })
  try {
    const log = openLog({ process: name, level: 'fatal' })
    const cooperative = await startCooperative({ dir, port: 0, log })
    const { gatewayUrl, rpcUrl, chainId, contracts } = cooperative.facts
    const world = new World({ gatewayUrl, rpcUrl, chainId: BigInt(chainId), contracts })
    return {
      dir,
      cooperative,
      world,
      gatewayUrl,
      pid: (process) => cooperative.processes().find((entry) => entry.name === process)?.pid ?? 0,
      untilServing: (model, timeoutMs = 120_000) => until(`${model} to be served`, () => isServing(gatewayUrl, model), timeoutMs),
      async [Symbol.asyncDispose]() {
        await world[Symbol.asyncDispose]()
        await cooperative.stop()
        remove()
      },
    }
  } catch (error) {
    remove()
    throw error
  }
}

async function isServing(gatewayUrl: string, model: string): Promise<boolean> {
  try {
    const [health, described] = await Promise.all([
      fetch(`${gatewayUrl}/v1/health`, { signal: AbortSignal.timeout(5000) }),
      fetch(`${gatewayUrl}/v1/models/${model}`, { signal: AbortSignal.timeout(5000) }),
    ])
    return health.ok && described.ok && ((await described.json()) as { servedBy: string[] }).servedBy.length > 0
  } catch {
    return false
  }
}
