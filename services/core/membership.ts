import { keccak256, solidityPacked } from 'ethers'

/** Chapter 1: who is a member, and what it takes to become one. Membership.sol is the authority. */

/** Members past their probation who must vouch for an applicant. */
export const VOUCHES = 3

/** How long the signatures of one application may take to come together. */
export const APPLICATION_SECONDS = 3600

/** What the applicant, the registrar and the vouching members each sign. */
export interface Application {
  account: string
  nullifier: string
  deadline: number
}

export interface Vouch {
  voucher: string
  signature: string
}

/**
 * One person, one nullifier: keccak256(salt ‖ identifier), where the salt is the registrar's secret, so that nobody can test a
 * guess at the identifier, and the same person is recognised whatever wallet they come with.
 */
export function nullifierOf(registrarSalt: string, identifier: string): string {
  return keccak256(solidityPacked(['bytes32', 'string'], [registrarSalt, identifier]))
}
