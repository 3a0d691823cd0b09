import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openTerms } from '../../../scripts/story/chapters.ts'
import type { Person } from '../../../scripts/story/world.ts'
import type { ActFile } from '../../../services/sdk/index.ts'
import { run } from '../support/run.ts'
import type { Scene } from '../support/scene.ts'

/** The way round a gateway that does not relay: acts as files, which anybody with gas, or any gateway, sends. */
export function signedActs(scene: () => Scene): void {
  describe('acts that were signed for others to send', () => {
    let dir: string
    let person: Person
    let datasetId: string
    const path = (name: string) => join(dir, name)
    const stage = () => scene().stage
    const cli = (...args: string[]) => run(['services/cli/main.ts', ...args], { GRANARY_DIR: dir })
    const gateway = () => ['--gateway', stage().gatewayUrl]
    const rpc = () => ['--rpc', stage().world.options.rpcUrl]
    const funded = () => ['--key-file', stage().cooperative.keys.operator.path]
    const own = () => ['--key-file', path('person.key')]
    const dataset = (id: string) => stage().world.read<{ owner: string; withdrawn: boolean }>('DatasetRegistry', 'dataset', id)
    const readFile = (name: string): ActFile => JSON.parse(readFileSync(path(name), 'utf8'))

    beforeAll(async () => {
      dir = mkdtempSync(join(tmpdir(), 'granary-acts-'))
      person = await stage().world.person('Somebody without gas')
      writeFileSync(path('person.key'), person.wallet.privateKey, { mode: 0o600 })
      const { rpcUrl, chainId, contracts } = stage().world.options
      writeFileSync(path('local.json'), JSON.stringify({ rpcUrl, chainId: Number(chainId), contracts }))
    })
    afterAll(() => rmSync(dir, { recursive: true, force: true }))

    it('are in a file, and not on the chain', async () => {
      const offer = { title: 'Letters', licence: 'CC0-1.0', description: 'Three letters.', bytes: new Uint8Array([1, 2, 3]) }
      const terms = openTerms(await stage().world.timestamp())
      const file = await person.granary.sign(async (granary) => {
        datasetId = (await granary.consent.register({ ...offer, terms })).datasetId
      })
      expect(file.acts.map(({ contract, method }) => `${contract}.${method}`)).toEqual([
        'DatasetRegistry.storeTerms',
        'DatasetRegistry.registerBySig',
      ])
      expect(Object.keys(file.contracts)).toEqual(['DatasetRegistry'])
      expect((await dataset(datasetId)).owner).toMatch(/^0x0{40}$/)
      writeFileSync(path('registration.json'), JSON.stringify(file))
    })

    it('reach the chain without any gateway, from whoever pays the gas', async () => {
      const noGateway = { GRANARY_DIR: path('nowhere') }
      const { code, output, errors } = await run(
        ['services/cli/main.ts', 'relay', path('registration.json'), ...rpc(), ...funded()],
        noGateway,
      )
      expect({ code, errors }).toEqual({ code: 0, errors: '' })
      expect(output).toMatch(/^storeTerms from 0x[0-9a-f]{40}: 0x[0-9a-f]{64}\nregisterBySig from 0x/)
      expect((await dataset(datasetId)).owner.toLowerCase()).toBe(person.address)
      expect(await stage().world.provider.getBalance(person.address)).toBe(0n)
    })

    it('are made by the command line too, and go through any gateway', async () => {
      const signed = await cli('consent', 'withdraw', datasetId, '--export', path('withdrawal.json'), ...gateway(), ...own())
      expect(signed).toMatchObject({ code: 0, errors: '' })
      expect((await dataset(datasetId)).withdrawn).toBe(false)
      const relayed = await cli('relay', path('withdrawal.json'), ...gateway())
      expect(relayed).toMatchObject({ code: 0, errors: '' })
      expect((await dataset(datasetId)).withdrawn).toBe(true)
    })

    it('can be nothing that would move the sender’s own money', async () => {
      const file = readFile('withdrawal.json')
      const contracts = { ...file.contracts, Token: stage().world.options.contracts.Token ?? '' }
      const theft = { contract: 'Token', method: 'transfer', args: [person.address, '1'] }
      writeFileSync(path('theft.json'), JSON.stringify({ ...file, contracts, acts: [theft] }))
      const { code, errors } = await cli('relay', path('theft.json'), ...rpc(), ...funded())
      expect(code).toBe(1)
      expect(errors).toContain('no act that others may send')
    })

    it('are refused for another cooperative, before they cost gas', async () => {
      const file = readFile('withdrawal.json')
      writeFileSync(path('wrong.json'), JSON.stringify({ ...file, contracts: { DatasetRegistry: `0x${'a1'.repeat(20)}` } }))
      for (const way of [gateway(), funded()]) {
        const { code, errors } = await cli('relay', path('wrong.json'), ...way)
        expect(code).toBe(1)
        expect(errors).toMatch(/^request\.malformed: The acts were signed for another cooperative\./)
      }
    })

    it('are only acts: what the gateway itself must do can’t be kept for later', async () => {
      const { code, errors } = await cli(
        ...['account', 'key', '--cap', '1', '--export', path('key.json'), ...gateway(), ...own()],
      )
      expect(code).toBe(1)
      expect(errors).toContain("the gateway's own act")
    })
  })
}
