import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Wallet } from 'ethers'
import { describe, expect, it } from 'vitest'
import { openEthersChain } from '../../services/adapters/chain/ethers-chain.ts'
import { type ChainWorld, chainConformance, refusalOf, registerProvider } from './conformance/chain.ts'
import { devChainMissing, openDevChain } from './support/dev-chain.ts'

const missing = devChainMissing()

describe.skipIf(missing !== null)(`with a development chain${missing ? ` (skipped: ${missing})` : ''}`, () => {
  chainConformance('ethers on anvil', openWorld)

  it('refuses a chain that is not the one of the deployment', async () => {
    await using node = await openDevChain()
    const deployment = { ...node.deployment, chainId: 1n }
    const refusal = await refusalOf(openEthersChain({ rpcUrl: node.rpcUrl, deployment }))
    expect(refusal.code).toBe('config.invalid')
    expect(refusal.evidence).toMatchObject({ actual: '31337', expected: '1' })
  })

  it('waits for confirmations, and ends by its time limit without claiming failure', async () => {
    await using node = await openDevChain()
    await using chain = await openEthersChain({ rpcUrl: node.rpcUrl, deployment: node.deployment, key: node.wallets[1] })
    const refusal = await refusalOf(chain.submit(registerProvider('one'), { confirmations: 2, timeoutMs: 400 }))
    expect(refusal.code).toBe('chain.unavailable')
    expect((await chain.outcome(String(refusal.evidence.hash)))?.succeeded).toBe(true)

    const deep = chain.submit(registerProvider('two'), { confirmations: 2, timeoutMs: 20_000 })
    const registered = async () =>
      (await chain.events(0, (await chain.head()).number)).filter(({ name }) => name === 'ProviderRegistered')
    await expect.poll(async () => (await registered()).length).toBe(2)
    await node.rpc('anvil_mine', '0x1')
    expect((await deep).succeeded).toBe(true)
  })

  it('is unavailable once the node is gone, and at once where nobody listens', async () => {
    await using node = await openDevChain()
    await using chain = await openEthersChain({ rpcUrl: node.rpcUrl, deployment: node.deployment, key: node.wallets[1] })
    await node.kill()
    const attempts = [
      () => chain.head(),
      () => chain.events(0, 10),
      () => chain.submit(registerProvider('x')),
      () => chain.outcome(`0x${'00'.repeat(32)}`),
    ]
    for (const attempt of attempts) expect((await refusalOf(attempt())).code).toBe('chain.unavailable')
  })
})

describe('ethers chain without a node', () => {
  const deployment = { chainId: 31337n, token: Wallet.createRandom().address, contracts: {}, deployBlock: 0 }

  it('is unavailable in its own time when the node accepts and never answers', async () => {
    const silent = createServer(() => undefined)
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
    const rpcUrl = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`
    const refusal = await refusalOf(openEthersChain({ rpcUrl, deployment, timeoutMs: 200 }))
    expect(refusal.code).toBe('chain.unavailable')
    silent.closeAllConnections()
    silent.close()
  })
})

async function openWorld(): Promise<ChainWorld> {
  const node = await openDevChain()
  const open = (key?: Wallet) =>
    openEthersChain({ rpcUrl: node.rpcUrl, deployment: node.deployment, ...(key ? { key } : {}), timeoutMs: 5000 })
  const [first, second, reader, unfunded] = await Promise.all([
    open(node.wallets[1]),
    open(node.wallets[2]),
    open(),
    open(new Wallet(Wallet.createRandom().privateKey)),
  ])
  return {
    first,
    second,
    reader,
    unfunded,
    async mine() {
      await node.rpc('anvil_mine', '0x1')
    },
    async loseBlocksAfter(number) {
      const { number: head } = await reader.head()
      await node.rpc('anvil_rollback', head - number)
    },
    async [Symbol.asyncDispose]() {
      for (const chain of [first, second, reader, unfunded]) await chain[Symbol.asyncDispose]()
      await node[Symbol.asyncDispose]()
    },
  }
}
