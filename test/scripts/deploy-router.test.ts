import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Contract, JsonRpcProvider, ZeroAddress } from 'ethers'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { deployRouter, type RouterOptions } from '../../scripts/deploy-router.ts'
import { type DevChain, devChainMissing, openDevChain } from '../adapters/support/dev-chain.ts'

const missing = devChainMissing()

describe.skipIf(missing !== null)("deploying a collector's x402 router", () => {
  let node: DevChain
  let folder: string
  beforeAll(async () => {
    node = await openDevChain()
    folder = mkdtempSync(path.join(tmpdir(), 'granary-router-'))
  })
  afterAll(async () => {
    await node?.[Symbol.asyncDispose]()
    rmSync(folder, { recursive: true, force: true })
  })

  const address = (wallet: number) => node.wallets[wallet]?.address ?? ''
  const optionsFor = (name: string): RouterOptions => ({
    rpcUrl: node.rpcUrl,
    deployerKey: node.wallets[0]?.privateKey ?? '',
    deploymentDir: path.join(folder, name),
    chainId: 31_337,
    escrow: node.deployment.contracts.InferenceEscrow ?? '',
    collector: address(1),
    key: address(2),
  })
  const nonceOf = async () => Number(await node.rpc('eth_getTransactionCount', address(0), 'latest'))

  it('puts it on the chain with its house account, once, and leaves its address in router.json', async () => {
    const router = await deployRouter(optionsFor('router'))
    const before = await nonceOf()
    expect(await deployRouter(optionsFor('router'))).toBe(router)
    expect(await nonceOf()).toBe(before)
    expect(JSON.parse(readFileSync(path.join(folder, 'router', 'router.json'), 'utf8'))).toMatchObject({ X402Router: router })

    const names = ['ESCROW', 'TOKEN', 'COLLECTOR', 'KEY']
    const provider = new JsonRpcProvider(node.rpcUrl, 31_337, { staticNetwork: true })
    const views = names.map((name) => `function ${name}() view returns (address)`)
    const contract = new Contract(router, views, provider)
    const found = await Promise.all(names.map(async (name) => String(await contract.getFunction(name)()).toLowerCase()))
    const { contracts, token } = node.deployment
    expect(found).toEqual([contracts.InferenceEscrow, token, address(1).toLowerCase(), address(2).toLowerCase()])
    provider.destroy()
  })

  it('gives the collector’s own key by default', async () => {
    const { key: _, ...options } = optionsFor('own-key')
    await deployRouter(options)
    expect(JSON.parse(readFileSync(path.join(folder, 'own-key', 'router.json'), 'utf8'))).toMatchObject({ key: address(1) })
  })

  it('refuses another chain, an escrow that is none, nobody as collector, and a URL of nothing', async () => {
    const wrongs: [Partial<RouterOptions>, RegExp][] = [
      [{ chainId: 8453 }, /on chain 8453/],
      [{ escrow: node.deployment.token }, /does not answer MAX_SETTLEMENT_SECONDS/],
      [{ escrow: address(3) }, /does not answer/],
      [{ collector: ZeroAddress }, /collector/],
      [{ key: '0x12' }, /key/],
      [{ deployerKey: '0x12' }, /deployer key/],
    ]
    const before = await nonceOf()
    for (const [wrong, message] of wrongs) {
      await expect(deployRouter({ ...optionsFor('refused'), ...wrong })).rejects.toMatchObject({
        code: 'config.invalid',
        message: expect.stringMatching(message),
      })
    }
    expect(await nonceOf()).toBe(before)
  })
})
