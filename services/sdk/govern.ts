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
import { type Context, DEADLINE_SECONDS, type Relayed } from './context.ts'

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

  /**
   * One call of a governed contract as a proposal, signed here. The description gets a suffix that names the proposer, so that
   * nobody who sees it on its way can make it theirs.
   */
  async propose(call: { contract: string; method: string; args: readonly unknown[] }, about: string): Promise<Proposal> {
    const known = (abi as unknown as Record<string, InterfaceAbi>)[call.contract]
    if (!known) throw new TypeError(`no contract ${call.contract}`)
    const { address, now, relay, sign } = this.#context
    const proposer = await address()
    const targets = [this.#context.verifier(call.contract).address]
    const calldatas = [new Interface(known).encodeFunctionData(call.method, call.args)]
    const values = [0n]
    const description = `${about} #proposer=${proposer}`
    const proposed = { targets, values, calldatas, description }
    const proposalId = proposalIdOf(proposed)
    const deadline = (await now()) + DEADLINE_SECONDS
    const signature = await sign('CooperativeGovernor', 'Propose', { proposalId, proposer, deadline })
    const args = [targets, values, calldatas, description, proposer, deadline, signature]
    const { transaction } = await relay('CooperativeGovernor', 'proposeBySig', args)
    return { ...proposed, proposalId, transaction }
  }

  /** As its proposer, before voting begins. */
  async cancel(proposal: Proposed): Promise<Relayed> {
    const proposalId = proposalIdOf(proposal)
    const signature = await this.#context.sign('CooperativeGovernor', 'CancelProposal', { proposalId })
    return this.#context.relay('CooperativeGovernor', 'cancelBySig', [...argumentsOf(proposal), signature])
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

  async queue(proposal: Proposed): Promise<Relayed> {
    return this.#context.relay('CooperativeGovernor', 'queue', argumentsOf(proposal))
  }

  async execute(proposal: Proposed): Promise<Relayed> {
    return this.#context.relay('CooperativeGovernor', 'execute', argumentsOf(proposal))
  }
}

function argumentsOf({ targets, values, calldatas, description }: Proposed): unknown[] {
  return [targets, values, calldatas, id(description)]
}
