// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IGovernor} from "@openzeppelin/contracts/governance/IGovernor.sol";
import {IVotes} from "@openzeppelin/contracts/governance/utils/IVotes.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {CooperativeGovernor} from "../../contracts/CooperativeGovernor.sol";
import {CooperativeParameters} from "../../contracts/CooperativeParameters.sol";
import {ICooperativeGovernor} from "../../contracts/interfaces/ICooperativeGovernor.sol";
import {ICooperativeParameters} from "../../contracts/interfaces/ICooperativeParameters.sol";
import {IInferenceEscrow} from "../../contracts/interfaces/IInferenceEscrow.sol";
import {CooperativeTest} from "./support/Cooperative.sol";

/// What governs a proposal from its filing on, each bound at its last unit, and what nobody filed.
contract GovernorBoundariesTest is CooperativeTest {
    bytes32 private constant MODEL = "model";
    bytes32 private constant DESCRIPTION_HASH = keccak256("a proposal");

    mapping(bytes32 modelId => uint40 until) private _suspendedUntil;

    /// Stands for the model registry.
    function suspend(bytes32 modelId, uint40 until) external {
        _suspendedUntil[modelId] = until;
    }

    // The rule that was filed

    function test_Outcome_FollowsTheRuleThatWasFiled() public {
        uint256 strict = _proposeFee(30_000);
        uint256 change = _proposeRule(ICooperativeGovernor.ClassRule({quorumPpm: 500_000, thresholdPpm: 900_000}));
        _vote(strict, 2, 1);
        _vote(change, 10, 0);
        _execute(_ruleCall(ICooperativeGovernor.ClassRule({quorumPpm: 500_000, thresholdPpm: 900_000})), change);
        vm.assertEq(governor.classRule(ICooperativeGovernor.ProposalClass.Ordinary).quorumPpm, 500_000);
        vm.assertEq(governor.classRule(ICooperativeGovernor.ProposalClass.Ordinary).thresholdPpm, 900_000);
        vm.assertTrue(governor.state(strict) == IGovernor.ProposalState.Succeeded);
        vm.assertEq(governor.proposalRule(strict).thresholdPpm, 500_000);

        uint256 later = _proposeFee(40_000);
        _vote(later, 4, 0);
        vm.warp(governor.proposalDeadline(later) + 1);
        vm.assertTrue(governor.state(later) == IGovernor.ProposalState.Defeated);
    }

    function test_Class_IsTheStrictestOfTheCallsWhateverTheirOrder() public view {
        address[] memory targets = new address[](3);
        bytes[] memory calldatas = new bytes[](3);
        (targets[0], targets[1], targets[2]) = (address(timelock), address(1), address(parameters));
        calldatas[0] = abi.encodeCall(timelock.updateDelay, (0));
        calldatas[2] = abi.encodeCall(ICooperativeParameters.setProtocolFee, (1));
        vm.assertTrue(governor.classOf(targets, new uint256[](3), calldatas) == ICooperativeGovernor.ProposalClass.Constitutional);
    }

    function test_Class_OfAFeeThatAlsoSendsMoneyIsConstitutional() public view {
        (address[] memory targets, uint256[] memory values, bytes[] memory calldatas) =
            _one(address(parameters), abi.encodeCall(ICooperativeParameters.setProtocolFee, (1)));
        values[0] = 1;
        vm.assertTrue(governor.classOf(targets, values, calldatas) == ICooperativeGovernor.ProposalClass.Constitutional);
    }

    function test_Class_OfATransferToWhatObeysTheTimelockIsConstitutional() public view {
        address[3] memory obedient = [address(governor), address(membership), address(parameters)];
        for (uint256 i = 0; i < obedient.length; ++i) {
            (address[] memory targets, uint256[] memory values, bytes[] memory calldatas) =
                _one(obedient[i], abi.encodeCall(IERC20.transfer, (address(1), 1)));
            vm.assertTrue(governor.classOf(targets, values, calldatas) == ICooperativeGovernor.ProposalClass.Constitutional);
        }
    }

    function test_Class_OfPayingOutCreditIsTreasury() public view {
        (address[] memory targets, uint256[] memory values, bytes[] memory calldatas) =
            _one(address(0xE5C), abi.encodeCall(IInferenceEscrow.claimCredit, (address(timelock))));
        vm.assertTrue(governor.classOf(targets, values, calldatas) == ICooperativeGovernor.ProposalClass.Treasury);
    }

    // Thresholds and quorums at their last vote

    function test_Outcome_AtTheThresholdIsARefusal() public {
        uint256 even = _proposeFee(30_000);
        _vote(even, 5, 5);
        vm.warp(governor.proposalDeadline(even) + 1);
        vm.assertTrue(governor.state(even) == IGovernor.ProposalState.Defeated);
        uint256 twoThirds = _proposeRule(settings().rules[0]);
        _vote(twoThirds, 6, 3);
        vm.warp(governor.proposalDeadline(twoThirds) + 1);
        vm.assertTrue(governor.state(twoThirds) == IGovernor.ProposalState.Succeeded);
    }

    /// Of seven members 57.1429 % are a trace more than four.
    function test_Quorum_ByATraceAboveAWholeVoteIsTheNextOne() public {
        for (uint256 i = 7; i < GENESIS; ++i) {
            vm.prank(vm.addr(genesisKey(i)));
            membership.leave();
        }
        vm.warp(block.timestamp + 1);
        ICooperativeGovernor.Settings memory wanted = settings();
        wanted.rules[2].quorumPpm = 571_429;
        vm.assertEq(_deploy(wanted).quorum(block.timestamp - 1), 5);
    }

    // What nobody filed

    function test_ProposalClassAndRule_RevertWhen_NobodyProposedIt() public {
        vm.expectRevert(abi.encodeWithSelector(IGovernor.GovernorNonexistentProposal.selector, uint256(7)));
        governor.proposalClass(7);
        vm.expectRevert(abi.encodeWithSelector(IGovernor.GovernorNonexistentProposal.selector, uint256(7)));
        governor.proposalRule(7);
    }

    function test_ProposalClass_IsFiled() public {
        vm.assertTrue(governor.proposalClass(_proposeFee(1)) == ICooperativeGovernor.ProposalClass.Ordinary);
        ICooperativeGovernor.ClassRule memory rule = settings().rules[0];
        vm.assertTrue(governor.proposalClass(_proposeRule(rule)) == ICooperativeGovernor.ProposalClass.Constitutional);
    }

    function test_Quorum_IsThatOfAConstitutionalProposalRoundedUp() public {
        vm.assertEq(governor.quorum(block.timestamp - 1), 4);
        join(0xA11CE, "eleventh");
        vm.warp(block.timestamp + PROBATION);
        membership.activate(GENESIS + 1);
        vm.warp(block.timestamp + 1);
        vm.assertEq(governor.quorum(block.timestamp - 1), 5);
    }

    // Rules

    function test_Constructor_TakesRulesAtTheirBoundsAndNotAUnitBeyond() public {
        _deployWith(10_000, 500_000);
        _deployWith(600_000, 900_000);
        _expectRuleRefused(9_999, 500_000);
        _expectRuleRefused(600_001, 500_000);
        _expectRuleRefused(10_000, 499_999);
        _expectRuleRefused(10_000, 900_001);
    }

    function test_SetClassRule_RevertWhen_NotByProposal() public {
        ICooperativeGovernor.ClassRule memory rule = ICooperativeGovernor.ClassRule({quorumPpm: 10_000, thresholdPpm: 500_000});
        address[3] memory others = [GUARDIAN, vm.addr(genesisKey(0)), address(timelock)];
        for (uint256 i = 0; i < others.length; ++i) {
            vm.prank(others[i]);
            // The timelock's own call is refused too unless an executed proposal asked for it: then nothing is in the queue.
            if (others[i] == address(timelock)) vm.expectRevert();
            else vm.expectRevert(abi.encodeWithSelector(IGovernor.GovernorOnlyExecutor.selector, others[i]));
            governor.setClassRule(ICooperativeGovernor.ProposalClass.Constitutional, rule);
        }
        vm.assertEq(governor.classRule(ICooperativeGovernor.ProposalClass.Constitutional).quorumPpm, 400_000);
    }

    // Guardian

    function test_GuardianCancel_RevertWhen_ByAnybodyElseOrAfterTheMandate() public {
        uint256 id = _proposeFee(20_000);
        (address[] memory targets, uint256[] memory values, bytes[] memory calldatas) =
            _one(address(parameters), abi.encodeCall(ICooperativeParameters.setProtocolFee, (20_000)));
        address[3] memory others = [vm.addr(genesisKey(0)), address(timelock), address(this)];
        for (uint256 i = 0; i < others.length; ++i) {
            vm.prank(others[i]);
            vm.expectRevert(abi.encodeWithSelector(ICooperativeGovernor.GovernorNotGuardian.selector, others[i]));
            governor.guardianCancel(targets, values, calldatas, DESCRIPTION_HASH);
        }
        uint256 endsAt = governor.mandateEndsAt();
        vm.warp(endsAt);
        vm.prank(GUARDIAN);
        vm.expectRevert(abi.encodeWithSelector(ICooperativeGovernor.GovernorMandateEnded.selector, endsAt, endsAt));
        governor.guardianCancel(targets, values, calldatas, DESCRIPTION_HASH);
        vm.assertTrue(governor.state(id) != IGovernor.ProposalState.Canceled);
    }

    function test_Mandate_MayLastAYearAndNotASecondMore() public {
        ICooperativeGovernor.Settings memory wanted = settings();
        wanted.mandateSeconds = 366 days;
        CooperativeGovernor made = _deploy(wanted);
        vm.assertEq(made.mandateEndsAt(), block.timestamp + 366 days);
        vm.assertEq(made.guardian(), GUARDIAN);
        wanted.mandateSeconds = 366 days + 1;
        vm.expectRevert(
            abi.encodeWithSelector(
                ICooperativeGovernor.GovernorMandateTooLong.selector, uint40(block.timestamp + 366 days + 1), block.timestamp + 366 days
            )
        );
        _deploy(wanted);
    }

    function test_Mandate_EndsByItself() public {
        uint256 endsAt = governor.mandateEndsAt();
        vm.assertEq(endsAt, START + 180 days);
        vm.startPrank(GUARDIAN);
        vm.warp(endsAt - 1);
        governor.guardianSuspend(address(this), MODEL, uint40(endsAt));
        vm.assertEq(_suspendedUntil[MODEL], endsAt);
        vm.warp(endsAt);
        vm.expectRevert(abi.encodeWithSelector(ICooperativeGovernor.GovernorMandateEnded.selector, endsAt, endsAt));
        governor.guardianSuspend(address(this), "other", uint40(endsAt + 1));
        vm.stopPrank();
    }

    function test_GuardianSuspend_RevertWhen_ItWouldEndAtOnce() public {
        vm.startPrank(GUARDIAN);
        vm.expectPartialRevert(ICooperativeGovernor.GovernorSuspensionInvalid.selector);
        governor.guardianSuspend(address(this), MODEL, uint40(block.timestamp));
        governor.guardianSuspend(address(this), MODEL, uint40(block.timestamp + 1));
        governor.guardianSuspend(address(this), "other", uint40(block.timestamp + 1));
        vm.stopPrank();
    }

    function test_GuardianSuspend_MaySuspendAgainInTheNextMandate() public {
        vm.prank(GUARDIAN);
        governor.guardianSuspend(address(this), MODEL, uint40(block.timestamp + 1));
        bytes memory call = abi.encodeCall(ICooperativeGovernor.setGuardian, (GUARDIAN, uint40(block.timestamp + 300 days)));
        uint256 id = _propose(address(governor), call);
        _vote(id, 10, 0);
        _execute(call, id);
        vm.prank(GUARDIAN);
        governor.guardianSuspend(address(this), MODEL, uint40(block.timestamp + 14 days));
        vm.assertEq(_suspendedUntil[MODEL], block.timestamp + 14 days);
    }

    function test_GuardianCancel_OfACallThatOnlyLooksLikeItsReplacement() public {
        bytes memory call = abi.encodeCall(ICooperativeGovernor.setGuardian, (GUARDIAN, uint40(block.timestamp + 1)));
        uint256 id = _propose(address(parameters), call);
        (address[] memory targets, uint256[] memory values, bytes[] memory calldatas) = _one(address(parameters), call);
        vm.prank(GUARDIAN);
        vm.assertEq(governor.guardianCancel(targets, values, calldatas, DESCRIPTION_HASH), id);
    }

    /// What must not be stopped is the guardian's replacement alone: anything else would only need to bring one along.
    function test_GuardianCancel_OfWhatHidesBehindItsReplacement() public {
        (address[] memory targets, bytes[] memory calldatas) = (new address[](2), new bytes[](2));
        (targets[0], targets[1]) = (address(governor), address(parameters));
        calldatas[0] = abi.encodeCall(ICooperativeGovernor.setGuardian, (GUARDIAN, uint40(block.timestamp + 1)));
        calldatas[1] = abi.encodeCall(ICooperativeParameters.setRegistrar, (address(0xBAD)));
        vm.prank(vm.addr(genesisKey(0)));
        uint256 id = governor.propose(targets, new uint256[](2), calldatas, "a proposal");
        vm.prank(GUARDIAN);
        vm.assertEq(governor.guardianCancel(targets, new uint256[](2), calldatas, DESCRIPTION_HASH), id);
    }

    function test_GuardianCancel_OfAnotherCallToTheGovernor() public {
        ICooperativeGovernor.ClassRule memory rule = settings().rules[0];
        uint256 id = _proposeRule(rule);
        (address[] memory targets, uint256[] memory values, bytes[] memory calldatas) = _one(address(governor), _ruleCall(rule));
        vm.prank(GUARDIAN);
        vm.assertEq(governor.guardianCancel(targets, values, calldatas, DESCRIPTION_HASH), id);
    }

    function test_GuardianCancel_RevertWhen_EveryCallReplacesIt() public {
        (address[] memory targets, bytes[] memory calldatas) = (new address[](2), new bytes[](2));
        (targets[0], targets[1]) = (address(governor), address(governor));
        calldatas[0] = abi.encodeCall(ICooperativeGovernor.setGuardian, (address(0), 0));
        calldatas[1] = abi.encodeCall(ICooperativeGovernor.setGuardian, (address(1), uint40(block.timestamp + 1)));
        vm.prank(vm.addr(genesisKey(0)));
        uint256 id = governor.propose(targets, new uint256[](2), calldatas, "a proposal");
        vm.prank(GUARDIAN);
        vm.expectRevert(abi.encodeWithSelector(ICooperativeGovernor.GovernorGuardianConflict.selector, id));
        governor.guardianCancel(targets, new uint256[](2), calldatas, DESCRIPTION_HASH);
    }

    // Parameters

    function test_Parameters_RevertWhen_TheTimelockIsNobody() public {
        vm.expectRevert(abi.encodeWithSelector(ICooperativeParameters.ParametersAddressInvalid.selector, address(0)));
        new CooperativeParameters(address(0), 0, address(1), address(1), new string[](0));
    }

    function test_Parameters_TakeTheirBoundsAndNotAUnitMore() public {
        string[] memory names = new string[](1);
        names[0] = string(new bytes(64));
        CooperativeParameters made = new CooperativeParameters(address(this), 50_000, address(1), address(2), names);
        vm.assertEq(made.protocolFeePpm(), 50_000);
        vm.assertEq(made.purposes(), 1);
        vm.assertEq(made.purposeName(0), names[0]);
        vm.expectRevert(abi.encodeWithSelector(ICooperativeParameters.ParametersFeeTooHigh.selector, uint32(50_001), uint32(50_000)));
        made.setProtocolFee(50_001);
        vm.assertEq(made.addPurpose("x"), 1);
        vm.assertEq(made.purposeName(1), "x");
        made.setTreasury(address(3));
        made.setRegistrar(address(4));
        vm.assertEq(made.treasury(), address(3));
        vm.assertEq(made.registrar(), address(4));
    }

    // Shared

    function _deploy(ICooperativeGovernor.Settings memory wanted) private returns (CooperativeGovernor) {
        return new CooperativeGovernor(IVotes(address(membership)), timelock, address(parameters), wanted);
    }

    function _deployWith(uint32 quorumPpm, uint32 thresholdPpm) private {
        ICooperativeGovernor.Settings memory wanted = settings();
        wanted.rules[1] = ICooperativeGovernor.ClassRule({quorumPpm: quorumPpm, thresholdPpm: thresholdPpm});
        ICooperativeGovernor.ClassRule memory found = _deploy(wanted).classRule(ICooperativeGovernor.ProposalClass.Treasury);
        vm.assertEq(found.quorumPpm, quorumPpm);
        vm.assertEq(found.thresholdPpm, thresholdPpm);
    }

    function _expectRuleRefused(uint32 quorumPpm, uint32 thresholdPpm) private {
        ICooperativeGovernor.Settings memory wanted = settings();
        wanted.rules[1] = ICooperativeGovernor.ClassRule({quorumPpm: quorumPpm, thresholdPpm: thresholdPpm});
        vm.expectRevert(abi.encodeWithSelector(ICooperativeGovernor.GovernorRuleInvalid.selector, quorumPpm, thresholdPpm));
        _deploy(wanted);
    }

    function _proposeFee(uint32 feePpm) private returns (uint256) {
        return _propose(address(parameters), abi.encodeCall(ICooperativeParameters.setProtocolFee, (feePpm)));
    }

    function _proposeRule(ICooperativeGovernor.ClassRule memory rule) private returns (uint256) {
        return _propose(address(governor), _ruleCall(rule));
    }

    function _ruleCall(ICooperativeGovernor.ClassRule memory rule) private pure returns (bytes memory) {
        return abi.encodeCall(ICooperativeGovernor.setClassRule, (ICooperativeGovernor.ProposalClass.Ordinary, rule));
    }

    function _propose(address target, bytes memory call) private returns (uint256) {
        (address[] memory targets, uint256[] memory values, bytes[] memory calldatas) = _one(target, call);
        vm.prank(vm.addr(genesisKey(0)));
        return governor.propose(targets, values, calldatas, "a proposal");
    }

    function _vote(uint256 proposalId, uint256 forVotes, uint256 againstVotes) private {
        vm.warp(governor.proposalSnapshot(proposalId) + 1);
        for (uint256 i = 0; i < forVotes + againstVotes; ++i) {
            vm.prank(vm.addr(genesisKey(i)));
            governor.castVote(proposalId, i < forVotes ? 1 : 0);
        }
    }

    /// Of a call to the governor itself.
    function _execute(bytes memory call, uint256 proposalId) private {
        (address[] memory targets, uint256[] memory values, bytes[] memory calldatas) = _one(address(governor), call);
        vm.warp(governor.proposalDeadline(proposalId) + 1);
        governor.queue(targets, values, calldatas, DESCRIPTION_HASH);
        vm.warp(block.timestamp + 2 days);
        governor.execute(targets, values, calldatas, DESCRIPTION_HASH);
    }

    function _one(address target, bytes memory call)
        private
        pure
        returns (address[] memory targets, uint256[] memory values, bytes[] memory calldatas)
    {
        (targets, values, calldatas) = (new address[](1), new uint256[](1), new bytes[](1));
        (targets[0], calldatas[0]) = (target, call);
    }
}
