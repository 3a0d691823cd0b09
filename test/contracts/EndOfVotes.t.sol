// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {GovernorSettings} from "@openzeppelin/contracts/governance/extensions/GovernorSettings.sol";
import {IGovernor} from "@openzeppelin/contracts/governance/IGovernor.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {DatasetRegistry} from "../../contracts/DatasetRegistry.sol";
import {InferenceEscrow} from "../../contracts/InferenceEscrow.sol";
import {TestDollar} from "../../contracts/TestDollar.sol";
import {ICooperativeParameters} from "../../contracts/interfaces/ICooperativeParameters.sol";
import {IDatasetRegistry} from "../../contracts/interfaces/IDatasetRegistry.sol";
import {IInferenceEscrow} from "../../contracts/interfaces/IInferenceEscrow.sol";
import {CooperativeTest} from "./support/Cooperative.sol";
import {CatalogDouble} from "./support/MarketDoubles.sol";

/// docs/TRUST.md: a constitutional vote can be the last one. What people hold does not wait for another.
contract EndOfVotesTest is CooperativeTest {
    uint8 private constant FOR = 1;
    uint32 private constant THAW = 2 hours;
    uint128 private constant DEPOSIT = 10e6;

    DatasetRegistry private datasets;
    InferenceEscrow private escrow;
    TestDollar private token;
    address private person = vm.addr(genesisKey(9));
    bytes32 private datasetId;

    function setUp() public override {
        super.setUp();
        datasets = new DatasetRegistry(1 hours);
        token = new TestDollar();
        CatalogDouble catalog = new CatalogDouble();
        escrow = new InferenceEscrow(address(token), address(catalog), address(catalog), address(parameters), 1 hours);
        datasetId = _offer();
        token.mint(address(this), DEPOSIT);
        token.approve(address(escrow), DEPOSIT);
        escrow.deposit(_account(), DEPOSIT);
    }

    function test_EndOfVotes_ADelayThatNoClockReachesIsTheLastDecision() public {
        _decide(address(governor), abi.encodeCall(GovernorSettings.setVotingDelay, (type(uint48).max)));
        (address[] memory targets, bytes[] memory calldatas) = _next();
        vm.expectRevert(abi.encodeWithSelector(SafeCast.SafeCastOverflowedUintDowncast.selector, 48, block.timestamp + type(uint48).max));
        _propose(targets, calldatas);
        _expectRightsUnimpaired();
    }

    function test_EndOfVotes_ADelayOfACenturyIsKeptToTheSecond() public {
        _decide(address(governor), abi.encodeCall(GovernorSettings.setVotingDelay, (36_525 days)));
        (address[] memory targets, bytes[] memory calldatas) = _next();
        uint256 proposalId = _propose(targets, calldatas);
        vm.assertEq(governor.proposalSnapshot(proposalId), block.timestamp + 36_525 days);
        vm.warp(block.timestamp + 36_525 days);
        vm.assertTrue(governor.state(proposalId) == IGovernor.ProposalState.Pending);
        _expectRightsUnimpaired();
    }

    /// One member, one vote: two are more than anybody has.
    function test_EndOfVotes_AThresholdAboveOneVoteLeavesNoProposer() public {
        _decide(address(governor), abi.encodeCall(GovernorSettings.setProposalThreshold, (2)));
        (address[] memory targets, bytes[] memory calldatas) = _next();
        vm.expectRevert(abi.encodeWithSelector(IGovernor.GovernorInsufficientProposerVotes.selector, vm.addr(genesisKey(0)), 1, 2));
        _propose(targets, calldatas);
        _expectRightsUnimpaired();
    }

    function test_EndOfVotes_ATimelockMayWaitForEver() public {
        _decide(address(timelock), abi.encodeCall(TimelockController.updateDelay, (type(uint256).max)));
        (address[] memory targets, bytes[] memory calldatas) = _next();
        _win(targets, calldatas);
        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", 0x11));
        governor.queue(targets, new uint256[](1), calldatas, keccak256("end"));
        _expectRightsUnimpaired();
    }

    /// While there is a guardian, the last decision can be stopped until it is executed.
    function test_EndOfVotes_AGuardianMayCancelIt() public {
        (address[] memory targets, bytes[] memory calldatas) = (new address[](1), new bytes[](1));
        (targets[0], calldatas[0]) = (address(governor), abi.encodeCall(GovernorSettings.setVotingDelay, (type(uint48).max)));
        uint256 proposalId = _win(targets, calldatas);
        governor.queue(targets, new uint256[](1), calldatas, keccak256("end"));
        vm.prank(GUARDIAN);
        governor.guardianCancel(targets, new uint256[](1), calldatas, keccak256("end"));
        vm.assertTrue(governor.state(proposalId) == IGovernor.ProposalState.Canceled);
        vm.assertEq(governor.votingDelay(), 1 days);
    }

    /// Consent, money and membership, each as if nobody had voted.
    function _expectRightsUnimpaired() private {
        uint40 now_ = uint40(block.timestamp);
        vm.startPrank(person);
        datasets.withdraw(datasetId);
        vm.assertEq(datasets.trainEnd(datasetId), now_);
        escrow.startThaw(_account(), DEPOSIT);
        vm.warp(block.timestamp + THAW);
        vm.assertEq(escrow.withdraw(_account(), person), DEPOSIT);
        vm.assertEq(token.balanceOf(person), DEPOSIT);
        membership.leave();
        vm.stopPrank();
        vm.assertEq(membership.getVotes(person), 0);
        // Joining asks the registrar that was named last.
        join(0xBEEF, "another person");
        vm.assertTrue(membership.memberIdOf(vm.addr(0xBEEF)) != 0);
    }

    function _offer() private returns (bytes32) {
        IDatasetRegistry.Terms memory terms;
        terms.validUntil = type(uint40).max;
        (terms.purposes, terms.jurisdictions) = (1, 1);
        bytes32 termsHash = datasets.storeTerms(terms);
        vm.prank(person);
        return datasets.register(
            IDatasetRegistry.Registration({
                owner: person, commitment: "commitment", termsHash: termsHash, salt: "salt", isPool: false, recovery: address(0)
            })
        );
    }

    function _account() private view returns (IInferenceEscrow.Account memory) {
        return IInferenceEscrow.Account({payer: person, collector: address(0xC0), thawSeconds: THAW, salt: "salt"});
    }

    /// Any decision after the last one.
    function _next() private view returns (address[] memory targets, bytes[] memory calldatas) {
        (targets, calldatas) = (new address[](1), new bytes[](1));
        (targets[0], calldatas[0]) = (address(parameters), abi.encodeCall(ICooperativeParameters.setProtocolFee, (0)));
    }

    function _decide(address target, bytes memory call) private {
        (address[] memory targets, bytes[] memory calldatas) = (new address[](1), new bytes[](1));
        (targets[0], calldatas[0]) = (target, call);
        _win(targets, calldatas);
        governor.queue(targets, new uint256[](1), calldatas, keccak256("end"));
        vm.warp(block.timestamp + 2 days);
        governor.execute(targets, new uint256[](1), calldatas, keccak256("end"));
    }

    function _win(address[] memory targets, bytes[] memory calldatas) private returns (uint256 proposalId) {
        proposalId = _propose(targets, calldatas);
        vm.warp(governor.proposalSnapshot(proposalId) + 1);
        for (uint256 i = 0; i < GENESIS; ++i) {
            vm.prank(vm.addr(genesisKey(i)));
            governor.castVote(proposalId, FOR);
        }
        vm.warp(governor.proposalDeadline(proposalId) + 1);
    }

    function _propose(address[] memory targets, bytes[] memory calldatas) private returns (uint256) {
        vm.prank(vm.addr(genesisKey(0)));
        return governor.propose(targets, new uint256[](1), calldatas, "end");
    }
}
