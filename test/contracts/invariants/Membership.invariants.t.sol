// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IMembership} from "../../../contracts/interfaces/IMembership.sol";
import {Messages} from "../../../contracts/libraries/Messages.sol";
import {CooperativeTest} from "../support/Cooperative.sol";

/// People join, get their vote, rotate keys and leave in any order; every call does what it can in the present state.
contract MembershipActor is CooperativeTest {
    uint256 public lastKey = 0xF000; // every key ever used is one from 0xF000 + 1 to here, or a genesis key
    uint256 public joined;
    uint256 public left;
    uint256 public rotated;

    constructor() {
        super.setUp();
    }

    /// The runner calls every function: the cooperative stays the one that was founded.
    function setUp() public override {}

    function ids() public view returns (uint256) {
        return GENESIS + joined;
    }

    function joinSomeone(uint32 wait) external {
        vm.warp(block.timestamp + WINDOW / FLOOR + (wait % 1 days));
        if (membership.members() < 6 || !_firstThreeArePresent()) return;
        join(++lastKey, bytes32(lastKey));
        ++joined;
    }

    function activateSomeone(uint256 seed) external {
        uint256 memberId = 1 + (seed % ids());
        if (membership.member(memberId).left) return;
        if (membership.member(memberId).activeAt > block.timestamp) vm.warp(membership.member(memberId).activeAt);
        membership.activate(memberId);
    }

    function rotateSomeone(uint256 seed) external {
        uint256 memberId = 4 + (seed % (ids() - 3));
        if (membership.member(memberId).left) return;
        address to = vm.addr(++lastKey);
        vm.prank(membership.ownerOf(memberId));
        membership.startRotation(to);
        vm.warp(block.timestamp + ROTATION);
        membership.finishRotation(memberId, sign(lastKey, Messages.hashAcceptRotation(memberId, to)));
        ++rotated;
    }

    function leaveSomeone(uint256 seed) external {
        uint256 memberId = 1 + (seed % ids());
        if (membership.member(memberId).left) return;
        address holder = membership.ownerOf(memberId);
        vm.prank(holder);
        membership.leave();
        vm.prank(holder);
        membership.leave();
        ++left;
    }

    /// What everyone's key ever was: genesis keys and all made since.
    function votesOfAllKeys() external view returns (uint256 sum, uint256 most) {
        for (uint256 i = 0; i < GENESIS; ++i) (sum, most) = _add(sum, most, membership.getVotes(vm.addr(genesisKey(i))));
        for (uint256 key = 0xF001; key <= lastKey; ++key) (sum, most) = _add(sum, most, membership.getVotes(vm.addr(key)));
    }

    function voters() external view returns (uint256 count) {
        for (uint256 memberId = 1; memberId <= ids(); ++memberId) {
            IMembership.Member memory member = membership.member(memberId);
            if (member.votes && !member.left && block.timestamp >= member.activeAt) ++count;
        }
    }

    function voteSupply() external returns (uint256 total) {
        vm.warp(block.timestamp + 1);
        return membership.getPastTotalSupply(block.timestamp - 1);
    }

    function present() external view returns (uint256) {
        return membership.members();
    }

    function _firstThreeArePresent() private view returns (bool) {
        for (uint256 memberId = 1; memberId <= 3; ++memberId) if (membership.member(memberId).left) return false;
        return true;
    }

    function _add(uint256 sum, uint256 most, uint256 votes) private pure returns (uint256, uint256) {
        return (sum + votes, votes > most ? votes : most);
    }
}

contract MembershipInvariants is CooperativeTest {
    MembershipActor private _actor;

    function setUp() public override {
        _actor = new MembershipActor();
        _target(address(_actor));
    }

    /// I17: one nullifier, at most one vote; nobody votes but members who are active, and each of them does once.
    function invariant_OneMemberOneVote() public view {
        (uint256 sum, uint256 most) = _actor.votesOfAllKeys();
        vm.assertTrue(most <= 1);
        vm.assertEq(sum, _actor.voters());
    }

    function invariant_VoteSupplyIsTheNumberOfVoters() public {
        vm.assertEq(_actor.voteSupply(), _actor.voters());
    }

    function invariant_LeavingIsTheOnlyWayOut() public view {
        vm.assertEq(_actor.present() + _actor.left(), _actor.ids());
    }
}
