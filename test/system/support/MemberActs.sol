// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IMembership} from "../../../contracts/interfaces/IMembership.sol";
import {Messages} from "../../../contracts/libraries/Messages.sol";
import {RoyaltyActs} from "./RoyaltyActs.sol";

/// @title People who join, get their vote, rotate their keys and leave.
abstract contract MemberActs is RoyaltyActs {
    uint256 internal constant NEWCOMER = 0x100000;
    uint256 private constant JOINS = 8; // a day

    struct Member {
        uint256 key;
        uint256 pendingKey;
        bytes32 nullifier;
        uint40 joinedAt;
        uint40 activeAt;
        uint40 rotatesAt;
        bool votes;
        bool left;
    }

    Member[] internal _members; // the first is member 1
    uint256[] internal _formerKeys;
    uint256 internal _registrarKey = REGISTRAR;
    uint256 internal _voters = PEOPLE;
    uint256 internal _left;
    uint256 private _newcomers;
    bool public leavingFailed;
    bool public joinedWrongly;

    constructor() {
        for (uint256 i = 0; i < PEOPLE; ++i) _members.push(Member(PERSON + i, 0, 0, _now(), _now(), 0, true, false));
    }

    function join(uint256 seed) external {
        seed = _begin(seed);
        vm.assume(_hasRoom() && _members.length < 60);
        uint256 key = NEWCOMER + ++_newcomers;
        _meet(key);
        IMembership.Application memory application = IMembership.Application(addressOf(key), bytes32(key), block.timestamp);
        (bool found, IMembership.Vouch[] memory vouches) = _vouches(seed, application);
        vm.assume(found);
        membership.join(application, _own(key, application), _registrars(_registrarKey, application), vouches);
        _members.push(Member(key, 0, bytes32(key), _now(), _now() + PROBATION, 0, false, false));
    }

    /// Past the day's number, by a taken nullifier or account, without the registrar, or with two vouches of one member.
    function attackJoin(uint256 seed) external {
        seed = _begin(seed);
        vm.assume(seed & 3 == 0);
        uint256 kind = (seed >> 8) % 5;
        uint256 key = kind == 1 && _newcomers != 0 ? _members[_members.length - 1].key : DEPLOYER;
        bytes32 nullifier = kind == 2 ? _members[_members.length - 1].nullifier : bytes32(~seed);
        vm.assume((kind != 0 || !_hasRoom()) && (kind != 1 || key != DEPLOYER) && (kind != 2 || _members.length > PEOPLE));
        IMembership.Application memory application = IMembership.Application(addressOf(key), nullifier, block.timestamp);
        (bool found, IMembership.Vouch[] memory vouches) = _vouches(seed, application);
        vm.assume(found);
        if (kind == 4) vouches[2] = vouches[seed >> 16 & 1];
        bytes memory registrars = _registrars(kind == 3 ? REGISTRAR + REGISTRAR + 1 - _registrarKey : _registrarKey, application);
        try membership.join(application, _own(key, application), registrars, vouches) {
            joinedWrongly = _wrong("I17: nobody joins past the rules");
        } catch {}
    }

    function _hasRoom() private view returns (bool) {
        uint256 count = _members.length;
        return count - PEOPLE < JOINS || _members[count - JOINS].joinedAt + 1 days <= block.timestamp;
    }

    function _own(uint256 key, IMembership.Application memory application) private view returns (bytes memory) {
        return _signFor(key, address(membership), Messages.hashApplication(application.account, application.nullifier, application.deadline));
    }

    function _registrars(uint256 key, IMembership.Application memory application) private view returns (bytes memory) {
        return _signFor(key, address(membership), Messages.hashAdmission(application.account, application.nullifier, application.deadline));
    }

    function _vouches(uint256 seed, IMembership.Application memory application) private view returns (bool, IMembership.Vouch[] memory vouches) {
        bytes32 vouch = Messages.hashVouch(application.account, application.nullifier, application.deadline);
        vouches = new IMembership.Vouch[](3);
        uint256 count = 0;
        for (uint256 i = 0; i < _members.length && count < 3; ++i) {
            Member storage voucher = _members[((seed >> 24) + i) % _members.length];
            if (voucher.left || voucher.activeAt > block.timestamp) continue;
            vouches[count++] = IMembership.Vouch(addressOf(voucher.key), _signFor(voucher.key, address(membership), vouch));
        }
        return (count == 3, vouches);
    }

    /// Anyone may, once probation is over.
    function activate(uint256 seed) external {
        seed = _begin(seed);
        for (uint256 i = 0; i < _members.length; ++i) {
            uint256 index = (seed + i) % _members.length;
            Member storage member = _members[index];
            if (member.left || member.votes) continue;
            _warpTo(member.activeAt);
            membership.activate(index + 1);
            member.votes = true;
            ++_voters;
            return;
        }
        vm.assume(false);
    }

    /// Seldom, so that there is somebody left to govern.
    function leave(uint256 seed) external {
        seed = _begin(seed);
        uint256 index = (seed >> 8) % _members.length;
        Member storage member = _members[index];
        vm.assume(!member.left && seed & 3 == 0 && _members.length - _left > 6);
        bool direct = seed >> 4 & 1 == 0;
        address who = addressOf(member.key);
        bytes memory call = direct
            ? abi.encodeCall(membership.leave, ())
            : abi.encodeCall(membership.leaveBySig, (who, _signFor(member.key, address(membership), Messages.hashLeave(index + 1))));
        if (direct) vm.prank(who);
        (bool done,) = address(membership).call(call);
        if (!done) leavingFailed = _wrong("I17: leaving never fails");
        if (member.votes) --_voters;
        (member.left, member.votes, member.pendingKey) = (true, false, 0);
        ++_left;
    }

    /// Starts where nothing is pending, else ends: newcomers only, for the first eight own what the other acts are about.
    function rotate(uint256 seed) external {
        seed = _begin(seed);
        vm.assume(_members.length > PEOPLE);
        uint256 index = PEOPLE + (seed >> 8) % (_members.length - PEOPLE);
        Member storage member = _members[index];
        vm.assume(!member.left);
        if (member.pendingKey == 0) {
            member.pendingKey = NEWCOMER + ++_newcomers;
            member.rotatesAt = _now() + 2 hours;
            _meet(member.pendingKey);
            vm.prank(addressOf(member.key));
            membership.startRotation(addressOf(member.pendingKey));
            return;
        }
        _warpTo(member.rotatesAt);
        bytes32 structHash = Messages.hashAcceptRotation(index + 1, addressOf(member.pendingKey));
        membership.finishRotation(index + 1, _signFor(member.pendingKey, address(membership), structHash));
        _formerKeys.push(member.key);
        (member.key, member.pendingKey) = (member.pendingKey, 0);
    }

    /// The one vote of each who has one, none for anyone else, and no key of the past.
    function checkVotes() external view {
        for (uint256 i = 0; i < _members.length; ++i) {
            Member storage member = _members[i];
            vm.assertEq(membership.getVotes(addressOf(member.key)), member.votes ? 1 : 0, "I17: one vote each");
        }
        for (uint256 i = 0; i < _formerKeys.length; ++i) vm.assertEq(membership.getVotes(addressOf(_formerKeys[i])), 0, "I17: no vote of a former key");
        vm.assertEq(membership.members() + _left, _members.length, "I17: present + left = joined");
    }

    /// The supply that quorums are taken of.
    function checkVoteSupply() external {
        vm.warp(block.timestamp + 1);
        vm.assertEq(membership.getPastTotalSupply(block.timestamp - 1), _voters, "I17: supply = voters");
    }
}
