// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {Governor} from "@openzeppelin/contracts/governance/Governor.sol";
import {GovernorCountingSimple} from "@openzeppelin/contracts/governance/extensions/GovernorCountingSimple.sol";
import {GovernorPreventLateQuorum} from "@openzeppelin/contracts/governance/extensions/GovernorPreventLateQuorum.sol";
import {GovernorSettings} from "@openzeppelin/contracts/governance/extensions/GovernorSettings.sol";
import {GovernorTimelockControl} from "@openzeppelin/contracts/governance/extensions/GovernorTimelockControl.sol";
import {GovernorVotes} from "@openzeppelin/contracts/governance/extensions/GovernorVotes.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {IVotes} from "@openzeppelin/contracts/governance/utils/IVotes.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {ICooperativeGovernor} from "./interfaces/ICooperativeGovernor.sol";
import {ICooperativeParameters} from "./interfaces/ICooperativeParameters.sol";
import {IInferenceEscrow} from "./interfaces/IInferenceEscrow.sol";
import {IModelRegistry} from "./interfaces/IModelRegistry.sol";
import {Messages} from "./libraries/Messages.sol";
import {Signatures} from "./libraries/Signatures.sol";

// Calls come in memory, as the parents take them: one decoder for all keeps the code below the limit of 24,576 bytes.
// solhint-disable gas-calldata-parameters

/// @title Chapter 7, govern: members decide by classes of proposals; a guardian with an ending mandate can only say stop.
contract CooperativeGovernor is
    ICooperativeGovernor,
    Governor,
    GovernorSettings,
    GovernorCountingSimple,
    GovernorVotes,
    GovernorTimelockControl,
    GovernorPreventLateQuorum
{
    uint256 private constant PPM = 1_000_000;
    uint256 private constant MAX_MANDATE_SECONDS = 366 days;
    uint256 private constant MAX_SUSPENSION_SECONDS = 14 days;
    uint256 private constant PROPOSER_VOTES = 1;
    // A rule outside these could be met by almost nobody or almost never, and could then not be changed back.
    uint32 private constant MIN_QUORUM_PPM = 10_000;
    uint32 private constant MAX_QUORUM_PPM = 600_000;
    uint32 private constant MIN_THRESHOLD_PPM = 500_000;
    uint32 private constant MAX_THRESHOLD_PPM = 900_000;

    struct Filing {
        ProposalClass class;
        bool concernsGuardian;
        ClassRule rule;
    }

    address public immutable PARAMETERS;

    /// @inheritdoc ICooperativeGovernor
    address public override guardian;
    /// @inheritdoc ICooperativeGovernor
    uint40 public override mandateEndsAt;
    uint32 private _mandate; // counts mandates

    mapping(ProposalClass class => ClassRule rule) private _rules;
    mapping(uint256 proposalId => Filing filing) private _filings;
    mapping(address registry => mapping(bytes32 modelId => uint32 mandate)) private _suspendedIn;

    constructor(IVotes membership, TimelockController timelock_, address parameters, Settings memory settings)
        Governor("Granary CooperativeGovernor")
        GovernorSettings(settings.votingDelaySeconds, settings.votingPeriodSeconds, PROPOSER_VOTES)
        GovernorVotes(membership)
        GovernorTimelockControl(timelock_)
        GovernorPreventLateQuorum(settings.lateQuorumSeconds)
    {
        PARAMETERS = parameters;
        for (uint256 i = 0; i < settings.rules.length; ++i) _setClassRule(ProposalClass(i), settings.rules[i]);
        _setGuardian(settings.guardian, uint40(block.timestamp) + settings.mandateSeconds);
    }

    // Propose

    /// @inheritdoc ICooperativeGovernor
    function proposeBySig(
        address[] memory targets,
        uint256[] memory values,
        bytes[] memory calldatas,
        string memory description,
        address proposer,
        uint256 deadline,
        bytes calldata signature
    ) external returns (uint256 proposalId) {
        require(block.timestamp <= deadline, GovernorSignatureExpired(block.timestamp, deadline));
        proposalId = getProposalId(targets, values, calldatas, keccak256(bytes(description)));
        _requireSigned(proposer, Messages.hashPropose(proposalId, proposer, deadline), signature);
        require(_isValidDescriptionForProposer(proposer, description), GovernorRestrictedProposer(proposer));
        uint256 held = getVotes(proposer, clock() - 1);
        require(held >= proposalThreshold(), GovernorInsufficientProposerVotes(proposer, held, proposalThreshold()));
        _propose(targets, values, calldatas, description, proposer);
    }

    /// @inheritdoc ICooperativeGovernor
    function cancelBySig(
        address[] memory targets, uint256[] memory values, bytes[] memory calldatas, bytes32 descriptionHash, bytes calldata signature
    ) external returns (uint256 proposalId) {
        proposalId = getProposalId(targets, values, calldatas, descriptionHash);
        address proposer = proposalProposer(proposalId);
        _requireSigned(proposer, Messages.hashCancelProposal(proposalId), signature);
        require(_validateCancel(proposalId, proposer), GovernorUnableToCancel(proposalId, proposer));
        _cancel(targets, values, calldatas, descriptionHash);
    }

    function _requireSigned(address signer, bytes32 structHash, bytes calldata signature) private view {
        require(Signatures.isBy(signer, _hashTypedDataV4(structHash), signature), GovernorInvalidSignature(signer));
    }

    /// Files the class and its present rule with the proposal, so that a later change of the rules does not reach it.
    function _propose(address[] memory targets, uint256[] memory values, bytes[] memory calldatas, string memory description, address proposer)
        internal
        override
        returns (uint256 proposalId)
    {
        proposalId = super._propose(targets, values, calldatas, description, proposer);
        ProposalClass class = classOf(targets, values, calldatas);
        ClassRule memory rule = _rules[class];
        _filings[proposalId] = Filing({class: class, concernsGuardian: _concernsGuardian(targets, calldatas), rule: rule});
        emit ProposalClassified(proposalId, class, rule.quorumPpm, rule.thresholdPpm);
    }

    /// @inheritdoc ICooperativeGovernor
    function classOf(address[] memory targets, uint256[] memory values, bytes[] memory calldatas) public view returns (ProposalClass class) {
        for (uint256 i = 0; i < targets.length; ++i) {
            ProposalClass ofCall = _classOfCall(targets[i], values[i], calldatas[i]);
            if (ofCall > class) class = ofCall;
        }
    }

    /// Known calls have their class, all else is constitutional. What merely looks like a transfer, but goes to a contract
    /// that obeys the timelock, is not one.
    function _classOfCall(address target, uint256 value, bytes memory data) private view returns (ProposalClass) {
        bytes4 selector = bytes4(data);
        if (target == PARAMETERS) {
            bool ordinary = selector == ICooperativeParameters.setProtocolFee.selector || selector == ICooperativeParameters.addPurpose.selector;
            return ordinary && value == 0 ? ProposalClass.Ordinary : ProposalClass.Constitutional;
        }
        if (target == address(this) || target == timelock() || target == address(token())) return ProposalClass.Constitutional;
        bool pays = selector == IERC20.transfer.selector || selector == IInferenceEscrow.claimCredit.selector || data.length == 0;
        return pays ? ProposalClass.Treasury : ProposalClass.Constitutional;
    }

    /// Nothing but who is guardian: a call that comes along with it must not be out of the guardian's reach.
    function _concernsGuardian(address[] memory targets, bytes[] memory calldatas) private view returns (bool) {
        for (uint256 i = 0; i < targets.length; ++i) {
            if (targets[i] != address(this) || bytes4(calldatas[i]) != ICooperativeGovernor.setGuardian.selector) return false;
        }
        return true;
    }

    // Count

    /// Rounds up: a quorum is never met by less than its share.
    function _quorumReached(uint256 proposalId) internal view override(Governor, GovernorCountingSimple) returns (bool) {
        (, uint256 forVotes, uint256 abstainVotes) = proposalVotes(proposalId);
        return forVotes + abstainVotes >= _quorumAt(proposalSnapshot(proposalId), _filings[proposalId].rule.quorumPpm);
    }

    /// Rounds towards refusal: For must exceed its share of For + Against.
    function _voteSucceeded(uint256 proposalId) internal view override(Governor, GovernorCountingSimple) returns (bool) {
        (uint256 againstVotes, uint256 forVotes,) = proposalVotes(proposalId);
        return forVotes * PPM > (forVotes + againstVotes) * _filings[proposalId].rule.thresholdPpm;
    }

    function _quorumAt(uint256 timepoint, uint32 quorumPpm) private view returns (uint256) {
        return Math.ceilDiv(token().getPastTotalSupply(timepoint) * quorumPpm, PPM);
    }

    // Govern the governor

    /// @inheritdoc ICooperativeGovernor
    function setGuardian(address newGuardian, uint40 endsAt) external onlyGovernance {
        _setGuardian(newGuardian, endsAt);
    }

    /// @inheritdoc ICooperativeGovernor
    function setClassRule(ProposalClass class, ClassRule calldata rule) external onlyGovernance {
        _setClassRule(class, rule);
    }

    function _setGuardian(address newGuardian, uint40 endsAt) private {
        uint256 limit = block.timestamp + MAX_MANDATE_SECONDS;
        require(endsAt <= limit, GovernorMandateTooLong(endsAt, limit));
        (guardian, mandateEndsAt) = (newGuardian, endsAt);
        ++_mandate;
        emit GuardianSet(newGuardian, endsAt);
    }

    function _setClassRule(ProposalClass class, ClassRule memory rule) private {
        bool quorumFits = rule.quorumPpm >= MIN_QUORUM_PPM && rule.quorumPpm <= MAX_QUORUM_PPM;
        bool thresholdFits = rule.thresholdPpm >= MIN_THRESHOLD_PPM && rule.thresholdPpm <= MAX_THRESHOLD_PPM;
        require(quorumFits && thresholdFits, GovernorRuleInvalid(rule.quorumPpm, rule.thresholdPpm));
        _rules[class] = rule;
        emit ClassRuleSet(class, rule.quorumPpm, rule.thresholdPpm);
    }

    // Guard

    /// @inheritdoc ICooperativeGovernor
    function guardianCancel(address[] memory targets, uint256[] memory values, bytes[] memory calldatas, bytes32 descriptionHash)
        external
        returns (uint256 proposalId)
    {
        _requireGuardian();
        proposalId = getProposalId(targets, values, calldatas, descriptionHash);
        require(!_filings[proposalId].concernsGuardian, GovernorGuardianConflict(proposalId));

        emit GuardianCancelled(proposalId);
        _cancel(targets, values, calldatas, descriptionHash);
    }

    /// @inheritdoc ICooperativeGovernor
    function guardianSuspend(address registry, bytes32 modelId, uint40 until) external {
        _requireGuardian();
        uint256 limit = block.timestamp + MAX_SUSPENSION_SECONDS;
        require(until > block.timestamp && until <= limit, GovernorSuspensionInvalid(until, limit));
        require(_suspendedIn[registry][modelId] != _mandate, GovernorSuspendedBefore(modelId));

        _suspendedIn[registry][modelId] = _mandate;
        emit GuardianSuspended(registry, modelId, until);
        IModelRegistry(registry).suspend(modelId, until);
    }

    function _requireGuardian() private view {
        require(msg.sender == guardian, GovernorNotGuardian(msg.sender));
        require(block.timestamp < mandateEndsAt, GovernorMandateEnded(block.timestamp, mandateEndsAt));
    }

    // Views

    /// @inheritdoc ICooperativeGovernor
    function proposalClass(uint256 proposalId) external view returns (ProposalClass) {
        require(proposalSnapshot(proposalId) != 0, GovernorNonexistentProposal(proposalId));
        return _filings[proposalId].class;
    }

    /// @inheritdoc ICooperativeGovernor
    function proposalRule(uint256 proposalId) external view returns (ClassRule memory) {
        require(proposalSnapshot(proposalId) != 0, GovernorNonexistentProposal(proposalId));
        return _filings[proposalId].rule;
    }

    /// @inheritdoc ICooperativeGovernor
    function classRule(ProposalClass class) external view returns (ClassRule memory) {
        return _rules[class];
    }

    /// @notice The quorum of a constitutional proposal made now; each proposal is held to its own (`proposalRule`).
    function quorum(uint256 timepoint) public view override returns (uint256) {
        return _quorumAt(timepoint, _rules[ProposalClass.Constitutional].quorumPpm);
    }

    // What several parents define

    function proposalThreshold() public view override(Governor, GovernorSettings) returns (uint256) {
        return super.proposalThreshold();
    }

    function state(uint256 proposalId) public view override(Governor, GovernorTimelockControl) returns (ProposalState) {
        return super.state(proposalId);
    }

    function proposalNeedsQueuing(uint256 proposalId) public view override(Governor, GovernorTimelockControl) returns (bool) {
        return super.proposalNeedsQueuing(proposalId);
    }

    function proposalDeadline(uint256 proposalId) public view override(Governor, GovernorPreventLateQuorum) returns (uint256) {
        return super.proposalDeadline(proposalId);
    }

    function _tallyUpdated(uint256 proposalId) internal override(Governor, GovernorPreventLateQuorum) {
        super._tallyUpdated(proposalId);
    }

    function _queueOperations(uint256 proposalId, address[] memory targets, uint256[] memory values, bytes[] memory calldatas, bytes32 descriptionHash)
        internal
        override(Governor, GovernorTimelockControl)
        returns (uint48)
    {
        return super._queueOperations(proposalId, targets, values, calldatas, descriptionHash);
    }

    function _executeOperations(uint256 proposalId, address[] memory targets, uint256[] memory values, bytes[] memory calldatas, bytes32 descriptionHash)
        internal
        override(Governor, GovernorTimelockControl)
    {
        super._executeOperations(proposalId, targets, values, calldatas, descriptionHash);
    }

    function _cancel(address[] memory targets, uint256[] memory values, bytes[] memory calldatas, bytes32 descriptionHash)
        internal
        override(Governor, GovernorTimelockControl)
        returns (uint256)
    {
        return super._cancel(targets, values, calldatas, descriptionHash);
    }

    function _executor() internal view override(Governor, GovernorTimelockControl) returns (address) {
        return super._executor();
    }
}
