import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Wallet } from 'ethers'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { run } from '../support/run.ts'
import type { Scene } from '../support/scene.ts'

/** What people do from the command line, none of them with coins for gas. */
export function verbs(scene: () => Scene): void {
  describe('people at the command line', () => {
    let dir: string
    const somebody = new Wallet(Wallet.createRandom().privateKey)
    const address = somebody.address.toLowerCase()
    const path = (name: string) => join(dir, name)
    const world = () => scene().stage.world
    const memberKey = (number: 1 | 2 | 3) => scene().stage.cooperative.keys[`member-${number}`].path

    async function granary(keyFile: string, ...args: string[]): Promise<Record<string, unknown>> {
      const { gatewayUrl, rpcUrl } = world().options
      const common = ['--gateway', gatewayUrl, '--rpc', rpcUrl, '--key-file', keyFile, '--json']
      const { code, output, errors } = await run(['services/cli/main.ts', ...args, ...common], { GRANARY_DIR: dir })
      expect({ code, errors }).toEqual({ code: 0, errors: '' })
      return JSON.parse(output)
    }

    beforeAll(() => {
      dir = mkdtempSync(join(tmpdir(), 'granary-verbs-'))
      writeFileSync(path('own.key'), somebody.privateKey, { mode: 0o600 })
    })
    afterAll(() => rmSync(dir, { recursive: true, force: true }))

    it('join: an application goes to three members, and then to the chain', async () => {
      await granary(path('own.key'), 'contribute', 'apply', path('application.json'), '--nullifier', somebody.privateKey)
      for (const number of [1, 2, 3] as const) {
        await granary(memberKey(number), 'contribute', 'vouch', path('application.json'))
      }
      const { memberId } = await granary(path('own.key'), 'contribute', 'join', path('application.json'))
      expect(String(await world().read<bigint>('Membership', 'memberIdOf', address))).toBe(memberId)
    })

    it('rotate their key, and think better of it', async () => {
      const memberId = String(await world().read<bigint>('Membership', 'memberIdOf', address))
      const next = Wallet.createRandom().address
      await granary(path('own.key'), 'contribute', 'rotate', memberId, next)
      const member = () => world().read<{ pendingKey: string }>('Membership', 'member', memberId)
      expect((await member()).pendingKey).toBe(next)
      await granary(path('own.key'), 'contribute', 'cancel-rotation', memberId)
      expect((await member()).pendingKey).toMatch(/^0x0{40}$/)
    })

    it('register a dataset under terms with names', async () => {
      writeFileSync(path('letters.txt'), 'Dear Granary')
      const now = await world().timestamp()
      const terms = {
        validFrom: now - 60,
        validUntil: now + 86_400,
        purposes: ['research'],
        royaltyPpm: 50_000,
        flags: ['personal'],
      }
      writeFileSync(path('terms.json'), JSON.stringify(terms))
      const about = ['--terms', path('terms.json'), '--title', 'Letters', '--licence', 'CC0-1.0', '--description', 'One letter.']
      const { datasetId } = await granary(path('own.key'), 'consent', 'register', path('letters.txt'), ...about)
      const dataset = await world().read<{ owner: string; purposes: bigint }>('DatasetRegistry', 'dataset', datasetId)
      expect({ owner: dataset.owner.toLowerCase(), purposes: dataset.purposes }).toEqual({ owner: address, purposes: 1n })
    })

    it('register as a provider, stake and offer', async () => {
      await world().giveDollars({ name: 'somebody', address }, 100_000_000n)
      const keys = ['--session-key', Wallet.createRandom().address, '--encryption-key', `0x${'17'.repeat(32)}`]
      await granary(path('own.key'), 'provide', 'register', ...keys, '--name', 'Somebody', '--stake', '100')
      const models = (await scene().send({ method: 'GET', path: '/v1/models' })).json.models as { modelId: string }[]
      const modelId = models[0]?.modelId ?? ''
      await granary(path('own.key'), 'provide', 'offer', modelId, '--unit', 'text', '--price', '0.0004')
      const offer = () => world().read<{ active: boolean; unitPrice: bigint }>('ProviderRegistry', 'offer', address, modelId)
      const { active, unitPrice } = await offer()
      expect({ active, unitPrice }).toEqual({ active: true, unitPrice: 400n })
      await granary(path('own.key'), 'provide', 'end-offer', modelId)
      expect((await offer()).active).toBe(false)
    })

    it('propose', async () => {
      const call = ['--call', 'CooperativeParameters.setProtocolFee', '--args', '[12345]', '--description', 'Another fee']
      const { proposalId } = await granary(memberKey(1), 'govern', 'propose', path('proposal.json'), ...call)
      const proposer = await world().read<string>('CooperativeGovernor', 'proposalProposer', proposalId)
      expect(proposer.toLowerCase()).toBe(scene().stage.cooperative.keys['member-1'].address.toLowerCase())
    })

    it('have spent nothing on gas', async () => {
      expect(await world().provider.getBalance(address)).toBe(0n)
    })
  })
}
