// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IERC721Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IMembership} from "../../contracts/interfaces/IMembership.sol";
import {Messages} from "../../contracts/libraries/Messages.sol";
import {Membership} from "../../contracts/Membership.sol";
import {CooperativeTest} from "./support/Cooperative.sol";

/// Delays at their last second, limits at their last member, and what the constructor refuses.
contract MembershipBoundariesTest is CooperativeTest {
    uint256 private constant NEWCOMER = 0xA11CE;
    uint256 private constant NEW_KEY = 0xB0B;

    // Deploy

    function test_Constructor_RevertWhen_TheParametersAreNoContract() public {
        vm.expectRevert(abi.encodeWithSelector(IMembership.MembershipAccountInvalid.selector, address(0xDEAD)));
        new Membership(address(0xDEAD), new address[](0), PROBATION, WINDOW, FLOOR, 50_000, ROTATION);
    }

    function test_Constructor_TakesParametersOfAnyCode() public {
        vm.etch(address(0xDEAD), hex"00");
        Membership made = new Membership(address(0xDEAD), _founders(1), PROBATION, WINDOW, FLOOR, 50_000, ROTATION);
        vm.assertEq(address(made.PARAMETERS()), address(0xDEAD));
    }

    function test_Constructor_LetsFoundersVouchAndVoteFromThatSecondOn() public view {
        for (uint256 memberId = 1; memberId <= GENESIS; ++memberId) {
            vm.assertEq(membership.member(memberId).joinedAt, START);
            vm.assertEq(membership.member(memberId).activeAt, START);
            vm.assertTrue(membership.member(memberId).votes);
        }
    }

    function test_Constructor_RevertWhen_ASettingIsOutOfBounds() public {
        _expectSettingRefused();
        new Membership(address(parameters), new address[](0), PROBATION, 0, FLOOR, 50_000, ROTATION);
        _expectSettingRefused();
        new Membership(address(parameters), new address[](0), PROBATION, WINDOW, 0, 50_000, ROTATION);
        _expectSettingRefused();
        new Membership(address(parameters), new address[](0), PROBATION, WINDOW, FLOOR, 1_000_001, ROTATION);
        _expectSettingRefused();
        new Membership(address(parameters), _founders(257), PROBATION, WINDOW, FLOOR, 50_000, ROTATION);
    }

    function test_Constructor_TakesEverySettingAtItsBound() public {
        Membership made = new Membership(address(parameters), _founders(256), 0, 1, 1, 1_000_000, 0);
        vm.assertEq(made.members(), 256);
        vm.assertEq(made.GROWTH_WINDOW_SECONDS(), 1);
        vm.assertEq(made.GROWTH_FLOOR(), 1);
        vm.assertEq(made.GROWTH_PPM(), 1_000_000);
        vm.assertEq(membership.PROBATION_SECONDS(), PROBATION);
        vm.assertEq(membership.ROTATION_SECONDS(), ROTATION);
        vm.assertEq(address(membership.PARAMETERS()), address(parameters));
    }

    // Join

    function test_Join_WorksInTheLastSecondOfItsDeadline() public {
        IMembership.Application memory a = applicationOf(NEWCOMER, "newcomer");
        (bytes memory applicant, bytes memory registrar) = (signApplication(NEWCOMER, a), signAdmission(REGISTRAR_KEY, a));
        IMembership.Vouch[] memory vouches = vouchesFor(a);
        vm.warp(a.deadline);
        uint256 memberId = membership.join(a, applicant, registrar, vouches);
        IMembership.Member memory found = membership.member(memberId);
        vm.assertEq(found.joinedAt, a.deadline);
        vm.assertEq(found.activeAt, a.deadline + PROBATION);
        vm.assertEq(found.nullifier, bytes32("newcomer"));
        vm.assertEq(membership.memberIdOf(a.account), memberId);
        vm.assertEq(memberId, GENESIS + 1);
    }

    function test_Activate_WorksFromTheLastSecondOfProbationOn() public {
        uint256 memberId = join(NEWCOMER, "newcomer");
        uint256 activeAt = block.timestamp + PROBATION;
        vm.warp(activeAt - 1);
        vm.expectRevert(abi.encodeWithSelector(IMembership.MembershipOnProbation.selector, memberId, activeAt));
        membership.activate(memberId);
        vm.warp(activeAt);
        membership.activate(memberId);
        vm.assertTrue(membership.member(memberId).votes);
    }

    function test_Join_TakesTheVouchOfWhoseProbationEndsNow() public {
        join(NEWCOMER, "newcomer");
        vm.warp(block.timestamp + PROBATION - 1);
        IMembership.Application memory a = applicationOf(NEW_KEY, "next");
        (bytes memory applicant, bytes memory registrar) = (signApplication(NEW_KEY, a), signAdmission(REGISTRAR_KEY, a));
        IMembership.Vouch[] memory vouches = vouchesFor(a);
        vouches[2] = vouchBy(NEWCOMER, a);
        vm.expectRevert(abi.encodeWithSelector(IMembership.MembershipVouchInvalid.selector, vm.addr(NEWCOMER)));
        membership.join(a, applicant, registrar, vouches);
        vm.warp(block.timestamp + 1);
        membership.join(a, applicant, registrar, vouches);
    }

    function test_Join_RevertWhen_AVoucherHasLeft() public {
        IMembership.Application memory a = applicationOf(NEWCOMER, "newcomer");
        (bytes memory applicant, bytes memory registrar) = (signApplication(NEWCOMER, a), signAdmission(REGISTRAR_KEY, a));
        IMembership.Vouch[] memory vouches = vouchesFor(a);
        vm.prank(vm.addr(genesisKey(0)));
        membership.leave();
        vm.expectRevert(abi.encodeWithSelector(IMembership.MembershipVouchInvalid.selector, vm.addr(genesisKey(0))));
        membership.join(a, applicant, registrar, vouches);
    }

    function test_Join_RevertWhen_AVoucherIsNoMember() public {
        IMembership.Application memory a = applicationOf(NEWCOMER, "newcomer");
        (bytes memory applicant, bytes memory registrar) = (signApplication(NEWCOMER, a), signAdmission(REGISTRAR_KEY, a));
        for (uint256 i = 0; i < 3; ++i) {
            IMembership.Vouch[] memory vouches = vouchesFor(a);
            vouches[i] = vouchBy(0xBAD, a);
            vm.expectRevert(abi.encodeWithSelector(IMembership.MembershipVouchInvalid.selector, vm.addr(0xBAD)));
            membership.join(a, applicant, registrar, vouches);
        }
    }

    function test_Join_NeedsNoMoreThanThreeVouches() public {
        IMembership.Application memory a = applicationOf(NEWCOMER, "newcomer");
        IMembership.Vouch[] memory four = new IMembership.Vouch[](4);
        for (uint256 i = 0; i < 3; ++i) four[i] = vouchBy(genesisKey(i), a);
        membership.join(a, signApplication(NEWCOMER, a), signAdmission(REGISTRAR_KEY, a), four);
    }

    function test_Join_HasRoomAgainWhenTheWindowHasPassed() public {
        uint256 first = block.timestamp;
        for (uint256 i = 0; i < FLOOR; ++i) join(0x9000 + i, bytes32(i));
        vm.warp(first + WINDOW - 1);
        _expectNoRoom(FLOOR);
        vm.warp(first + WINDOW);
        join(0x9100, "fifth");
        vm.assertEq(membership.members(), GENESIS + FLOOR + 1);
    }

    /// A window that began before there was time at all counts every join.
    function test_Join_CountsAllWhereTheWindowIsLongerThanTime() public {
        address[] memory founders = _founders(GENESIS);
        membership = new Membership(address(parameters), founders, PROBATION, type(uint40).max, FLOOR, 50_000, ROTATION);
        for (uint256 i = 0; i < FLOOR; ++i) join(0x9000 + i, bytes32(i));
        _expectNoRoom(FLOOR);
    }

    /// 5 % of 100 members are more than the floor of 4.
    function test_Join_GrowsByThePercentageWhereThatIsMore() public {
        membership = new Membership(address(parameters), _founders(100), PROBATION, WINDOW, FLOOR, 50_000, ROTATION);
        vm.warp(block.timestamp + WINDOW);
        for (uint256 i = 0; i < 5; ++i) join(0x9000 + i, bytes32(i));
        _expectNoRoom(5);
    }

    // Leave

    function test_Leave_ClearsWhatHungOnTheMembership() public {
        address account = vm.addr(genesisKey(0));
        vm.startPrank(account);
        membership.startRotation(vm.addr(NEW_KEY));
        membership.leave();
        vm.expectRevert(abi.encodeWithSelector(IMembership.MembershipNotMember.selector, account));
        membership.startRotation(vm.addr(NEW_KEY));
        vm.stopPrank();
        IMembership.Member memory found = membership.member(1);
        vm.assertTrue(found.left);
        vm.assertFalse(found.votes);
        vm.assertEq(found.pendingKey, address(0));
        vm.assertEq(found.rotatesAt, 0);
        vm.assertEq(membership.members(), GENESIS - 1);
        vm.assertEq(membership.balanceOf(account), 0);
    }

    // Rotate

    function test_Rotation_IsDueInItsLastSecondAndNotBefore() public {
        uint256 rotatesAt = block.timestamp + ROTATION;
        vm.prank(vm.addr(genesisKey(0)));
        membership.startRotation(vm.addr(NEW_KEY));
        bytes memory accepts = sign(NEW_KEY, Messages.hashAcceptRotation(1, vm.addr(NEW_KEY)));
        vm.warp(rotatesAt - 1);
        vm.expectRevert(abi.encodeWithSelector(IMembership.MembershipRotationNotDue.selector, uint256(1), rotatesAt));
        membership.finishRotation(1, accepts);
        vm.warp(rotatesAt);
        membership.finishRotation(1, accepts);
        vm.assertEq(membership.memberIdOf(vm.addr(genesisKey(0))), 0);
        vm.assertEq(membership.memberIdOf(vm.addr(NEW_KEY)), 1);
        vm.assertEq(membership.ownerOf(1), vm.addr(NEW_KEY));
        vm.assertEq(membership.member(1).pendingKey, address(0));
        vm.assertEq(membership.member(1).rotatesAt, 0);
    }

    function test_CancelRotation_LeavesNothingOfIt() public {
        vm.startPrank(vm.addr(genesisKey(0)));
        membership.startRotation(vm.addr(NEW_KEY));
        membership.cancelRotation();
        vm.stopPrank();
        vm.assertEq(membership.member(1).pendingKey, address(0));
        vm.assertEq(membership.member(1).rotatesAt, 0);
        vm.recordLogs();
        vm.prank(vm.addr(genesisKey(0)));
        membership.cancelRotation();
        vm.assertEq(vm.getRecordedLogs().length, 0);
    }

    function test_Rotation_RevertWhen_NoneWasStarted() public {
        bytes memory accepts = sign(NEW_KEY, Messages.hashAcceptRotation(1, vm.addr(NEW_KEY)));
        vm.expectRevert(abi.encodeWithSelector(IMembership.MembershipRotationNotDue.selector, uint256(1), uint256(0)));
        membership.finishRotation(1, accepts);
    }

    function test_Rotation_RevertWhen_TheNewKeyIsNobodys() public {
        vm.prank(vm.addr(genesisKey(0)));
        vm.expectRevert(abi.encodeWithSelector(IMembership.MembershipAccountInvalid.selector, address(0)));
        membership.startRotation(address(0));
    }

    function test_Rotation_RevertWhen_TheNewKeyJoinedMeanwhile() public {
        vm.prank(vm.addr(genesisKey(0)));
        membership.startRotation(vm.addr(NEWCOMER));
        join(NEWCOMER, "newcomer");
        vm.warp(block.timestamp + ROTATION);
        bytes memory accepts = sign(NEWCOMER, Messages.hashAcceptRotation(1, vm.addr(NEWCOMER)));
        vm.expectRevert(abi.encodeWithSelector(IMembership.MembershipAccountTaken.selector, vm.addr(NEWCOMER)));
        membership.finishRotation(1, accepts);
    }

    function test_Rotation_OnProbationMovesNoVote() public {
        uint256 memberId = join(NEWCOMER, "newcomer");
        vm.prank(vm.addr(NEWCOMER));
        membership.startRotation(vm.addr(NEW_KEY));
        vm.warp(block.timestamp + ROTATION);
        membership.finishRotation(memberId, sign(NEW_KEY, Messages.hashAcceptRotation(memberId, vm.addr(NEW_KEY))));
        vm.assertEq(membership.getVotes(vm.addr(NEW_KEY)), 0);
        vm.assertEq(membership.getVotes(vm.addr(NEWCOMER)), 0);
    }

    // What others read

    function test_Locked_RevertWhen_ThereIsNoSuchMember() public {
        vm.expectRevert(abi.encodeWithSelector(IERC721Errors.ERC721NonexistentToken.selector, GENESIS + 1));
        membership.locked(GENESIS + 1);
    }

    function test_Interfaces_AreThoseOfASoulboundTokenWithTimestamps() public view {
        vm.assertTrue(membership.supportsInterface(0xb45a3c0e));
        vm.assertTrue(membership.supportsInterface(0x80ac58cd));
        vm.assertFalse(membership.supportsInterface(0xffffffff));
        vm.assertTrue(membership.locked(1));
        vm.assertEq(membership.CLOCK_MODE(), "mode=timestamp");
        vm.assertEq(membership.clock(), block.timestamp);
        vm.assertEq(membership.delegates(address(7)), address(7));
    }

    function _founders(uint256 count) private pure returns (address[] memory founders) {
        founders = new address[](count);
        for (uint256 i = 0; i < count; ++i) founders[i] = vm.addr(genesisKey(i));
    }

    function _expectSettingRefused() private {
        vm.expectRevert(abi.encodeWithSelector(IMembership.MembershipSettingInvalid.selector));
    }

    function _expectNoRoom(uint256 limit) private {
        IMembership.Application memory a = applicationOf(0xFFFF, "one too many");
        (bytes memory applicant, bytes memory registrar) = (signApplication(0xFFFF, a), signAdmission(REGISTRAR_KEY, a));
        IMembership.Vouch[] memory vouches = vouchesFor(a);
        vm.expectRevert(abi.encodeWithSelector(IMembership.MembershipGrowthExceeded.selector, limit, limit));
        membership.join(a, applicant, registrar, vouches);
    }
}
