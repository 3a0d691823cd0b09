// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IMembership} from "../../../contracts/interfaces/IMembership.sol";
import {WalletDouble} from "../support/MarketDoubles.sol";
import {CooperativeTest} from "../support/Cooperative.sol";
import {SignatureAttacks} from "../support/SignatureAttacks.sol";

contract MembershipSignaturesTest is CooperativeTest, SignatureAttacks {
    uint256 private constant APPLY = 0;
    uint256 private constant ADMIT = 1;
    uint256 private constant VOUCH = 2;
    uint256 private constant LEAVE = 3;
    uint256 private constant START_ROTATION = 4;
    uint256 private constant CANCEL_ROTATION = 5;
    uint256 private constant ACCEPT_ROTATION = 6;

    uint256 private constant NEWCOMER = 0xA11CE;
    uint256 private constant NEW_KEY = 0xB0B;
    uint256 private constant MEMBER = 5;
    uint256 private constant DEADLINE = START + 1 days;
    string private constant ROTATION_TYPE = "StartRotation(uint256 memberId,address newKey,uint256 nonce,uint256 deadline)";
    string private constant CANCEL_TYPE = "CancelRotation(uint256 memberId,address newKey,uint40 rotatesAt)";

    address private member = vm.addr(genesisKey(MEMBER - 1));
    address private newKey = vm.addr(NEW_KEY);
    uint40 private rotatesAt;

    function _count() internal pure override returns (uint256) {
        return 7;
    }

    function _prepare(uint256 index) internal override returns (Act memory act) {
        act.verifier = address(membership);
        act.domain = "Membership";
        act.key = genesisKey(MEMBER - 1);
        act.refusal = IMembership.MembershipSignatureInvalid.selector;
        if (index <= VOUCH) return _joining(index, act);
        if (index == LEAVE) {
            (act.name, act.idempotent) = ("leaveBySig", true);
            act.words = _words("Leave(uint256 memberId)", abi.encode(MEMBER));
        } else if (index == START_ROTATION) {
            (act.name, act.deadline, act.expiry) = ("startRotationBySig", DEADLINE, IMembership.MembershipSignatureExpired.selector);
            act.words = _words(ROTATION_TYPE, abi.encode(MEMBER, newKey, 0, DEADLINE));
        } else {
            vm.prank(member);
            membership.startRotation(newKey);
            rotatesAt = membership.member(MEMBER).rotatesAt;
            if (index == CANCEL_ROTATION) {
                (act.name, act.idempotent) = ("cancelRotationBySig", true);
                act.words = _words(CANCEL_TYPE, abi.encode(MEMBER, newKey, rotatesAt));
            } else {
                vm.warp(rotatesAt);
                (act.name, act.key) = ("finishRotation", NEW_KEY);
                act.words = _words("AcceptRotation(uint256 memberId,address newKey)", abi.encode(MEMBER, newKey));
            }
        }
    }

    /// One admission carries five signatures; each is attacked while the other four are good.
    function _joining(uint256 index, Act memory act) private pure returns (Act memory) {
        (act.deadline, act.expiry) = (DEADLINE, IMembership.MembershipSignatureExpired.selector);
        string[3] memory types = ["Application", "Admission", "Vouch"];
        uint256[3] memory keys = [NEWCOMER, REGISTRAR_KEY, genesisKey(2)];
        (act.name, act.key) = (types[index], keys[index]);
        if (index == VOUCH) act.refusal = IMembership.MembershipVouchInvalid.selector;
        act.words = _words(string.concat(types[index], "(address account,bytes32 nullifier,uint256 deadline)"), abi.encode(_application()));
        return act;
    }

    function _application() private pure returns (IMembership.Application memory) {
        return IMembership.Application({account: vm.addr(NEWCOMER), nullifier: "one person", deadline: DEADLINE});
    }

    function _encode(uint256 index, bytes memory signature) internal view override returns (bytes memory) {
        if (index == LEAVE) return abi.encodeCall(IMembership.leaveBySig, (member, signature));
        if (index == START_ROTATION) return abi.encodeCall(IMembership.startRotationBySig, (MEMBER, newKey, DEADLINE, signature));
        if (index == CANCEL_ROTATION) return abi.encodeCall(IMembership.cancelRotationBySig, (MEMBER, newKey, rotatesAt, signature));
        if (index == ACCEPT_ROTATION) return abi.encodeCall(IMembership.finishRotation, (MEMBER, signature));
        IMembership.Application memory a = _application();
        IMembership.Vouch[] memory vouches = vouchesFor(a);
        if (index == VOUCH) vouches[2].signature = signature;
        bytes memory applicant = index == APPLY ? signature : signApplication(NEWCOMER, a);
        return abi.encodeCall(IMembership.join, (a, applicant, index == ADMIT ? signature : signAdmission(REGISTRAR_KEY, a), vouches));
    }

    function _state(uint256) internal view override returns (bytes32) {
        uint256 joined = membership.memberIdOf(vm.addr(NEWCOMER));
        return keccak256(
            abi.encode(membership.members(), joined, membership.member(MEMBER), membership.memberIdOf(newKey), membership.memberIdOf(member))
        );
    }

    /// What a thief of an old signature could do with it: nothing, the rotation stays cancelled.
    function test_StartRotationBySig_StaysCancelledWhenItIsReplayed() public {
        bytes memory signature = _signWith(genesisKey(MEMBER - 1), _prepare(START_ROTATION));
        membership.startRotationBySig(MEMBER, newKey, DEADLINE, signature);
        vm.prank(member);
        membership.cancelRotation();
        vm.expectRevert(abi.encodeWithSelector(IMembership.MembershipSignatureInvalid.selector, member));
        membership.startRotationBySig(MEMBER, newKey, DEADLINE, signature);
        vm.assertEq(membership.member(MEMBER).pendingKey, address(0));
    }

    /// What the member does itself, with nothing or another rotation pending, is the next act too.
    function test_StartRotationBySig_HeldBackDiesWithADirectAct() public {
        bytes memory heldBack = _signWith(genesisKey(MEMBER - 1), _prepare(START_ROTATION));
        uint256 before = vm.snapshotState();
        vm.prank(member);
        membership.startRotation(address(0xFEED));
        vm.expectRevert(abi.encodeWithSelector(IMembership.MembershipSignatureInvalid.selector, member));
        membership.startRotationBySig(MEMBER, newKey, DEADLINE, heldBack);
        vm.assertEq(membership.member(MEMBER).pendingKey, address(0xFEED));
        vm.revertToState(before);
        vm.prank(member);
        membership.cancelRotation();
        vm.expectRevert(abi.encodeWithSelector(IMembership.MembershipSignatureInvalid.selector, member));
        membership.startRotationBySig(MEMBER, newKey, DEADLINE, heldBack);
    }

    /// A cancellation that was once signed must not stop the member's later rotations for ever.
    function test_CancelRotationBySig_StopsNoOtherRotation() public {
        bytes memory signature = _signWith(genesisKey(MEMBER - 1), _prepare(CANCEL_ROTATION));
        membership.cancelRotationBySig(MEMBER, newKey, rotatesAt, signature);
        vm.warp(block.timestamp + 1);
        vm.prank(member);
        membership.startRotation(newKey);
        uint40 later = membership.member(MEMBER).rotatesAt;
        vm.expectRevert(abi.encodeWithSelector(IMembership.MembershipOtherRotation.selector, MEMBER, newKey, later));
        membership.cancelRotationBySig(MEMBER, newKey, rotatesAt, signature);
        vm.assertEq(membership.member(MEMBER).rotatesAt, later);
    }

    /// Nor the one that took its place in the same second, and is due in the same.
    function test_CancelRotationBySig_StopsNoOtherRotationOfTheSameSecond() public {
        bytes memory signature = _signWith(genesisKey(MEMBER - 1), _prepare(CANCEL_ROTATION));
        vm.prank(member);
        membership.startRotation(address(0xFEED));
        vm.expectRevert(abi.encodeWithSelector(IMembership.MembershipOtherRotation.selector, MEMBER, address(0xFEED), rotatesAt));
        membership.cancelRotationBySig(MEMBER, newKey, rotatesAt, signature);
        vm.assertEq(membership.member(MEMBER).pendingKey, address(0xFEED));
    }

    function test_RotationBySig_IsThePresentKeysAct() public {
        Act memory act = _prepare(ACCEPT_ROTATION);
        membership.finishRotation(MEMBER, _signWith(NEW_KEY, act));
        act.words = _words(ROTATION_TYPE, abi.encode(MEMBER, address(0xFEED), 0, DEADLINE + ROTATION));
        bytes memory byOldKey = _signWith(genesisKey(MEMBER - 1), act);
        vm.expectRevert(abi.encodeWithSelector(IMembership.MembershipSignatureInvalid.selector, newKey));
        membership.startRotationBySig(MEMBER, address(0xFEED), DEADLINE + ROTATION, byOldKey);
        membership.startRotationBySig(MEMBER, address(0xFEED), DEADLINE + ROTATION, _signWith(NEW_KEY, act));
        vm.assertEq(membership.member(MEMBER).pendingKey, address(0xFEED));
    }

    /// ERC-1271 through a whole life: a wallet joins, rotates its vote to another wallet, and that one leaves.
    function test_ContractWallets_JoinRotateAndLeave() public {
        address wallet = address(new WalletDouble(vm.addr(NEWCOMER)));
        address next = address(new WalletDouble(vm.addr(NEW_KEY)));
        IMembership.Application memory a = IMembership.Application({account: wallet, nullifier: "wallet", deadline: DEADLINE});
        uint256 memberId = membership.join(a, signApplication(NEWCOMER, a), signAdmission(REGISTRAR_KEY, a), vouchesFor(a));
        vm.warp(block.timestamp + PROBATION);
        membership.activate(memberId);
        vm.assertEq(membership.getVotes(wallet), 1);

        Act memory act = _prepare(START_ROTATION);
        uint256 deadline = block.timestamp;
        act.words = _words(ROTATION_TYPE, abi.encode(memberId, next, 0, deadline));
        membership.startRotationBySig(memberId, next, deadline, _signWith(NEWCOMER, act));
        vm.warp(block.timestamp + ROTATION);
        act.words = _words("AcceptRotation(uint256 memberId,address newKey)", abi.encode(memberId, next));
        membership.finishRotation(memberId, _signWith(NEW_KEY, act));
        vm.assertEq(membership.getVotes(next), 1);
        act.words = _words("Leave(uint256 memberId)", abi.encode(memberId));
        bytes memory signature = _signWith(NEW_KEY, act);
        WalletDouble(next).setWilling(false);
        vm.expectRevert(abi.encodeWithSelector(IMembership.MembershipSignatureInvalid.selector, next));
        membership.leaveBySig(next, signature);
        WalletDouble(next).setWilling(true);
        membership.leaveBySig(next, signature);
        vm.assertTrue(membership.member(memberId).left);
    }
}
