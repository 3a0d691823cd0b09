// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IMembership} from "../../contracts/interfaces/IMembership.sol";
import {Messages} from "../../contracts/libraries/Messages.sol";
import {CooperativeTest} from "./support/Cooperative.sol";

contract MembershipTest is CooperativeTest {
    uint256 private constant NEWCOMER = 0xA11CE;
    uint256 private constant NEW_KEY = 0xB0B;
    bytes32 private constant NULLIFIER = keccak256("one person");

    function test_Genesis_HasVotesAtOnce() public view {
        vm.assertEq(membership.members(), GENESIS);
        for (uint256 i = 0; i < GENESIS; ++i) vm.assertEq(membership.getVotes(vm.addr(genesisKey(i))), 1);
        vm.assertEq(membership.getPastTotalSupply(START), GENESIS);
    }

    function test_Join_GivesNoVoteBeforeProbationEnds() public {
        uint256 memberId = join(NEWCOMER, NULLIFIER);
        vm.assertEq(membership.ownerOf(memberId), vm.addr(NEWCOMER));
        vm.assertEq(membership.getVotes(vm.addr(NEWCOMER)), 0);

        vm.expectPartialRevert(IMembership.MembershipOnProbation.selector);
        membership.activate(memberId);

        vm.warp(block.timestamp + PROBATION);
        membership.activate(memberId);
        membership.activate(memberId);
        vm.assertEq(membership.getVotes(vm.addr(NEWCOMER)), 1);
    }

    function test_Join_RevertWhen_NullifierWasUsed() public {
        uint256 memberId = join(NEWCOMER, NULLIFIER);
        _expectJoinRefused(NEW_KEY, NULLIFIER, abi.encodeWithSelector(IMembership.MembershipNullifierUsed.selector, NULLIFIER));

        vm.prank(vm.addr(NEWCOMER));
        membership.leave();
        vm.assertTrue(membership.member(memberId).left);
        _expectJoinRefused(NEW_KEY, NULLIFIER, abi.encodeWithSelector(IMembership.MembershipNullifierUsed.selector, NULLIFIER));
    }

    function test_Join_RevertWhen_AccountIsTaken() public {
        join(NEWCOMER, NULLIFIER);
        _expectJoinRefused(NEWCOMER, keccak256("other"), abi.encodeWithSelector(IMembership.MembershipAccountTaken.selector, vm.addr(NEWCOMER)));
    }

    function test_Join_RevertWhen_ApplicantOrRegistrarDidNotSign() public {
        IMembership.Application memory a = applicationOf(NEWCOMER, NULLIFIER);
        bytes memory applicant = signApplication(NEWCOMER, a);
        bytes memory registrar = signAdmission(REGISTRAR_KEY, a);
        IMembership.Vouch[] memory vouches = vouchesFor(a);

        vm.expectRevert(abi.encodeWithSelector(IMembership.MembershipSignatureInvalid.selector, a.account));
        membership.join(a, registrar, registrar, vouches);
        vm.expectRevert(abi.encodeWithSelector(IMembership.MembershipSignatureInvalid.selector, vm.addr(REGISTRAR_KEY)));
        membership.join(a, applicant, applicant, vouches);
    }

    function test_Join_RevertWhen_VouchesAreFewRepeatedOrByProbationers() public {
        IMembership.Application memory a = applicationOf(NEWCOMER, NULLIFIER);
        uint256 probationer = 0xD00D;
        join(probationer, keccak256("probationer"));

        IMembership.Vouch[] memory two = new IMembership.Vouch[](2);
        (two[0], two[1]) = (vouchBy(genesisKey(0), a), vouchBy(genesisKey(1), a));
        _expectVouchesRefused(a, two, abi.encodeWithSelector(IMembership.MembershipVouchesTooFew.selector, 2, 3));

        IMembership.Vouch[] memory vouches = vouchesFor(a);
        vouches[2] = vouches[0];
        _expectVouchesRefused(a, vouches, abi.encodeWithSelector(IMembership.MembershipVouchInvalid.selector, vouches[0].voucher));
        vouches[2] = vouchBy(probationer, a);
        _expectVouchesRefused(a, vouches, abi.encodeWithSelector(IMembership.MembershipVouchInvalid.selector, vm.addr(probationer)));
        vouches[2] = vouchBy(genesisKey(2), a);
        vouches[2].signature = vouches[1].signature;
        _expectVouchesRefused(a, vouches, abi.encodeWithSelector(IMembership.MembershipVouchInvalid.selector, vm.addr(genesisKey(2))));
    }

    function test_Join_RevertWhen_Expired() public {
        IMembership.Application memory a = applicationOf(NEWCOMER, NULLIFIER);
        (bytes memory applicant, bytes memory registrar) = (signApplication(NEWCOMER, a), signAdmission(REGISTRAR_KEY, a));
        IMembership.Vouch[] memory vouches = vouchesFor(a);
        vm.warp(a.deadline + 1);
        vm.expectPartialRevert(IMembership.MembershipSignatureExpired.selector);
        membership.join(a, applicant, registrar, vouches);
    }

    function testFuzz_Join_NeverExceedsTheLimitInAnyWindow(uint32[12] memory gaps) public {
        uint256[] memory joinedAt = new uint256[](gaps.length);
        uint256 joined;
        for (uint256 i = 0; i < gaps.length; ++i) {
            vm.warp(block.timestamp + (gaps[i] % 12 days));
            bool full = joined >= FLOOR && joinedAt[joined - FLOOR] + WINDOW > block.timestamp;
            if (full) _expectJoinRefused(0x9000 + i, bytes32(i), abi.encodeWithSelector(IMembership.MembershipGrowthExceeded.selector, FLOOR, FLOOR));
            else join(0x9000 + i, bytes32(i));
            if (!full) joinedAt[joined++] = block.timestamp;
        }
        vm.assertEq(membership.members(), GENESIS + joined);
    }

    function testFuzz_Transfer_IsImpossible(address from, address to, uint256 index) public {
        uint256 memberId = 1 + (index % GENESIS);
        address holder = membership.ownerOf(memberId);
        bytes memory soulbound = abi.encodeWithSelector(IMembership.MembershipSoulbound.selector, memberId);
        vm.assume(to != address(0));
        vm.startPrank(holder);
        vm.expectRevert(soulbound);
        membership.approve(to, memberId);
        vm.expectPartialRevert(IMembership.MembershipSoulbound.selector);
        membership.setApprovalForAll(to, true);
        vm.expectRevert(soulbound);
        membership.transferFrom(holder, to, memberId);
        vm.expectRevert(soulbound);
        membership.safeTransferFrom(holder, to, memberId);
        vm.expectRevert(soulbound);
        membership.safeTransferFrom(from, to, memberId, "");
        vm.stopPrank();
        vm.assertTrue(membership.locked(memberId));
        vm.assertTrue(membership.supportsInterface(0xb45a3c0e));
    }

    function test_Delegate_IsImpossible() public {
        address holder = vm.addr(genesisKey(0));
        vm.prank(holder);
        vm.expectRevert(abi.encodeWithSelector(IMembership.MembershipVotesNotDelegable.selector, holder));
        membership.delegate(vm.addr(genesisKey(1)));
        vm.expectPartialRevert(IMembership.MembershipVotesNotDelegable.selector);
        membership.delegateBySig(holder, 0, block.timestamp, 27, bytes32(0), bytes32(0));
    }

    function test_Leave_WorksFromEveryStateAndTwice() public {
        uint256 probationer = join(NEWCOMER, NULLIFIER);
        vm.prank(vm.addr(NEWCOMER));
        membership.startRotation(vm.addr(NEW_KEY));
        _leaveTwice(NEWCOMER, probationer);
        _leaveTwice(genesisKey(4), 5);
        vm.assertEq(membership.members(), GENESIS - 1);
        vm.assertEq(membership.getVotes(vm.addr(genesisKey(4))), 0);
        vm.warp(block.timestamp + 1);
        vm.assertEq(membership.getPastTotalSupply(block.timestamp - 1), GENESIS - 1);
    }

    function test_LeaveBySig_WorksForeverAndOnlyForItsSigner() public {
        bytes memory signature = sign(genesisKey(6), Messages.hashLeave(7));
        vm.expectRevert(abi.encodeWithSelector(IMembership.MembershipSignatureInvalid.selector, vm.addr(genesisKey(5))));
        membership.leaveBySig(vm.addr(genesisKey(5)), signature);

        vm.warp(block.timestamp + 3650 days);
        membership.leaveBySig(vm.addr(genesisKey(6)), signature);
        membership.leaveBySig(vm.addr(genesisKey(6)), signature);
        vm.assertTrue(membership.member(7).left);
    }

    function test_Leave_RevertWhen_NeverAMember() public {
        vm.expectRevert(abi.encodeWithSelector(IMembership.MembershipNotMember.selector, address(this)));
        membership.leave();
    }

    function test_Rotate_MovesTheVoteAfterTheDelay() public {
        address from = vm.addr(genesisKey(0));
        address to = vm.addr(NEW_KEY);
        vm.prank(from);
        membership.startRotation(to);
        bytes memory signature = sign(NEW_KEY, Messages.hashAcceptRotation(1, to));
        vm.expectPartialRevert(IMembership.MembershipRotationNotDue.selector);
        membership.finishRotation(1, signature);

        vm.warp(block.timestamp + ROTATION);
        bytes memory byOldKey = sign(genesisKey(0), Messages.hashAcceptRotation(1, to));
        vm.expectRevert(abi.encodeWithSelector(IMembership.MembershipSignatureInvalid.selector, to));
        membership.finishRotation(1, byOldKey);
        membership.finishRotation(1, signature);

        vm.assertEq(membership.ownerOf(1), to);
        vm.assertEq(membership.getVotes(from), 0);
        vm.assertEq(membership.getVotes(to), 1);
        vm.assertEq(membership.memberIdOf(from), 0);
        vm.warp(block.timestamp + 1);
        vm.assertEq(membership.getPastVotes(from, block.timestamp - 2), 1);
        vm.assertEq(membership.getPastVotes(to, block.timestamp - 2), 0);
        vm.assertEq(membership.getPastTotalSupply(block.timestamp - 1), GENESIS);
    }

    function test_Rotate_OldKeyMayCancel() public {
        vm.startPrank(vm.addr(genesisKey(0)));
        membership.startRotation(vm.addr(NEW_KEY));
        membership.cancelRotation();
        membership.cancelRotation();
        vm.stopPrank();
        vm.warp(block.timestamp + ROTATION);
        bytes memory signature = sign(NEW_KEY, Messages.hashAcceptRotation(1, vm.addr(NEW_KEY)));
        vm.expectPartialRevert(IMembership.MembershipRotationNotDue.selector);
        membership.finishRotation(1, signature);
    }

    function test_Rotate_RevertWhen_NewKeyBelongsToAMember() public {
        vm.prank(vm.addr(genesisKey(0)));
        vm.expectRevert(abi.encodeWithSelector(IMembership.MembershipAccountTaken.selector, vm.addr(genesisKey(1))));
        membership.startRotation(vm.addr(genesisKey(1)));
    }

    function _leaveTwice(uint256 key, uint256 memberId) private {
        vm.startPrank(vm.addr(key));
        membership.leave();
        membership.leave();
        vm.stopPrank();
        vm.assertTrue(membership.member(memberId).left);
        vm.assertEq(membership.member(memberId).pendingKey, address(0));
        vm.assertEq(membership.balanceOf(vm.addr(key)), 0);
    }

    function _expectJoinRefused(uint256 key, bytes32 nullifier, bytes memory refusal) private {
        IMembership.Application memory a = applicationOf(key, nullifier);
        (bytes memory applicant, bytes memory registrar) = (signApplication(key, a), signAdmission(REGISTRAR_KEY, a));
        IMembership.Vouch[] memory vouches = vouchesFor(a);
        vm.expectRevert(refusal);
        membership.join(a, applicant, registrar, vouches);
    }

    function _expectVouchesRefused(IMembership.Application memory a, IMembership.Vouch[] memory vouches, bytes memory refusal) private {
        (bytes memory applicant, bytes memory registrar) = (signApplication(NEWCOMER, a), signAdmission(REGISTRAR_KEY, a));
        vm.expectRevert(refusal);
        membership.join(a, applicant, registrar, vouches);
    }
}
