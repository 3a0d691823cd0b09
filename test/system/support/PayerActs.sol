// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {Messages} from "../../../contracts/libraries/Messages.sol";
import {LineageActs} from "./LineageActs.sol";

/// @title Payers and the keys they grant; what each account and key may do is kept here a second time.
abstract contract PayerActs is LineageActs {
    uint256 internal constant KEYS = 3; // the payer's own, and two granted ones at a time
    uint256 private constant GENERATIONS = GRANTED_KEYS / 2;

    struct Purse {
        uint80 deposit; // less withdrawals
        uint80 charged;
        uint80 own; // what the payer's own key spent
    }

    struct Thaw {
        uint80 amount;
        uint40 endsAt;
    }

    struct Leash {
        uint80 cap;
        uint80 spent;
        uint40 notAfter;
        uint32 nonce;
        uint8 generation; // a revoked key gives way to the next one
        bool revoked;
    }

    Purse[ACCOUNTS] internal _purses;
    Thaw[ACCOUNTS] internal _thaws;
    Leash[KEYS][ACCOUNTS] internal _leashes;
    uint256[ACCOUNTS] internal _retired; // spent by keys that gave way
    /// The highest ceiling that each key signed, and the signature: later vouchers are this one until it is used up.
    mapping(uint256 slot => Voucher) internal _vouchers;
    uint256 private _thawNonces;

    struct Voucher {
        uint128 ceiling;
        bytes32 r;
        bytes32 vs;
    }

    uint256 public deposited;
    uint256 public donated;
    uint256 public withdrawn;
    bool public payoutWasWrong;

    function deposit(uint256 seed) external {
        seed = _begin(seed);
        _deposit((seed >> 8) % ACCOUNTS, 1 + uint80((seed >> 16) % 300e6));
    }

    function _deposit(uint256 index, uint80 amount) internal {
        escrow.deposit(account(index), amount);
        _purses[index].deposit += amount;
        deposited += amount;
    }

    /// Tokens that arrive without an act of the escrow are nobody's.
    function probeDonation(uint256 seed) external {
        seed = _begin(seed);
        vm.assume(seed & 7 == 0);
        uint256 amount = 1 + (seed >> 8) % 1e6;
        token.transfer(address(escrow), amount);
        donated += amount;
    }

    function startThaw(uint256 seed) external {
        seed = _begin(seed);
        (bool found, uint256 index) = _accountWith(seed, _hasUncharged);
        vm.assume(found);
        uint80 amount = uint80(1 + (seed >> 32) % (_purses[index].deposit - _purses[index].charged));
        if (seed >> 16 & 3 == 0) {
            uint256 nonce = ++_thawNonces;
            bytes32 structHash = Messages.hashStartThaw(idOf(index), amount, nonce, block.timestamp);
            bytes memory signature = _signFor(keyOf(index, 0), address(escrow), structHash);
            escrow.startThawBySig(account(index), amount, nonce, block.timestamp, signature);
        } else {
            vm.prank(account(index).payer);
            escrow.startThaw(account(index), amount);
        }
        _thaws[index] = Thaw(amount, _now() + THAW);
    }

    function cancelThaw(uint256 seed) external {
        seed = _begin(seed);
        (bool found, uint256 index) = _accountWith(seed, _isThawing);
        vm.assume(found && seed >> 16 & 3 == 0);
        vm.prank(account(index).payer);
        escrow.cancelThaw(account(index));
        delete _thaws[index];
    }

    function withdraw(uint256 seed) external {
        seed = _begin(seed);
        (bool found, uint256 index) = _accountWith(seed, _isThawing);
        vm.assume(found);
        _warpTo(_thaws[index].endsAt);
        uint80 due = _purses[index].deposit - _purses[index].charged;
        if (due > _thaws[index].amount) due = _thaws[index].amount;
        address payer = account(index).payer;
        uint256 before = token.balanceOf(payer);
        escrow.withdraw(account(index), payer);
        if (token.balanceOf(payer) != before + due) payoutWasWrong = _wrong("I9: each payout is exact");
        delete _thaws[index];
        _purses[index].deposit -= due;
        withdrawn += due;
    }

    /// Before the thaw ends, or of what is not thawing.
    function attackWithdrawal(uint256 seed) external {
        seed = _begin(seed);
        uint256 index = (seed >> 8) % ACCOUNTS;
        vm.assume(_now() < _thaws[index].endsAt || _thaws[index].amount == 0);
        vm.prank(account(index).payer);
        try escrow.withdraw(account(index), ELSEWHERE) {
            payoutWasWrong = _wrong("I9: each payout is exact");
        } catch {}
    }

    function grantKey(uint256 seed) external {
        seed = _begin(seed);
        (uint256 index, uint256 which) = ((seed >> 8) % ACCOUNTS, 1 + (seed >> 16) % 2);
        Leash memory leash = _leashes[index][which];
        if (leash.revoked) {
            _retired[index] += leash.spent;
            delete _vouchers[index * KEYS + which];
            leash = Leash(0, 0, 0, 0, leash.generation + 1, false);
        }
        leash.cap += uint80((seed >> 24) % 100e6);
        uint40 notAfter = _now() + 1 + uint40((seed >> 88) % 1 days);
        if (notAfter > leash.notAfter) leash.notAfter = notAfter;
        ++leash.nonce;
        _leashes[index][which] = leash;
        address key = addressOf(keyOf(index, which));
        if (seed >> 20 & 3 == 0) {
            bytes32 structHash = Messages.hashGrantKey(idOf(index), key, leash.cap, leash.notAfter, leash.nonce);
            bytes memory signature = _signFor(keyOf(index, 0), address(escrow), structHash);
            escrow.grantKeyBySig(account(index), key, leash.cap, leash.notAfter, leash.nonce, signature);
        } else {
            vm.prank(account(index).payer);
            escrow.grantKey(account(index), key, leash.cap, leash.notAfter, leash.nonce);
        }
    }

    function revokeKey(uint256 seed) external {
        seed = _begin(seed);
        (uint256 index, uint256 which) = ((seed >> 8) % ACCOUNTS, 1 + (seed >> 16) % 2);
        Leash storage leash = _leashes[index][which];
        vm.assume(seed >> 20 & 7 == 0 && !leash.revoked && leash.generation + 1 < GENERATIONS);
        vm.prank(account(index).payer);
        escrow.revokeKey(account(index), addressOf(keyOf(index, which)));
        leash.revoked = true;
        if (leash.notAfter == 0 || leash.notAfter > _now()) leash.notAfter = _now();
    }

    /// `which` 0 is the payer's own key; granted ones serve several payers.
    function keyOf(uint256 index, uint256 which) internal view returns (uint256) {
        return which == 0 ? PAYER + index % 3 : GRANTED + which - 1 + 2 * _leashes[index][which].generation;
    }

    // Which account has what an act needs

    function _accountWith(uint256 seed, function(uint256) view returns (bool) fits) private view returns (bool found, uint256 index) {
        for (uint256 i = 0; i < ACCOUNTS; ++i) {
            index = ((seed >> 8) + i) % ACCOUNTS;
            if (fits(index)) return (true, index);
        }
    }

    function _hasUncharged(uint256 index) private view returns (bool) {
        return _purses[index].deposit > _purses[index].charged;
    }

    function _isThawing(uint256 index) private view returns (bool) {
        return _thaws[index].amount != 0;
    }
}
