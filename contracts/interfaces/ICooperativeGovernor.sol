// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

/// @title Chapter 7, govern: one member one vote, OpenZeppelin Governor with timelock, and an expiring guardian.
/// @notice The OpenZeppelin IGovernor functions are the rest of the interface.
interface ICooperativeGovernor {
    /// A class sets the quorum (ppm of the vote supply) and the threshold (For must exceed this ppm of For + Against).
    /// A proposal has the strictest class of its calls.
    enum ProposalClass {
        Ordinary, // the protocol fee, new purposes
        Treasury, // transfers of the treasury's tokens, coins or credits
        Constitutional // all else: registrar, guardian, the governor's own settings, timelock roles, unknown calls
    }

    struct ClassRule {
        uint32 quorumPpm;
        uint32 thresholdPpm;
    }

    struct Settings {
        uint48 votingDelaySeconds;
        uint32 votingPeriodSeconds;
        uint48 lateQuorumSeconds;
        ClassRule[3] rules; // by ProposalClass
        address guardian; // zero for none
        uint40 mandateSeconds;
    }

    event GuardianSet(address guardian, uint40 mandateEndsAt);
    event GuardianCancelled(uint256 indexed proposalId);
    event GuardianSuspended(address indexed registry, bytes32 indexed modelId, uint40 until);
    event ProposalClassified(uint256 indexed proposalId, ProposalClass class, uint32 quorumPpm, uint32 thresholdPpm);
    event ClassRuleSet(ProposalClass indexed class, uint32 quorumPpm, uint32 thresholdPpm);

    error GovernorNotGuardian(address actual);
    error GovernorMandateEnded(uint256 at, uint40 endedAt);
    error GovernorMandateTooLong(uint40 endsAt, uint256 limit);
    error GovernorGuardianConflict(uint256 proposalId);
    error GovernorSuspensionInvalid(uint40 until, uint256 limit);
    error GovernorSuspendedBefore(bytes32 modelId);
    error GovernorSignatureExpired(uint256 at, uint256 deadline);
    error GovernorRuleInvalid(uint32 quorumPpm, uint32 thresholdPpm);

    /// @notice As `propose`, by the proposer's signature over Propose: the proposer's own votes must reach the threshold, and a
    /// `#proposer=` suffix of the description must name the proposer. Without one, whoever sees the signature may propose the same
    /// first, and then cancel it. It can't be replayed: a proposal is made once.
    function proposeBySig(
        address[] memory targets,
        uint256[] memory values,
        bytes[] memory calldatas,
        string memory description,
        address proposer,
        uint256 deadline,
        bytes calldata signature
    ) external returns (uint256 proposalId);
    /// @notice As `cancel`, by the proposer's signature over CancelProposal, while the proposal is pending.
    function cancelBySig(
        address[] memory targets, uint256[] memory values, bytes[] memory calldatas, bytes32 descriptionHash, bytes calldata signature
    ) external returns (uint256 proposalId);
    /// @notice By proposal only. A mandate lasts at most 366 days; a new one starts when this is called.
    function setGuardian(address guardian, uint40 mandateEndsAt) external;
    /// @notice By proposal only, within bounds; proposals keep the rule that was in force when they were made.
    function setClassRule(ProposalClass class, ClassRule calldata rule) external;
    /// @notice Guardian cancels a proposal, unless its calls do nothing but `setGuardian`: what is bundled with that can be cancelled.
    function guardianCancel(address[] memory targets, uint256[] memory values, bytes[] memory calldatas, bytes32 descriptionHash) external returns (uint256);
    /// @notice Guardian suspends a model of a registry for at most 14 days, once per model and mandate: it ends by itself unless
    /// a proposal suspends for longer. The registry decides whether this governor is one that it obeys.
    function guardianSuspend(address registry, bytes32 modelId, uint40 until) external;
    function proposalClass(uint256 proposalId) external view returns (ProposalClass);
    /// @notice The rule that this proposal is held to.
    function proposalRule(uint256 proposalId) external view returns (ClassRule memory);
    /// @notice The class that a proposal with these calls would have.
    function classOf(address[] memory targets, uint256[] memory values, bytes[] memory calldatas) external view returns (ProposalClass);
    function classRule(ProposalClass class) external view returns (ClassRule memory);
    function guardian() external view returns (address);
    function mandateEndsAt() external view returns (uint40);
}
