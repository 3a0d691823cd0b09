// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IGovernor} from "@openzeppelin/contracts/governance/IGovernor.sol";
import {IVotes} from "@openzeppelin/contracts/governance/utils/IVotes.sol";
import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {CooperativeGovernor} from "../../contracts/CooperativeGovernor.sol";
import {TestDollar} from "../../contracts/TestDollar.sol";
import {ICooperativeGovernor} from "../../contracts/interfaces/ICooperativeGovernor.sol";
import {ICooperativeParameters} from "../../contracts/interfaces/ICooperativeParameters.sol";
import {CooperativeTest} from "./support/Cooperative.sol";

/// docs/SUCCESSION.md: what a vote can hand to a successor, there being no proxies.
contract SuccessionTest is CooperativeTest {
    uint8 private constant FOR = 1;
    CooperativeGovernor private successor;
    TestDollar private token;

    function setUp() public override {
        super.setUp();
        successor = new CooperativeGovernor(IVotes(address(membership)), timelock, address(parameters), settings());
        token = new TestDollar();
        token.mint(address(timelock), 500);
    }

    function test_Succession_AVoteHandsTheTimelockToANewGovernor() public {
        _expectPowerless(successor);
        _handOver();

        _expectPowerless(governor);
        _decideFee(successor, 20_000);
        vm.assertEq(parameters.protocolFeePpm(), 20_000);
        vm.prank(vm.addr(genesisKey(9)));
        membership.leave();
    }

    /// Nobody can replace it any more once its governor decides nothing: that must be voted on first.
    function test_Succession_TheOldGuardianStaysUntilItsMandateEnds() public {
        _handOver();
        (address[] memory targets, bytes[] memory calldatas) = (new address[](1), new bytes[](1));
        (targets[0], calldatas[0]) = (address(governor), abi.encodeCall(ICooperativeGovernor.setGuardian, (address(0), 0)));
        _win(successor, targets, calldatas);
        successor.queue(targets, new uint256[](1), calldatas, keccak256("succession"));
        vm.warp(block.timestamp + 2 days);
        vm.expectRevert();
        successor.execute(targets, new uint256[](1), calldatas, keccak256("succession"));
        vm.assertEq(governor.guardian(), GUARDIAN);
        vm.assertEq(governor.mandateEndsAt(), START + 180 days);
    }

    function _handOver() private {
        (bytes32 proposer, bytes32 canceller) = (timelock.PROPOSER_ROLE(), timelock.CANCELLER_ROLE());
        (address[] memory targets, bytes[] memory calldatas) = (new address[](4), new bytes[](4));
        for (uint256 i = 0; i < 4; ++i) targets[i] = address(timelock);
        calldatas[0] = abi.encodeCall(IAccessControl.grantRole, (proposer, address(successor)));
        calldatas[1] = abi.encodeCall(IAccessControl.grantRole, (canceller, address(successor)));
        calldatas[2] = abi.encodeCall(IAccessControl.revokeRole, (proposer, address(governor)));
        calldatas[3] = abi.encodeCall(IAccessControl.revokeRole, (canceller, address(governor)));
        _decide(governor, targets, calldatas);
    }

    function test_Succession_AVoteMovesTheTreasury() public {
        (address[] memory targets, bytes[] memory calldatas) = (new address[](2), new bytes[](2));
        (targets[0], targets[1]) = (address(token), address(parameters));
        calldatas[0] = abi.encodeCall(IERC20.transfer, (address(0x7EA), 500));
        calldatas[1] = abi.encodeCall(ICooperativeParameters.setTreasury, (address(0x7EA)));
        _decide(governor, targets, calldatas);
        vm.assertEq(token.balanceOf(address(0x7EA)), 500);
        vm.assertEq(parameters.treasury(), address(0x7EA));
    }

    /// Its proposals win votes, and then nothing comes of it.
    function _expectPowerless(CooperativeGovernor without) private {
        (address[] memory targets, bytes[] memory calldatas) = _fee(15_000);
        _win(without, targets, calldatas);
        vm.expectPartialRevert(IAccessControl.AccessControlUnauthorizedAccount.selector);
        without.queue(targets, new uint256[](1), calldatas, keccak256("succession"));
    }

    function _decideFee(CooperativeGovernor by, uint32 feePpm) private {
        (address[] memory targets, bytes[] memory calldatas) = _fee(feePpm);
        _decide(by, targets, calldatas);
    }

    function _fee(uint32 feePpm) private view returns (address[] memory targets, bytes[] memory calldatas) {
        (targets, calldatas) = (new address[](1), new bytes[](1));
        (targets[0], calldatas[0]) = (address(parameters), abi.encodeCall(ICooperativeParameters.setProtocolFee, (feePpm)));
    }

    function _decide(CooperativeGovernor by, address[] memory targets, bytes[] memory calldatas) private {
        _win(by, targets, calldatas);
        uint256[] memory values = new uint256[](targets.length);
        by.queue(targets, values, calldatas, keccak256("succession"));
        vm.warp(block.timestamp + 2 days);
        by.execute(targets, values, calldatas, keccak256("succession"));
    }

    function _win(CooperativeGovernor by, address[] memory targets, bytes[] memory calldatas) private {
        vm.prank(vm.addr(genesisKey(0)));
        uint256 proposalId = by.propose(targets, new uint256[](targets.length), calldatas, "succession");
        vm.warp(by.proposalSnapshot(proposalId) + 1);
        for (uint256 i = 0; i < GENESIS; ++i) {
            vm.prank(vm.addr(genesisKey(i)));
            by.castVote(proposalId, FOR);
        }
        vm.warp(by.proposalDeadline(proposalId) + 1);
        vm.assertTrue(by.state(proposalId) == IGovernor.ProposalState.Succeeded);
    }
}
