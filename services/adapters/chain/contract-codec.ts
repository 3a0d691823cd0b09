import {
  keccak256 as ethersKeccak256,
  type FunctionFragment,
  Interface,
  type InterfaceAbi,
  type LogDescription,
  type ParamType,
} from 'ethers'
import type { Call, ChainEvent } from '../../core/chain-records.ts'
import { GranaryError } from '../../core/errors.ts'
import { abi } from '../../core/generated/abi.ts'
import { keccak256 } from '../../core/keccak.ts'

// ethers hashes a function's or an event's name whenever it is asked for it, and hundreds of blocks for a batch's transaction.
ethersKeccak256.register(keccak256)

/** A log as JSON-RPC gives it. */
export interface RpcLog {
  address: string
  topics: string[]
  data: string
  blockNumber: string
  blockHash: string
  transactionHash: string
  logIndex: string
}

/** Between our contracts' ABIs and plain values: what is sent, what comes back, what happened and why a call was refused. */
export interface ContractCodec {
  addressOf(contract: string): string
  encode(call: Call): string
  decode(call: Call, data: string): unknown
  /** What a transaction's input says, with arguments as `decode` gives values; null if it is not for one of our contracts. */
  callOf(to: string | null, input: string): Call | null
  /** The topics of an event's logs, by its indexed arguments. */
  topicsOf(event: { contract: string; name: string; args: Readonly<Record<string, string>> }): (string | string[] | null)[]
  /** Null for a log that is not of our contracts' ABIs. */
  event(log: RpcLog): ChainEvent | null
  /** What logs of these events begin with. */
  firstTopicsOf(names: readonly string[]): string[]
  /** The typed error behind revert data; `data` is null where the node kept it to itself. */
  refusal(call: Call, answer: { data: string | null; cause?: unknown }): GranaryError
}

/** Our ABIs by contract name, our contracts' names by address. */
interface Known {
  addresses: Readonly<Record<string, string>>
  interfaces: ReadonlyMap<string, Interface>
  names: ReadonlyMap<string, string>
  /** Functions that share their name with no other of their contract, as they were looked up. */
  functions: Map<string, FunctionFragment>
}

export function openContractCodec(addresses: Readonly<Record<string, string>>): ContractCodec {
  const entries = Object.entries(abi as Record<string, InterfaceAbi>)
  const interfaces = new Map(entries.map(([name, value]) => [name, new Interface(value)]))
  const token = interfaces.get('Token') ?? interfaces.get('TestDollar')
  if (token) interfaces.set('Token', token)
  const names = new Map(Object.entries(addresses).map(([name, address]) => [address, name]))
  const known: Known = { addresses, interfaces, names, functions: new Map() }
  return {
    addressOf(contract) {
      const address = addresses[contract]
      if (!address) throw new GranaryError('config.invalid', `The deployment has no ${contract}.`, { contract })
      return address
    },
    encode: (call) => encode(known, call),
    decode: (call, data) => decode(known, { call, data }),
    callOf: (to, input) => callOf(known, { contract: names.get(to?.toLowerCase() ?? ''), input }),
    topicsOf: (event) => topicsOf(known, event),
    event: (log) => eventOf(known, log),
    firstTopicsOf: (names) => firstTopicsOf(known, names),
    refusal: (call, answer) => refusalOf(known, { call, ...answer }),
  }
}

function interfaceOf({ interfaces }: Known, contract: string): Interface {
  const found = interfaces.get(contract)
  if (!found) throw new GranaryError('internal', `There is no ABI of ${contract}.`, { contract })
  return found
}

function functionOf(known: Known, { contract, method, args }: Call): FunctionFragment {
  const name = `${contract}.${method}`
  const before = known.functions.get(name)
  if (before) return before
  const found = interfaceOf(known, contract).getFunction(method, [...args])
  if (!found) throw new GranaryError('internal', `${contract} has no ${method}.`, { contract })
  let alike = 0
  interfaceOf(known, contract).forEachFunction((one) => {
    if (one.name === found.name) alike += 1
  })
  if (alike === 1 && method === found.name) known.functions.set(name, found)
  return found
}

function encode(known: Known, call: Call): string {
  const found = functionOf(known, call)
  const args = call.args.map((value, index) => withBytes(found.inputs[index], value))
  return interfaceOf(known, call.contract).encodeFunctionData(found, args)
}

/** Bytes as bytes, where they come as hex: ethers takes tens of kilobytes of that apart digit by digit. */
function withBytes(type: ParamType | undefined, value: unknown): unknown {
  if (type?.type === 'bytes' && typeof value === 'string' && /^0x([0-9a-f]{2})*$/i.test(value)) return bytesOf(value)
  if (!type?.isTuple() || typeof value !== 'object' || value === null || Array.isArray(value)) return value
  const fields = new Map(type.components.map((component) => [component.name, component]))
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, withBytes(fields.get(name), field)]))
}

function bytesOf(hex: string): Uint8Array {
  return Buffer.from(hex.slice(2), 'hex')
}

function decode(known: Known, { call, data }: { call: Call; data: string }): unknown {
  const { contract } = call
  const found = functionOf(known, call)
  if (data === '0x' && found.outputs.length > 0) {
    const evidence = { contract, error: 'NoContract', args: {} }
    throw new GranaryError('chain.reverted', `There is no ${contract} at its address in that block.`, evidence)
  }
  const values = interfaceOf(known, contract).decodeFunctionResult(found, data)
  const [only] = found.outputs
  return found.outputs.length === 1 && only ? plain(only, values[0]) : named(found.outputs, values, plain)
}

function callOf(known: Known, { contract, input }: { contract: string | undefined; input: string }): Call | null {
  if (contract === undefined) return null
  const found = known.interfaces.get(contract)
  const fragment = found?.getFunction(input.slice(0, 10)) ?? null
  if (!found || fragment === null) return null
  const values = found.decodeFunctionData(fragment, bytesOf(input))
  const args = fragment.inputs.map((type, index) => plain(type, values[index]))
  return { contract, method: fragment.name, args }
}

function topicsOf(
  known: Known,
  { contract, name, args }: Parameters<ContractCodec['topicsOf']>[0],
): (string | string[] | null)[] {
  const found = interfaceOf(known, contract).getEvent(name)
  if (!found) throw new GranaryError('internal', `${contract} has no event ${name}.`, { contract })
  const indexed = found.inputs.map((input) => (input.indexed ? (args[input.name] ?? null) : null))
  return interfaceOf(known, contract).encodeFilterTopics(found, indexed)
}

function eventOf({ names, interfaces }: Known, log: RpcLog): ChainEvent | null {
  const contract = names.get(log.address.toLowerCase())
  const parsed = contract === undefined ? null : parseLog(interfaces.get(contract), log)
  if (contract === undefined || parsed === null) return null
  return {
    block: Number(log.blockNumber),
    blockHash: log.blockHash,
    transaction: log.transactionHash,
    logIndex: Number(log.logIndex),
    contract,
    name: parsed.name,
    args: namedObject(parsed.fragment.inputs, parsed.args, jsonSafe),
  }
}

function firstTopicsOf({ interfaces }: Known, names: readonly string[]): string[] {
  const topics = new Set<string>()
  // Not taken apart: asking for `topicHash` hashes.
  for (const one of interfaces.values()) one.forEachEvent((event) => names.includes(event.name) && topics.add(event.topicHash))
  return [...topics]
}

/** The called contract's own errors first: a selector may mean something else elsewhere. */
function refusalOf(known: Known, refused: { call: Call; data: string | null; cause?: unknown }): GranaryError {
  const { contract, method } = refused.call
  const { error, args } = explain([interfaceOf(known, contract), ...known.interfaces.values()], refused.data)
  const shown = Object.entries(args).map(([name, value]) => `${name}: ${JSON.stringify(value)}`)
  const message = `${contract}.${method} is refused: ${error}(${shown.join(', ')})`
  return new GranaryError('chain.reverted', message, { cause: refused.cause, contract, error, args })
}

function parseLog(contract: Interface | undefined, log: RpcLog): LogDescription | null {
  try {
    return contract?.parseLog({ topics: log.topics, data: log.data }) ?? null
  } catch {
    // An event of the same name with other indexed fields: not of this ABI.
    return null
  }
}

function explain(interfaces: readonly Interface[], data: string | null): { error: string; args: Record<string, unknown> } {
  if (data === null || data === '0x') return { error: 'Reverted', args: {} }
  for (const candidate of interfaces) {
    const parsed = candidate.parseError(data)
    if (parsed) return { error: parsed.name, args: namedObject(parsed.fragment.inputs, parsed.args, jsonSafe) }
  }
  return { error: 'Unknown', args: { data } }
}

type Convert = (type: ParamType, value: unknown) => unknown

/** Structs become objects, addresses lower case; integers stay bigints. */
function plain(type: ParamType, value: unknown): unknown {
  return convert(type, value, plain)
}

/** As `plain`, with integers as decimal strings. */
function jsonSafe(type: ParamType, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : convert(type, value, jsonSafe)
}

function convert(type: ParamType, value: unknown, each: Convert): unknown {
  if (type.isArray() && Array.isArray(value)) return Array.from(value, (item) => each(type.arrayChildren, item))
  if (type.isTuple() && Array.isArray(value)) return named(type.components, value, each)
  return type.baseType === 'address' && typeof value === 'string' ? value.toLowerCase() : value
}

/** By name when every field has one, else by position. */
function named(types: readonly ParamType[], values: ArrayLike<unknown>, each: Convert): unknown {
  if (types.every(({ name }) => name !== '')) return namedObject(types, values, each)
  return types.map((type, index) => each(type, values[index]))
}

function namedObject(types: readonly ParamType[], values: ArrayLike<unknown>, each: Convert): Record<string, unknown> {
  return Object.fromEntries(types.map((type, index) => [type.name || String(index), each(type, values[index])]))
}
