// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

/// @title Chapter 7, govern: one member one vote, OpenZeppelin Governor with timelock, and an expiring guardian.
/// @notice The OpenZeppelin IGovernor functions are the rest of the interface.
interface ICooperativeGovernor {
    /// A class sets the quorum (ppm of the vote supply) and the threshold (ppm of For among For + Against).
    enum ProposalClass {
        Ordinary, // parameters
        Treasury, // any transfer of the treasury's tokens
        Constitutional // registrar, guardian, governor's own settings, timelock roles
    }

    struct ClassRule {
        uint32 quorumPpm;
        uint32 thresholdPpm;
    }

    event GuardianSet(address guardian, uint40 mandateEndsAt);
    event GuardianCancelled(uint256 indexed proposalId);

    error GovernorNotGuardian(address actual);
    error GovernorMandateEnded(uint256 at, uint40 endedAt);
    error GovernorGuardianConflict(uint256 proposalId);
    error GovernorRuleInvalid(uint32 quorumPpm, uint32 thresholdPpm);

    function setGuardian(address guardian, uint40 mandateEndsAt) external;
    /// @notice Guardian cancels a proposal that does not concern the guardian itself.
    function guardianCancel(address[] memory targets, uint256[] memory values, bytes[] memory calldatas, bytes32 descriptionHash) external returns (uint256);
    /// @notice Guardian suspends a model for at most 14 days; ends unless ratified by a proposal.
    function guardianSuspend(bytes32 modelId, uint40 until) external;
    function proposalClass(uint256 proposalId) external view returns (ProposalClass);
    function classRule(ProposalClass class) external view returns (ClassRule memory);
    function guardian() external view returns (address);
    function mandateEndsAt() external view returns (uint40);
}
