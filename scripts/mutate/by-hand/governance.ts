import type { HandWritten } from '../by-hand.ts'

/** I17 to I19. */
export const GOVERNANCE: readonly HandWritten[] = [
  {
    name: 'who-left-may-join-again',
    invariant: 'I17',
    file: 'Membership.sol',
    within: '_leave',
    find: '_burn(memberId);',
    replace: '_burn(memberId); _nullifierUsed[entry.nullifier] = false; delete _memberIds[account];',
  },
  {
    name: 'a-rotation-makes-a-second-vote',
    invariant: 'I17',
    file: 'Membership.sol',
    within: 'finishRotation',
    find: '_transferVotingUnits(from, to, 1)',
    replace: '_transferVotingUnits(address(0), to, 1)',
  },
  {
    name: 'a-later-rule-decides-proposals-before-it',
    invariant: 'I18',
    file: 'CooperativeGovernor.sol',
    within: '_quorumReached',
    find: '_filings[proposalId].rule.quorumPpm',
    replace: '_rules[_filings[proposalId].class].quorumPpm',
  },
  {
    name: 'the-lowest-class-of-the-calls-decides',
    invariant: 'I18',
    file: 'CooperativeGovernor.sol',
    within: 'classOf',
    find: 'if (ofCall > class) class = ofCall;',
    replace: 'class = ofCall;',
  },
  {
    name: 'a-guardian-suspends-for-a-mandate',
    invariant: 'I19',
    file: 'CooperativeGovernor.sol',
    within: 'guardianSuspend',
    find: 'block.timestamp + MAX_SUSPENSION_SECONDS',
    replace: 'block.timestamp + MAX_MANDATE_SECONDS',
  },
  {
    name: 'a-suspension-stops-settlement',
    invariant: 'I19',
    file: 'ModelRegistry.sol',
    within: 'settlementTerms',
    find: '_endOf(modelId, purpose)',
    replace: 'block.timestamp < _models[modelId].suspendedUntil ? 0 : _endOf(modelId, purpose)',
  },
]
