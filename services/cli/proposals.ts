import { GranaryError, type Proposed } from '../sdk/index.ts'
import { argument, type Command, flag, type Invocation, open, readJson, writeJson } from './invocation.ts'

/** Chapter 7: proposing, and what anyone may do with a proposal that has won. Votes are beside the other verbs. */
export const proposalCommands: Record<string, Command> = {
  'govern propose': {
    usage: 'govern propose FILE --call Contract.method --args JSON --description D --key-file F',
    says: 'proposes one call of a governed contract, and keeps the proposal in FILE',
    async run(invocation) {
      const path = argument(invocation, 0, 'FILE')
      const [contract, method, ...more] = flag(invocation, 'call').split('.')
      if (!contract || !method || more.length > 0)
        throw new GranaryError('request.malformed', '--call is Contract.method, such as CooperativeParameters.setProtocolFee.')
      const call = { contract, method, args: readArguments(flag(invocation, 'args')) }
      const { proposalId, transaction, ...proposed } = await (await open(invocation)).govern.propose(
        call,
        flag(invocation, 'description'),
      )
      writeJson(path, proposed)
      const value = { proposalId: proposalId.toString(), transaction }
      return { lines: [`proposed ${proposalId}; ${path} is needed to queue and execute it`], value }
    },
  },
  'govern queue': {
    usage: 'govern queue FILE',
    says: 'after a won vote: starts the timelock; anyone may',
    async run(invocation) {
      const relayed = await (await open(invocation)).govern.queue(proposalOf(invocation))
      return { lines: [`queued in block ${relayed.block}`], value: relayed }
    },
  },
  'govern execute': {
    usage: 'govern execute FILE',
    says: 'after the timelock: does what was decided; anyone may',
    async run(invocation) {
      const relayed = await (await open(invocation)).govern.execute(proposalOf(invocation))
      return { lines: [`executed in block ${relayed.block}`], value: relayed }
    },
  },
  'govern cancel': {
    usage: 'govern cancel FILE --key-file F',
    says: 'as its proposer: takes a proposal back before voting begins',
    async run(invocation) {
      const relayed = await (await open(invocation)).govern.cancel(proposalOf(invocation))
      return { lines: [`cancelled in block ${relayed.block}`], value: relayed }
    },
  },
}

function readArguments(json: string): unknown[] {
  try {
    const parsed: unknown = JSON.parse(json)
    if (Array.isArray(parsed)) return parsed
  } catch {
    // Said below.
  }
  throw new GranaryError('request.malformed', "--args is a JSON list, such as '[20000]'; integers beyond 2^53 as strings.")
}

function proposalOf(invocation: Invocation): Proposed {
  const path = argument(invocation, 0, 'FILE')
  const { targets, values, calldatas, description } = readJson(path)
  const isWhole = [targets, values, calldatas].every(Array.isArray) && typeof description === 'string'
  if (!isWhole) throw new GranaryError('request.malformed', `${path} is no proposal: make one with granary govern propose.`)
  const amounts = (values as unknown[]).map((value) => BigInt(String(value)))
  return { targets: targets as string[], values: amounts, calldatas: calldatas as string[], description }
}
