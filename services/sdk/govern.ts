import { Interface, type InterfaceAbi, id } from 'ethers'
import { abi } from '../core/generated/abi.ts'
import {
  type ProposalState,
  type Proposal as Proposed,
  proposalIdOf,
  proposalStates,
  type Support,
  supports,
} from '../core/governance.ts'
import type { Context, Relayed } from './context.ts'

export interface Proposal extends Proposed {
  proposalId: bigint
  transaction: string
}

/** Chapter 7: proposals, votes by signature, execution after the timelock. */
export class Govern {
  readonly #context: Context

  constructor(context: Context) {
    this.#context = context
  }

  /** One call of a governed contract as a proposal; the proposer pays gas. */
  async propose(call: { contract: string; method: string; args: readonly unknown[] }, description: string): Promise<Proposal> {
    const known = (abi as unknown as Record<string, InterfaceAbi>)[call.contract]
    if (!known) throw new TypeError(`no contract ${call.contract}`)
    const contracts = this.#context.contracts()
    const targets = [this.#context.verifier(call.contract).address]
    const calldatas = [new Interface(known).encodeFunctionData(call.method, call.args)]
    const values = [0n]
    const proposed = { targets, values, calldatas, description }
    const { transaction } = await contracts.send('CooperativeGovernor', 'propose', [targets, values, calldatas, description])
    return { ...proposed, proposalId: proposalIdOf(proposed), transaction }
  }

  async state(proposalId: bigint): Promise<ProposalState> {
    const state = await this.#context.contracts().read<bigint>('CooperativeGovernor', 'state', [proposalId])
    return proposalStates[Number(state)] ?? 'canceled'
  }

  /** Signed here, relayed for free. */
  async vote(proposalId: bigint, vote: Support): Promise<Relayed> {
    const support = supports.indexOf(vote)
    const voter = await this.#context.address()
    const nonce = await this.#context.contracts().read<bigint>('CooperativeGovernor', 'nonces', [voter])
    const signature = await this.#context.sign('CooperativeGovernor', 'Ballot', { proposalId, support, voter, nonce })
    return this.#context.relay('CooperativeGovernor', 'castVoteBySig', [proposalId, support, voter, signature])
  }

  async queue(proposal: Proposal): Promise<Relayed> {
    return this.#context.relay('CooperativeGovernor', 'queue', argumentsOf(proposal))
  }

  async execute(proposal: Proposal): Promise<Relayed> {
    return this.#context.relay('CooperativeGovernor', 'execute', argumentsOf(proposal))
  }
}

function argumentsOf({ targets, values, calldatas, description }: Proposal): unknown[] {
  return [targets, values, calldatas, id(description)]
}
