import { type FunctionFragment, Interface, type InterfaceAbi, type LogDescription, type ParamType } from 'ethers'
import { GranaryError } from '../../core/errors.ts'
import { abi } from '../../core/generated/abi.ts'
import type { Call, ChainEvent } from '../../core/ports.ts'

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
  /** Null for a log that is not of our contracts' ABIs. */
  event(log: RpcLog): ChainEvent | null
  /** The typed error behind revert data; `data` is null where the node kept it to itself. */
  refusal(call: Call, data: string | null, cause: unknown): GranaryError
}

export function openContractCodec(addresses: Readonly<Record<string, string>>): ContractCodec {
  const interfaces = new Map(
    Object.entries(abi as Record<string, InterfaceAbi>).map(([name, value]) => [name, new Interface(value)]),
  )
  const token = interfaces.get('Token') ?? interfaces.get('TestDollar')
  if (token) interfaces.set('Token', token)
  const names = new Map(Object.entries(addresses).map(([name, address]) => [address, name]))

  const interfaceOf = (contract: string): Interface => {
    const found = interfaces.get(contract)
    if (!found) throw new GranaryError('internal', `There is no ABI of ${contract}.`, { contract })
    return found
  }
  const functionOf = (call: Call): FunctionFragment => {
    const found = interfaceOf(call.contract).getFunction(call.method, [...call.args])
    if (!found) throw new GranaryError('internal', `${call.contract} has no ${call.method}.`, { contract: call.contract })
    return found
  }

  return {
    addressOf(contract) {
      const address = addresses[contract]
      if (!address) throw new GranaryError('config.invalid', `The deployment has no ${contract}.`, { contract })
      return address
    },
    encode: (call) => interfaceOf(call.contract).encodeFunctionData(functionOf(call), [...call.args]),
    decode(call, data) {
      const found = functionOf(call)
      if (data === '0x' && found.outputs.length > 0) {
        throw new GranaryError('chain.reverted', `There is no ${call.contract} at its address in that block.`, {
          contract: call.contract,
          error: 'NoContract',
          args: {},
        })
      }
      const values = interfaceOf(call.contract).decodeFunctionResult(found, data)
      const [only] = found.outputs
      if (found.outputs.length === 1 && only) return plain(only, values[0])
      return named(found.outputs, values, plain)
    },
    callOf(to, input) {
      const contract = names.get(to?.toLowerCase() ?? '')
      const parsed = contract === undefined ? null : interfaceOf(contract).parseTransaction({ data: input })
      if (contract === undefined || parsed === null) return null
      const args = parsed.fragment.inputs.map((type, index) => plain(type, parsed.args[index]))
      return { contract, method: parsed.name, args }
    },
    event(log) {
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
    },
    refusal(call, data, cause) {
      const { error, args } = explain([interfaceOf(call.contract), ...interfaces.values()], data)
      const shown = Object.entries(args).map(([name, value]) => `${name}: ${JSON.stringify(value)}`)
      return new GranaryError('chain.reverted', `${call.contract}.${call.method} is refused: ${error}(${shown.join(', ')})`, {
        cause,
        contract: call.contract,
        error,
        args,
      })
    },
  }
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
