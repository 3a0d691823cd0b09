import { AbiCoder, id, keccak256 } from 'ethers'

/** Chapter 7: proposals of the members. CooperativeGovernor.sol, an OpenZeppelin Governor, is the authority. */

/** IGovernor.ProposalState, in order. */
export const proposalStates = ['pending', 'active', 'canceled', 'defeated', 'succeeded', 'queued', 'expired', 'executed'] as const
export type ProposalState = (typeof proposalStates)[number]

/** IGovernor's support of a vote, in order. */
export const supports = ['against', 'for', 'abstain'] as const
export type Support = (typeof supports)[number]

export function isSupport(text: string): text is Support {
  return (supports as readonly string[]).includes(text)
}

export interface Proposal {
  targets: string[]
  values: bigint[]
  calldatas: string[]
  description: string
}

/** As IGovernor.hashProposal: keccak256(abi.encode(targets, values, calldatas, keccak256(description))). */
export function proposalIdOf({ targets, values, calldatas, description }: Proposal): bigint {
  const types = ['address[]', 'uint256[]', 'bytes[]', 'bytes32']
  return BigInt(keccak256(AbiCoder.defaultAbiCoder().encode(types, [targets, values, calldatas, id(description)])))
}
