import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { JsonRpcProvider } from 'ethers'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Cooperative, startCooperative } from '../scripts/local/cooperative.ts'
import { deploymentPath } from '../scripts/local/deployment.ts'
import { runStory, type StoryReport } from '../scripts/story/story.ts'
import { startWorker } from '../scripts/story/worker.ts'
import { openLog } from '../services/adapters/log.ts'

/** The whole story on real parts: the same steps as `npm run demo`, in a folder and on ports of its own. */
describe('the story in seven chapters', () => {
  const dir = mkdtempSync(join(tmpdir(), 'granary-story-'))
  // Root's PostgreSQL runs as another user, who must be able to pass through.
  chmodSync(dir, 0o711)
  const lines: string[] = []
  let cooperative: Cooperative
  let report: StoryReport

  beforeAll(async () => {
    const log = openLog({ process: 'story-test', level: 'error' })
    cooperative = await startCooperative({ dir, port: 0, log })
    const { gatewayUrl, rpcUrl, chainId, contracts } = cooperative.facts
    report = await runStory({
      world: { gatewayUrl, rpcUrl, chainId: BigInt(chainId), contracts },
      memberKeys: ([1, 2, 3, 4, 5] as const).map((number) => cooperative.keys[`member-${number}`].key),
      startWorker: (sessionPrivateKey) =>
        startWorker({ dir: join(dir, 'demo-worker'), sessionPrivateKey, gatewayUrl, rpcUrl, deployment: deploymentPath(dir) }),
      print: (line) => lines.push(line),
      interrupt: killEachOnce,
    })
  }, 600_000)

  afterAll(async () => {
    await cooperative?.stop()
    rmSync(dir, { recursive: true, force: true })
  }, 60_000)

  const killed: string[] = []

  /** kill -9 in the middle of buying; the supervisor starts each of them again. */
  async function killEachOnce(stage: 'buying' | 'rewarding'): Promise<void> {
    const victims = stage === 'buying' ? ['provider', 'settler', 'indexer'] : ['gateway']
    for (const { name, pid } of cooperative.processes()) {
      if (!victims.includes(name)) continue
      process.kill(pid, 'SIGKILL')
      killed.push(name)
    }
  }

  it('walks all seven chapters', () => {
    const chapters = [...new Set(lines.map((line) => line.split(' ')[0]))]
    expect(chapters).toEqual(expect.arrayContaining(['contribute', 'consent', 'derive', 'infer', 'settle', 'reward', 'govern']))
  })

  it('answers an unpaid call with 402, and one on withdrawn data with 451', () => {
    expect(lines.join('\n')).toContain('402 payment.required')
    expect(lines.join('\n')).toMatch(/451 (consent|provider)\.refused/)
  })

  it('survives kill -9 of provider, settler, indexer and gateway', () => {
    expect(killed.sort()).toEqual(['gateway', 'indexer', 'provider', 'settler'])
  })

  it('lists transactions that are all on the chain', async () => {
    expect(report.transactions.length).toBeGreaterThan(25)
    const provider = new JsonRpcProvider(cooperative.facts.rpcUrl)
    const receipts = await Promise.all(report.transactions.map(({ transaction }) => provider.getTransactionReceipt(transaction)))
    provider.destroy()
    expect(receipts.filter((receipt) => receipt?.status !== 1)).toEqual([])
  })

  it('accounts for every unit that came in', () => {
    expect(report.checks.filter(({ holds }) => !holds)).toEqual([])
    expect(report.checks.length).toBeGreaterThanOrEqual(8)
    expect(report.holds).toBe(true)
  })

  it('trains the same bytes from the same data as the seed did, which other people contributed', async () => {
    const response = await fetch(`${cooperative.facts.gatewayUrl}/v1/models/spam-classifier`)
    const { modelId, manifest } = (await response.json()) as { modelId: string; manifest: { onnx: { sha256: string } } }
    expect(modelId).not.toBe(report.facts.modelId)
    expect(manifest.onnx.sha256).toBe(report.facts.spamDigest)
  })

  it('pays contributors, who held no gas', () => {
    expect(BigInt(report.balances.Ada?.after ?? 0)).toBeGreaterThan(0n)
    expect(BigInt(report.balances.Ben?.after ?? 0)).toBeGreaterThan(0n)
  })
})
