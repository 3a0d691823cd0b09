// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IGovernor} from "@openzeppelin/contracts/governance/IGovernor.sol";
import {IVotes} from "@openzeppelin/contracts/governance/utils/IVotes.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {CooperativeGovernor} from "../../contracts/CooperativeGovernor.sol";
import {ICooperativeGovernor} from "../../contracts/interfaces/ICooperativeGovernor.sol";
import {ICooperativeParameters} from "../../contracts/interfaces/ICooperativeParameters.sol";
import {CooperativeTest} from "./support/Cooperative.sol";

/// Remembers what it was asked to suspend, and by whom.
contract RecordingRegistry {
    bytes32 public modelId;
    uint40 public until;
    address public by;

    function suspend(bytes32 modelId_, uint40 until_) external {
        (modelId, until, by) = (modelId_, until_, msg.sender);
    }
}

contract CooperativeGovernorTest is CooperativeTest {
    uint8 private constant AGAINST = 0;
    uint8 private constant FOR = 1;
    uint8 private constant ABSTAIN = 2;
    string private constant DESCRIPTION = "a proposal";

    struct Proposal {
        uint256 id;
        address[] targets;
        uint256[] values;
        bytes[] calldatas;
    }

    RecordingRegistry private _registry;

    function setUp() public override {
        super.setUp();
        _registry = new RecordingRegistry();
    }

    // Life of a proposal

    function test_Proposal_WholeLifeChangesTheProtocolFee() public {
        Proposal memory p = _propose(address(parameters), abi.encodeCall(ICooperativeParameters.setProtocolFee, (20_000)));
        _vote(p.id, 2, 0, 0);
        _warpPastDeadline(p.id);
        governor.queue(p.targets, p.values, p.calldatas, keccak256(bytes(DESCRIPTION)));

        vm.expectRevert();
        governor.execute(p.targets, p.values, p.calldatas, keccak256(bytes(DESCRIPTION)));
        vm.warp(block.timestamp + 2 days);
        governor.execute(p.targets, p.values, p.calldatas, keccak256(bytes(DESCRIPTION)));
        vm.assertEq(parameters.protocolFeePpm(), 20_000);
    }

    function test_Propose_RevertWhen_NotAnActiveMember() public {
        join(0xA11CE, keccak256("newcomer"));
        vm.warp(block.timestamp + 1);
        (address[] memory targets, uint256[] memory values, bytes[] memory calldatas) = _one(address(parameters), "");
        vm.prank(vm.addr(0xA11CE));
        vm.expectPartialRevert(IGovernor.GovernorInsufficientProposerVotes.selector);
        governor.propose(targets, values, calldatas, DESCRIPTION);
    }

    function test_Vote_OfSomeoneWhoJoinedAfterTheSnapshotCountsNothing() public {
        Proposal memory p = _propose(address(parameters), abi.encodeCall(ICooperativeParameters.setProtocolFee, (20_000)));
        uint256 memberId = join(0xA11CE, keccak256("newcomer"));
        vm.warp(block.timestamp + PROBATION);
        membership.activate(memberId);
        vm.prank(vm.addr(0xA11CE));
        vm.assertEq(governor.castVote(p.id, FOR), 0);
    }

    function test_VoteBySig_CountsOnce() public {
        Proposal memory p = _propose(address(parameters), abi.encodeCall(ICooperativeParameters.setProtocolFee, (20_000)));
        vm.warp(governor.proposalSnapshot(p.id) + 1);
        address voter = vm.addr(genesisKey(3));
        bytes memory signature = _signBallot(genesisKey(3), p.id, FOR, 0);
        governor.castVoteBySig(p.id, FOR, voter, signature);
        (, uint256 forVotes,) = governor.proposalVotes(p.id);
        vm.assertEq(forVotes, 1);
        vm.expectRevert(abi.encodeWithSelector(IGovernor.GovernorInvalidSignature.selector, voter));
        governor.castVoteBySig(p.id, FOR, voter, signature);
        vm.prank(voter);
        vm.expectRevert(abi.encodeWithSelector(IGovernor.GovernorAlreadyCastVote.selector, voter));
        governor.castVote(p.id, FOR);
    }

    function test_Vote_LateQuorumExtendsTheDeadline() public {
        Proposal memory p = _propose(address(parameters), abi.encodeCall(ICooperativeParameters.setProtocolFee, (20_000)));
        uint256 deadline = governor.proposalDeadline(p.id);
        vm.warp(deadline);
        _cast(p.id, 0, 2, FOR);
        vm.assertEq(governor.proposalDeadline(p.id), deadline + 2 days);
    }

    // Classes

    function test_Class_FollowsTheStrictestCall() public view {
        _assertClass(address(parameters), abi.encodeCall(ICooperativeParameters.setProtocolFee, (1)), ICooperativeGovernor.ProposalClass.Ordinary);
        _assertClass(address(parameters), abi.encodeCall(ICooperativeParameters.addPurpose, ("x")), ICooperativeGovernor.ProposalClass.Ordinary);
        _assertClass(address(_registry), abi.encodeCall(IERC20.transfer, (address(1), 1)), ICooperativeGovernor.ProposalClass.Treasury);
        _assertClass(address(1), "", ICooperativeGovernor.ProposalClass.Treasury);
        _assertClass(address(parameters), abi.encodeCall(ICooperativeParameters.setRegistrar, (address(1))), ICooperativeGovernor.ProposalClass.Constitutional);
        _assertClass(address(parameters), abi.encodeCall(ICooperativeParameters.setTreasury, (address(1))), ICooperativeGovernor.ProposalClass.Constitutional);
        _assertClass(address(governor), abi.encodeCall(ICooperativeGovernor.setGuardian, (address(1), 0)), ICooperativeGovernor.ProposalClass.Constitutional);
        _assertClass(address(governor), abi.encodeCall(governor.setVotingPeriod, (1)), ICooperativeGovernor.ProposalClass.Constitutional);
        _assertClass(address(timelock), abi.encodeCall(timelock.updateDelay, (0)), ICooperativeGovernor.ProposalClass.Constitutional);
        _assertClass(address(timelock), abi.encodeCall(IERC20.transfer, (address(1), 1)), ICooperativeGovernor.ProposalClass.Constitutional);
        _assertClass(address(_registry), abi.encodeCall(_registry.suspend, (bytes32(0), 1)), ICooperativeGovernor.ProposalClass.Constitutional);

        address[] memory targets = new address[](2);
        bytes[] memory calldatas = new bytes[](2);
        (targets[0], targets[1]) = (address(parameters), address(_registry));
        calldatas[0] = abi.encodeCall(ICooperativeParameters.setProtocolFee, (1));
        calldatas[1] = abi.encodeCall(IERC20.transfer, (address(1), 1));
        vm.assertTrue(governor.classOf(targets, new uint256[](2), calldatas) == ICooperativeGovernor.ProposalClass.Treasury);
    }

    function testFuzz_Class_UnknownCallsAreConstitutional(address target, bytes4 selector, bytes32 argument) public view {
        bytes4 transfer = IERC20.transfer.selector;
        bytes4 claim = bytes4(keccak256("claimCredit(address)"));
        vm.assume(target != address(parameters) && selector != transfer && selector != claim);
        _assertClass(target, abi.encodePacked(selector, argument), ICooperativeGovernor.ProposalClass.Constitutional);
    }

    /// Ten members: 2, 3, 4 votes are a quorum of the three classes; over 50 %, 60 %, two thirds of For + Against pass.
    function testFuzz_Outcome_MeetsQuorumAndThresholdOfItsClass(uint8 class, uint8 forVotes, uint8 againstVotes, uint8 abstainVotes) public {
        class = class % 3;
        forVotes = forVotes % 11;
        againstVotes = againstVotes % (11 - forVotes);
        abstainVotes = abstainVotes % (11 - forVotes - againstVotes);
        Proposal memory p = _proposeOfClass(class);
        _vote(p.id, forVotes, againstVotes, abstainVotes);
        _warpPastDeadline(p.id);

        uint256[3] memory quorum = [uint256(2), 3, 4];
        uint256[3] memory thresholdPpm = [uint256(500_000), 600_000, 666_666];
        bool expected = uint256(forVotes) + abstainVotes >= quorum[class]
            && uint256(forVotes) * 1_000_000 > (uint256(forVotes) + againstVotes) * thresholdPpm[class];
        IGovernor.ProposalState state = governor.state(p.id);
        vm.assertTrue(state == (expected ? IGovernor.ProposalState.Succeeded : IGovernor.ProposalState.Defeated));
    }

    function test_SetClassRule_DoesNotReachProposalsMadeBefore() public {
        ICooperativeGovernor.ClassRule memory rule = ICooperativeGovernor.ClassRule({quorumPpm: 600_000, thresholdPpm: 900_000});
        Proposal memory change =
            _propose(address(governor), abi.encodeCall(ICooperativeGovernor.setClassRule, (ICooperativeGovernor.ProposalClass.Ordinary, rule)));
        Proposal memory fee = _propose(address(parameters), abi.encodeCall(ICooperativeParameters.setProtocolFee, (20_000)));
        _vote(change.id, 10, 0, 0);
        _execute(change);
        vm.assertEq(governor.classRule(ICooperativeGovernor.ProposalClass.Ordinary).quorumPpm, 600_000);
        vm.assertEq(governor.proposalRule(fee.id).quorumPpm, 200_000);
    }

    function test_Constructor_RevertWhen_RuleOutOfBounds() public {
        ICooperativeGovernor.Settings memory wrong = settings();
        wrong.rules[2].quorumPpm = 600_001;
        vm.expectRevert(abi.encodeWithSelector(ICooperativeGovernor.GovernorRuleInvalid.selector, uint32(600_001), uint32(666_666)));
        new CooperativeGovernor(IVotes(address(membership)), timelock, address(parameters), wrong);
    }

    // Guardian

    function test_GuardianCancel_StopsAProposalEvenWhenQueued() public {
        Proposal memory p = _propose(address(parameters), abi.encodeCall(ICooperativeParameters.setProtocolFee, (20_000)));
        _vote(p.id, 10, 0, 0);
        _warpPastDeadline(p.id);
        governor.queue(p.targets, p.values, p.calldatas, keccak256(bytes(DESCRIPTION)));
        vm.prank(GUARDIAN);
        governor.guardianCancel(p.targets, p.values, p.calldatas, keccak256(bytes(DESCRIPTION)));
        vm.assertTrue(governor.state(p.id) == IGovernor.ProposalState.Canceled);
    }

    function test_GuardianCancel_RevertWhen_ItConcernsTheGuardian() public {
        Proposal memory p = _propose(address(governor), abi.encodeCall(ICooperativeGovernor.setGuardian, (address(0xBEEF), uint40(block.timestamp + 30 days))));
        vm.prank(GUARDIAN);
        vm.expectRevert(abi.encodeWithSelector(ICooperativeGovernor.GovernorGuardianConflict.selector, p.id));
        governor.guardianCancel(p.targets, p.values, p.calldatas, keccak256(bytes(DESCRIPTION)));

        _vote(p.id, 10, 0, 0);
        _execute(p);
        vm.assertEq(governor.guardian(), address(0xBEEF));
    }

    function test_GuardianSuspend_EndsWithinFourteenDaysAndOncePerMandate() public {
        bytes32 modelId = keccak256("model");
        uint40 limit = uint40(block.timestamp + 14 days);
        vm.startPrank(GUARDIAN);
        vm.expectRevert(abi.encodeWithSelector(ICooperativeGovernor.GovernorSuspensionInvalid.selector, limit + 1, uint256(limit)));
        governor.guardianSuspend(address(_registry), modelId, limit + 1);
        governor.guardianSuspend(address(_registry), modelId, limit);
        vm.assertEq(_registry.modelId(), modelId);
        vm.assertEq(_registry.until(), limit);
        vm.assertEq(_registry.by(), address(governor));

        vm.warp(limit);
        vm.expectRevert(abi.encodeWithSelector(ICooperativeGovernor.GovernorSuspendedBefore.selector, modelId));
        governor.guardianSuspend(address(_registry), modelId, limit + 1);
        vm.stopPrank();
    }

    function testFuzz_Guardian_NobodyElseAndNotAfterTheMandate(address other) public {
        vm.assume(other != GUARDIAN);
        uint40 until = uint40(block.timestamp + 1 days);
        vm.prank(other);
        vm.expectRevert(abi.encodeWithSelector(ICooperativeGovernor.GovernorNotGuardian.selector, other));
        governor.guardianSuspend(address(_registry), bytes32(0), until);

        vm.warp(governor.mandateEndsAt());
        vm.prank(GUARDIAN);
        vm.expectPartialRevert(ICooperativeGovernor.GovernorMandateEnded.selector);
        governor.guardianSuspend(address(_registry), bytes32(0), until + 365 days);
    }

    function test_SetGuardian_RevertWhen_NotByProposal() public {
        vm.expectPartialRevert(IGovernor.GovernorOnlyExecutor.selector);
        governor.setGuardian(address(this), uint40(block.timestamp + 1));
        vm.prank(GUARDIAN);
        vm.expectPartialRevert(IGovernor.GovernorOnlyExecutor.selector);
        governor.setGuardian(GUARDIAN, uint40(block.timestamp + 1));
    }

    function test_SetGuardian_RevertWhen_MandateIsLongerThanAYear() public {
        Proposal memory p = _propose(address(governor), abi.encodeCall(ICooperativeGovernor.setGuardian, (GUARDIAN, type(uint40).max)));
        _vote(p.id, 10, 0, 0);
        _warpPastDeadline(p.id);
        governor.queue(p.targets, p.values, p.calldatas, keccak256(bytes(DESCRIPTION)));
        vm.warp(block.timestamp + 2 days);
        vm.expectRevert();
        governor.execute(p.targets, p.values, p.calldatas, keccak256(bytes(DESCRIPTION)));
        vm.assertTrue(governor.mandateEndsAt() < type(uint40).max);
    }

    function test_Deployment_LeavesNoAdministrator() public view {
        vm.assertFalse(timelock.hasRole(timelock.DEFAULT_ADMIN_ROLE(), address(this)));
        vm.assertFalse(timelock.hasRole(timelock.PROPOSER_ROLE(), address(this)));
        vm.assertTrue(timelock.hasRole(timelock.DEFAULT_ADMIN_ROLE(), address(timelock)));
    }

    function test_CodeSize_FitsTheLimit() public view {
        vm.assertTrue(address(governor).code.length < 24_576);
    }

    function _propose(address target, bytes memory data) private returns (Proposal memory p) {
        (p.targets, p.values, p.calldatas) = _one(target, data);
        vm.prank(vm.addr(genesisKey(0)));
        p.id = governor.propose(p.targets, p.values, p.calldatas, DESCRIPTION);
    }

    function _proposeOfClass(uint8 class) private returns (Proposal memory) {
        if (class == 0) return _propose(address(parameters), abi.encodeCall(ICooperativeParameters.setProtocolFee, (20_000)));
        if (class == 1) return _propose(address(_registry), abi.encodeCall(IERC20.transfer, (address(1), 1)));
        return _propose(address(parameters), abi.encodeCall(ICooperativeParameters.setRegistrar, (address(1))));
    }

    function _vote(uint256 proposalId, uint256 forVotes, uint256 againstVotes, uint256 abstainVotes) private {
        vm.warp(governor.proposalSnapshot(proposalId) + 1);
        _cast(proposalId, 0, forVotes, FOR);
        _cast(proposalId, forVotes, againstVotes, AGAINST);
        _cast(proposalId, forVotes + againstVotes, abstainVotes, ABSTAIN);
    }

    function _cast(uint256 proposalId, uint256 first, uint256 count, uint8 support) private {
        for (uint256 i = first; i < first + count; ++i) {
            vm.prank(vm.addr(genesisKey(i)));
            governor.castVote(proposalId, support);
        }
    }

    function _execute(Proposal memory p) private {
        _warpPastDeadline(p.id);
        governor.queue(p.targets, p.values, p.calldatas, keccak256(bytes(DESCRIPTION)));
        vm.warp(block.timestamp + 2 days);
        governor.execute(p.targets, p.values, p.calldatas, keccak256(bytes(DESCRIPTION)));
    }

    function _warpPastDeadline(uint256 proposalId) private {
        vm.warp(governor.proposalDeadline(proposalId) + 1);
    }

    function _assertClass(address target, bytes memory data, ICooperativeGovernor.ProposalClass expected) private view {
        (address[] memory targets, uint256[] memory values, bytes[] memory calldatas) = _one(target, data);
        vm.assertTrue(governor.classOf(targets, values, calldatas) == expected);
    }

    function _one(address target, bytes memory data) private pure returns (address[] memory targets, uint256[] memory values, bytes[] memory calldatas) {
        (targets, values, calldatas) = (new address[](1), new uint256[](1), new bytes[](1));
        (targets[0], calldatas[0]) = (target, data);
    }

    function _signBallot(uint256 key, uint256 proposalId, uint8 support, uint256 nonce) private view returns (bytes memory) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Granary CooperativeGovernor"),
                keccak256("1"),
                block.chainid,
                address(governor)
            )
        );
        bytes32 structHash = keccak256(abi.encode(governor.BALLOT_TYPEHASH(), proposalId, support, vm.addr(key), nonce));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, keccak256(abi.encodePacked(hex"1901", domain, structHash)));
        return abi.encodePacked(r, s, v);
    }
}
