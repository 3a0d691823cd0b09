import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { json } from 'node:stream/consumers'
import { Contract, HDNodeWallet, id, JsonRpcProvider, ZeroAddress, ZeroHash } from 'ethers'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { connectJsonRpc, type RpcCall } from '../../scripts/deploy/json-rpc.ts'
import { type Deployment, type DeployOptions, deployCooperative } from '../../scripts/deploy.ts'

const root = path.resolve(import.meta.dirname, '../..')
// The well-known development phrase of anvil, whose accounts hold coins.
const account = (index: number) =>
  HDNodeWallet.fromPhrase('test test test test test test test test test test test junk', undefined, `m/44'/60'/0'/0/${index}`)
const deployer = account(0)

let chain: ChildProcess
let rpcUrl: string
let folder: string
let deployment: Deployment
const closing: (() => void)[] = []

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'granary-deploy-'))
  const port = await freePort()
  rpcUrl = `http://127.0.0.1:${port}`
  chain = await startChain(port)
  deployment = await deployCooperative(optionsFor('first'))
})

afterAll(() => {
  for (const close of closing) close()
  chain?.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
})

describe('deploying the cooperative', () => {
  it('puts every contract on the chain', async () => {
    const expected =
      'CooperativeTimelock CooperativeParameters DatasetRegistry Membership CooperativeGovernor ModelRegistry InferenceEscrow RoyaltyLedger ProviderRegistry'
    expect(Object.keys(deployment.contracts).sort()).toEqual(expected.split(' ').sort())
    for (const address of [deployment.token, ...Object.values(deployment.contracts)]) {
      expect(await codeOf(address), address).not.toBe('0x')
    }
  })

  it('leaves the members in charge and the deployer without any role', async () => {
    const timelock = read('CooperativeTimelock', 'function hasRole(bytes32,address) view returns (bool)')
    const holds = (role: string, who: string) => timelock.getFunction('hasRole')(role, who)
    for (const role of [ZeroHash, id('PROPOSER_ROLE'), id('CANCELLER_ROLE'), id('EXECUTOR_ROLE')]) {
      expect(await holds(role, deployer.address)).toBe(false)
    }
    const governor = deployment.contracts.CooperativeGovernor ?? ''
    expect(await holds(id('PROPOSER_ROLE'), governor)).toBe(true)
    expect(await holds(id('CANCELLER_ROLE'), governor)).toBe(true)
    expect(await holds(id('EXECUTOR_ROLE'), ZeroAddress)).toBe(true)
  })

  it('wires contracts, treasury, registrar and purposes as agreed', async () => {
    const parameters = read(
      'CooperativeParameters',
      'function treasury() view returns (address)',
      'function registrar() view returns (address)',
      'function purposeName(uint8) view returns (string)',
    )
    expect(await parameters.getFunction('treasury')()).toBe(deployment.contracts.CooperativeTimelock)
    expect(await parameters.getFunction('registrar')()).toBe(account(9).address)
    expect(await parameters.getFunction('purposeName')(1)).toBe('commercial-service')
    expect(await parameters.getFunction('purposeName')(7)).toBe('surveillance')
    const escrow = read('InferenceEscrow', 'function ROYALTIES() view returns (address)')
    expect(await escrow.getFunction('ROYALTIES')()).toBe(deployment.contracts.RoyaltyLedger)
    const membership = read('Membership', 'function getVotes(address) view returns (uint256)')
    expect(await membership.getFunction('getVotes')(account(1).address)).toBe(1n)
  })

  it('leaves what it returns in deployment.json, for services to read', () => {
    expect(JSON.parse(readFileSync(path.join(folder, 'first', 'deployment.json'), 'utf8'))).toEqual(deployment)
  })

  it('does nothing when it is run again', async () => {
    const before = await nonceOf(deployer.address)
    expect(await deployCooperative(optionsFor('first'))).toEqual(deployment)
    expect(await nonceOf(deployer.address)).toBe(before)
  })

  it.each(['request', 'answer'] as const)('goes on where a run was interrupted that lost its %s', async (lost) => {
    const first = await nonceOf(deployer.address)
    const rpcUrl = await haltingProxy({ passes: 4, lost })
    await expect(deployCooperative({ ...optionsFor(lost), rpcUrl })).rejects.toMatchObject({ code: 'chain.unavailable' })
    expect(await nonceOf(deployer.address)).toBeLessThan(first + TRANSACTIONS)

    const resumed = await deployCooperative(optionsFor(lost))
    expect(await codeOf(resumed.contracts.InferenceEscrow ?? '')).not.toBe('0x')
    expect((await nonceOf(deployer.address)) - first).toBe(TRANSACTIONS)
  })
})

describe('preflight refuses', () => {
  it('a token without code, and one without six decimals or EIP-3009', async () => {
    await refuses({ token: account(5).address }, /no code/)
    await refuses({ token: deployment.contracts.Membership ?? '' }, /does not answer decimals/)
  })

  it('parameters for another chain, out of bounds or missing', async () => {
    await refuses({ parametersFile: path.join(root, 'ignition/parameters/8453.json') }, /for chain 8453/)
    await refuses({ parametersFile: changed({ protocolFeePpm: 50_001 }) }, /protocolFeePpm is 50001/)
    await refuses({ parametersFile: changed({ votingPeriodSeconds: '12' }) }, /votingPeriodSeconds is 12/)
    await refuses({ parametersFile: changed({ lateQuorumSeconds: 13 }) }, /lateQuorumSeconds/)
    await refuses({ parametersFile: path.join(folder, 'absent.json') }, /does not exist/)
  })

  it('a URL that is none, and a chain that does not answer', async () => {
    await refuses({ rpcUrl: 'here' }, /not the URL/)
    const unanswered = deployCooperative({ ...optionsFor('refused'), rpcUrl: `http://127.0.0.1:${await freePort()}` })
    await expect(unanswered).rejects.toMatchObject({ code: 'chain.unavailable' })
  })

  it('founders who could not admit anyone, or would vote twice', async () => {
    await refuses({ genesis: [account(1).address, account(2).address] }, /at least 3/)
    await refuses({ genesis: [1, 2, 1].map((index) => account(index).address) }, /listed twice/)
    await refuses({ registrar: ZeroAddress }, /registrar/)
    await refuses({ guardian: '0x12' }, /guardian/)
  })

  it('a deployer without coins, and a journal of a chain that is gone', async () => {
    await refuses({ deployerKey: HDNodeWallet.createRandom().privateKey }, /no coins/)
    const deploymentDir = mkdtempSync(path.join(folder, 'stale-'))
    writeFileSync(
      path.join(deploymentDir, 'deployed_addresses.json'),
      JSON.stringify({ 'Cooperative#Membership': account(6).address }),
    )
    await refuses({ deploymentDir }, /Delete that folder/)
  })
})

/** Nine contracts, two grants, one renouncement; RoyaltyLedger comes with the escrow. */
const TRANSACTIONS = 12

function optionsFor(name: string): DeployOptions {
  return {
    rpcUrl,
    deployerKey: deployer.privateKey,
    genesis: [1, 2, 3].map((index) => account(index).address),
    registrar: account(9).address,
    deploymentDir: path.join(folder, name),
  }
}

async function refuses(change: Partial<DeployOptions>, message: RegExp) {
  const before = await nonceOf(deployer.address)
  await expect(deployCooperative({ ...optionsFor('refused'), ...change })).rejects.toMatchObject({
    code: 'config.invalid',
    message: expect.stringMatching(message),
  })
  expect(await nonceOf(deployer.address)).toBe(before)
}

function changed(change: Record<string, unknown>): string {
  const parameters = JSON.parse(readFileSync(path.join(root, 'ignition/parameters/31337.json'), 'utf8')) as {
    Cooperative: object
  }
  const file = path.join(folder, `${Object.keys(change)[0]}.json`)
  writeFileSync(file, JSON.stringify({ Cooperative: { ...parameters.Cooperative, ...change } }))
  return file
}

function read(name: string, ...abi: string[]): Contract {
  const provider = new JsonRpcProvider(rpcUrl, 31_337, { staticNetwork: true })
  return new Contract(deployment.contracts[name] ?? '', abi, provider)
}

async function codeOf(address: string) {
  return connectJsonRpc(rpcUrl)({ method: 'eth_getCode', params: [address, 'latest'] })
}

async function nonceOf(address: string): Promise<number> {
  return Number(await connectJsonRpc(rpcUrl)({ method: 'eth_getTransactionCount', params: [address, 'latest'] }))
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

async function startChain(port: number): Promise<ChildProcess> {
  const anvil = spawn(path.join(root, 'node_modules/.bin/anvil'), ['--port', String(port), '--chain-id', '31337'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  for await (const line of createInterface({ input: anvil.stdout })) {
    if (line.startsWith('Listening on')) break
  }
  return anvil
}

/** The chain, until `passes` transactions went through: the next is lost on its way, or its answer is, and so are all others. */
async function haltingProxy({ passes, lost }: { passes: number; lost: 'request' | 'answer' }): Promise<string> {
  const request = connectJsonRpc(rpcUrl)
  let sent = 0
  const answerTo = async (call: RpcCall) => {
    if (call.method !== 'eth_sendRawTransaction' || sent++ < passes) return request(call)
    if (lost === 'answer' && sent === passes + 1) await request(call)
    throw new Error('halted')
  }
  const server = createHttpServer(async (incoming, outgoing) => {
    const call = (await json(incoming)) as RpcCall & { id: number }
    const answer = await answerTo(call).then(
      (result) => ({ result }),
      (error: Error & { code?: number }) => ({ error: { code: error.code ?? -32_000, message: error.message } }),
    )
    outgoing.end(JSON.stringify({ jsonrpc: '2.0', id: call.id, ...answer }))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => server.close())
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return `http://127.0.0.1:${address.port}`
}
