import { Interface, toBeHex } from 'ethers'
import hre from 'hardhat'
import { abi } from '../../../services/core/generated/abi.ts'
import { type Addresses, type Contract, deploy } from './deployment.ts'
import type { Person } from './people.ts'

export interface Transaction {
  from: string
  contract: Contract
  method: string
  args: readonly unknown[]
}

export interface Mark {
  snapshot: unknown
}

export interface Event {
  name: string
  args: Record<string, unknown>
}

/** The contracts as deployment makes them, on Hardhat's chain within this process; its clock goes where the next act says. */
export interface Chain {
  addresses: Addresses
  /** Of a block that was mined last. */
  start: number
  /** Its events, or the name of the error that it was refused with. */
  send(at: number, transaction: Transaction): Promise<{ events: Event[] } | { error: string }>
  /** Raw answers to raw calls, in the block mined last. */
  call(to: string, data: string): Promise<string>
  encode(contract: Contract, method: string, args: readonly unknown[]): string
  selector(contract: Contract, method: string): string
  /** A moment to which `rewind` takes back everything, any number of times. */
  mark(): Promise<Mark>
  rewind(mark: Mark): Promise<void>
  close(): Promise<void>
}

export const CHAIN_ID = 31_337n
export const TOKENS = 10_000_000_000n
export const OPENED_AT = 1_800_000_000
const GAS = toBeHex(16_000_000)
const UNLIMITED = (1n << 256n) - 1n

/** Of `people`, each has coins, tokens, and lets the escrow take them. */
export async function openChain(people: readonly Person[]): Promise<Chain> {
  const connection = await hre.network.create({
    network: 'dev',
    override: { initialDate: new Date((OPENED_AT - 600) * 1000).toISOString() },
  })
  const rpc = (method: string, ...params: unknown[]) => connection.provider.request({ method, params })
  const interfaces = new Map<string, Interface>()
  for (const [name, entries] of Object.entries(abi)) interfaces.set(name, new Interface(entries))
  const addresses = await deploy(connection)
  interfaces.set('Probe', new Interface(['function ask(bytes questions) view returns (bytes wrong)']))
  const errors = errorNames(interfaces)
  const encode = (contract: Contract, method: string, args: readonly unknown[]) =>
    (interfaces.get(contract) ?? new Interface([])).encodeFunctionData(method, args)

  const send: Chain['send'] = async (at, { from, contract, method, args }) => {
    await rpc('evm_setNextBlockTimestamp', toBeHex(at))
    const transaction = { from, to: addresses[contract], data: encode(contract, method, args), gas: GAS, gasPrice: '0x0' }
    try {
      const hash = await rpc('eth_sendTransaction', transaction)
      return { events: method === 'settleBatch' ? await eventsOf(rpc, hash, interfaces) : [] }
    } catch (error) {
      return { error: errorNameOf(error, errors) }
    }
  }
  await equip(rpc, [...people.map(({ address }) => address), addresses.timelock, addresses.governor])
  await endow(send, people, addresses.InferenceEscrow)
  await rpc('evm_setNextBlockTimestamp', toBeHex(OPENED_AT))
  await rpc('evm_mine')
  return {
    addresses,
    start: OPENED_AT,
    send,
    encode,
    selector: (contract, method) => interfaces.get(contract)?.getFunction(method)?.selector ?? '',
    call: async (to, data) => String(await rpc('eth_call', { to, data, gas: GAS }, 'latest')),
    mark: async () => ({ snapshot: await rpc('evm_snapshot') }),
    async rewind(mark) {
      await rpc('evm_revert', mark.snapshot)
      // A node forgets a snapshot that it went back to.
      mark.snapshot = await rpc('evm_snapshot')
    },
    close: () => connection.close(),
  }
}

type Rpc = (method: string, ...params: unknown[]) => Promise<unknown>

async function equip(rpc: Rpc, accounts: readonly string[]): Promise<void> {
  for (const account of accounts) {
    await rpc('hardhat_setBalance', account, toBeHex(10n ** 24n))
    await rpc('hardhat_impersonateAccount', account)
  }
  // Gas costs nothing, so that nobody runs out of it.
  await rpc('hardhat_setNextBlockBaseFeePerGas', '0x0')
}

async function endow(send: Chain['send'], people: readonly Person[], escrow: string): Promise<void> {
  let at = OPENED_AT - 500
  for (const { address: from } of people) {
    const acts = [
      ['mint', [from, TOKENS]],
      ['approve', [escrow, UNLIMITED]],
    ] as const
    for (const [method, args] of acts) {
      const sent = await send(at++, { from, contract: 'Token', method, args })
      if ('error' in sent) throw new Error(`${method}: ${sent.error}`)
    }
  }
}

async function eventsOf(rpc: Rpc, hash: unknown, interfaces: Map<string, Interface>): Promise<Event[]> {
  const receipt = (await rpc('eth_getTransactionReceipt', hash)) as { logs: { topics: string[]; data: string }[] }
  return receipt.logs.flatMap((log) => {
    const parsed = interfaces.get('InferenceEscrow')?.parseLog(log)
    return parsed ? [{ name: parsed.name, args: parsed.args.toObject() }] : []
  })
}

function errorNames(interfaces: Map<string, Interface>): Map<string, string> {
  const names = new Map<string, string>()
  for (const each of interfaces.values()) {
    each.forEachError(({ selector, name }) => {
      names.set(selector, name)
    })
  }
  return names
}

/** Of what the node says: the selector in the data that came back, or the whole message where there is none. */
function errorNameOf(error: unknown, names: Map<string, string>): string {
  const data = dataIn(error)
  const name = data === null ? undefined : names.get(data.slice(0, 10))
  if (name !== undefined) return name
  return `unnamed: ${error instanceof Error ? error.message : String(error)} ${data ?? ''}`
}

function dataIn(error: unknown): string | null {
  for (let at = error, depth = 0; typeof at === 'object' && at !== null && depth < 6; depth++) {
    const { data, cause } = at as { data?: unknown; cause?: unknown }
    if (typeof data === 'string' && data.startsWith('0x')) return data
    at = typeof data === 'object' && data !== null ? data : cause
  }
  return null
}
