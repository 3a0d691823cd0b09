// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IRoyaltyLedger} from "../../contracts/interfaces/IRoyaltyLedger.sol";
import {RoyaltyFixture} from "./support/RoyaltyFixture.sol";

/// Claims of one unit, of as many epochs as may be, by the smaller of two shares, and of what is another's.
contract RoyaltyBoundariesTest is RoyaltyFixture {
    function test_Epoch_LastsUntilItsLastSecond() public {
        vm.assertEq(ledger.currentEpoch(), START / EPOCH);
        vm.warp(START + EPOCH - 1);
        vm.assertEq(ledger.currentEpoch(), START / EPOCH);
        vm.warp(START + EPOCH);
        vm.assertEq(ledger.currentEpoch(), START / EPOCH + 1);
    }

    function test_Claim_OfOneUnitIsPaidOnce() public {
        bytes32 dataset = _single();
        IRoyaltyLedger.Claim memory claim = _claimOf(owner, dataset, _earn(_modelOf(dataset), 3));
        _take(claim, 1);
        _refuseClaim(claim, abi.encodeWithSelector(IRoyaltyLedger.RoyaltyNothingToClaim.selector, dataset, owner));
    }

    function test_Claim_OfAShareOfOneUnitIsPaidOnce() public {
        bytes32 pool = _poolOf(ann, bob);
        IRoyaltyLedger.Claim memory claim = _shareOf(ann, pool, _earn(_modelOf(pool), 9), 3, _leaf(bob, 4));
        _take(claim, 1);
        _refuseClaim(claim, abi.encodeWithSelector(IRoyaltyLedger.RoyaltyNothingToClaim.selector, pool, ann));
    }

    /// Two leaves of one account are not added up; the smaller one gives nothing after the larger, nor does it spoil other epochs.
    function test_Claim_BySmallerOfTwoLeavesAddsNothing() public {
        bytes32 pool = _register(_terms(), true);
        _announce(pool, _pair(_leaf(ann, 2), _leaf(ann, 5)), 7, _epoch() + 1);
        _nextEpoch();
        bytes32 model = _modelOf(pool);
        uint64 first = _earn(model, 21);
        _take(_shareOf(ann, pool, first, 5, _leaf(ann, 2)), 5);
        IRoyaltyLedger.Claim memory smaller = _shareOf(ann, pool, first, 2, _leaf(ann, 5));
        _refuseClaim(smaller, abi.encodeWithSelector(IRoyaltyLedger.RoyaltyNothingToClaim.selector, pool, ann));
        uint64 second = _earn(model, 21);
        smaller.epochs = new uint64[](2);
        (smaller.epochs[0], smaller.epochs[1]) = (first, second);
        _take(smaller, 2);
    }

    function test_Claim_TakesSixtyFourEpochsAndNotOneMore() public {
        bytes32 dataset = _single();
        bytes32 model = _modelOf(dataset);
        IRoyaltyLedger.Claim memory claim = _claimOf(owner, dataset, 0);
        claim.epochs = new uint64[](65);
        for (uint256 i = 0; i < 65; ++i) claim.epochs[i] = _earn(model, 3);
        _refuseClaim(claim, abi.encodeWithSelector(IRoyaltyLedger.RoyaltyEpochsInvalid.selector, uint256(65)));
        uint64[] memory most = new uint64[](64);
        for (uint256 i = 0; i < 64; ++i) most[i] = claim.epochs[i];
        claim.epochs = most;
        _take(claim, 64);
    }

    /// The steward owns the dataset, not what its members earned; and who owns a dataset has no leaf to prove.
    function test_Claim_RevertWhen_AStewardTakesThePotOrAnOwnerClaimsAShare() public {
        bytes32 pool = _poolOf(ann, bob);
        uint64 epoch = _earn(_modelOf(pool), 300);
        _refuseClaim(_claimOf(owner, pool, epoch), abi.encodeWithSelector(IRoyaltyLedger.RoyaltyProofInvalid.selector, pool, owner, epoch));
        vm.assertEq(ledger.paid(pool, epoch), 0);

        bytes32 dataset = _single();
        epoch = _earn(_modelOf(dataset), 300);
        IRoyaltyLedger.Claim memory claim = _claimOf(owner, dataset, epoch);
        claim.shares = 1;
        _refuseClaim(claim, abi.encodeWithSelector(IRoyaltyLedger.RoyaltyProofInvalid.selector, dataset, owner, epoch));
    }

    function _take(IRoyaltyLedger.Claim memory claim, uint128 expected) private {
        uint256 before = received[claim.account];
        vm.prank(claim.account);
        vm.assertEq(ledger.claim(claim, claim.account), expected);
        vm.assertEq(received[claim.account] - before, expected);
    }
}
