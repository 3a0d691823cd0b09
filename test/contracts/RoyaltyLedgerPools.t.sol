// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IRoyaltyLedger} from "../../contracts/interfaces/IRoyaltyLedger.sol";
import {RoyaltyFixture} from "./support/RoyaltyFixture.sol";

/// Claims of a pool's members: by the table in force in the epoch, in any order, never more than the pot.
contract RoyaltyLedgerPoolsTest is RoyaltyFixture {
    function test_Claim_PoolPaysByTheTableInForceInTheEpoch() public {
        bytes32 pool = _poolOf(ann, bob);
        bytes32 model = _modelOf(pool);
        uint64 first = _earn(model, 210);
        _announce(pool, _leaf(bob, 1), 1, _epoch() + 1);
        _nextEpoch();
        uint64 second = _earn(model, 210);

        vm.assertEq(_claimShare(ann, pool, first, 3, _leaf(bob, 4)), 30);
        vm.assertEq(_claimShare(bob, pool, first, 4, _leaf(ann, 3)), 40);
        IRoyaltyLedger.Claim memory claim = _claimOf(ann, pool, second);
        claim.shares = 3;
        claim.proof = _proof(_leaf(bob, 4));
        _refuseClaim(claim, abi.encodeWithSelector(IRoyaltyLedger.RoyaltyProofInvalid.selector, pool, ann, second));
        claim.epochs = new uint64[](2);
        (claim.epochs[0], claim.epochs[1]) = (first, second);
        _refuseClaim(claim, abi.encodeWithSelector(IRoyaltyLedger.RoyaltyProofInvalid.selector, pool, ann, second));
        claim = _claimOf(bob, pool, second);
        claim.shares = 1;
        vm.prank(bob);
        vm.assertEq(ledger.claim(claim, bob), 70);
        vm.assertEq(ledger.drawn(pool, first, ann), 30);
        vm.assertEq(ledger.paid(pool, first), 70);
    }

    function test_Claim_PoolRevertWhen_TheProofOrSharesAreWrongOrNoTableWasInForce() public {
        bytes32 pool = _poolOf(ann, bob);
        uint64 epoch = _earn(_modelOf(pool), 210);
        IRoyaltyLedger.Claim memory claim = _claimOf(ann, pool, epoch);
        claim.shares = 7;
        claim.proof = _proof(_leaf(bob, 4));
        _refuseClaim(claim, abi.encodeWithSelector(IRoyaltyLedger.RoyaltyProofInvalid.selector, pool, ann, epoch));
        claim.shares = 3;
        claim.epochs = _epochs(1);
        _refuseClaim(claim, abi.encodeWithSelector(IRoyaltyLedger.RoyaltyProofInvalid.selector, pool, ann, uint64(1)));
    }

    /// A steward who gives out more shares than the table's total harms that pool's members only.
    function test_Claim_ATableThatSumsToMoreThanItsTotalNeverPaysMoreThanThePot() public {
        bytes32 pool = _register(_terms(), true);
        _announce(pool, _pair(_leaf(ann, 9), _leaf(bob, 90)), 10, _epoch() + 1);
        _nextEpoch();
        uint64 epoch = _earn(_modelOf(pool), 300);
        vm.assertEq(_claimShare(ann, pool, epoch, 9, _leaf(bob, 90)), 90);
        vm.assertEq(_claimShare(bob, pool, epoch, 90, _leaf(ann, 9)), 10);
        vm.assertEq(ledger.paid(pool, epoch), ledger.pool(pool, epoch));
    }

    /// I5, I6. What each member has in the end depends neither on the order of income, pulls and claims nor on how late they come.
    function testFuzz_Claim_OrderDoesNotMatter(uint128[3] memory amounts, uint256 seed) public {
        bytes32 pool = _poolOf(ann, bob);
        bytes32 model = _modelOf(pool);
        uint64 epoch = _epoch();
        uint256 total = 0;
        for (uint256 i = 0; i < 3; ++i) {
            amounts[i] /= 3;
            total += amounts[i];
        }
        // Income of an epoch that is closed comes in only here, to have more orders; the escrow credits the current epoch.
        _nextEpoch();
        for (uint256 step = 0; step < 12; ++step) {
            seed = uint256(keccak256(abi.encode(seed)));
            if (step % 4 == 0) ledger.creditIncome(model, epoch, amounts[step / 4]);
            if (seed % 2 == 0) ledger.pull(model, 0, _epochs(epoch));
            if ((seed >> 8) % 3 == 0) _tryShare(ann, pool, epoch, 3, _leaf(bob, 4));
            if ((seed >> 16) % 3 == 0) _tryShare(bob, pool, epoch, 4, _leaf(ann, 3));
            if ((seed >> 24) % 3 == 0) _announce(pool, bytes32(seed | 1), 1, _epoch() + 1 + uint64(step));
        }
        ledger.pull(model, 0, _epochs(epoch));
        _tryShare(bob, pool, epoch, 4, _leaf(ann, 3));
        _tryShare(ann, pool, epoch, 3, _leaf(bob, 4));

        uint256 pot = (total * 50_000) / 150_000;
        vm.assertEq(ledger.pool(pool, epoch), pot);
        vm.assertEq(received[ann], (pot * 3) / 7);
        vm.assertEq(received[bob], (pot * 4) / 7);
        vm.assertEq(ledger.paid(pool, epoch), paidOut);
        vm.assertEq(ledger.drawn(pool, epoch, ann), received[ann]);
    }

    /// I1, seen from the ledger: it never orders more than was credited.
    function testFuzz_Claim_NeverPaysMoreThanWasCredited(uint256 seed) public {
        bytes32 pool = _poolOf(ann, bob);
        bytes32 parent = _modelOf(pool);
        bytes32 child = _register(_draft(_shares(_single(), 50_000), _ids(parent)));
        uint256 credited = 0;
        for (uint256 step = 0; step < 14; ++step) {
            seed = uint256(keccak256(abi.encode(seed)));
            bytes32 model = seed % 2 == 0 ? parent : child;
            uint64 epoch = _epoch() - uint64((seed >> 8) % 3);
            if ((seed >> 16) % 3 == 0) {
                uint128 amount = uint128((seed >> 24) % 1e15);
                ledger.creditIncome(model, _epoch(), amount);
                credited += amount;
            }
            ledger.pull(model, (seed >> 128) % models.payees(model).length, _epochs(epoch));
            if ((seed >> 136) % 2 == 0) _tryShare(ann, pool, epoch, 3, _leaf(bob, 4));
            else _tryAll(author, model, epoch);
            if ((seed >> 144) % 3 == 0) _nextEpoch();
            vm.assertLe(paidOut, credited, "paid more than came in");
        }
    }

    function _tryShare(address account, bytes32 poolId, uint64 epoch, uint128 shares, bytes32 sibling) private {
        vm.prank(account);
        try ledger.claim(_shareOf(account, poolId, epoch, shares, sibling), account) {} catch {}
    }

    function _tryAll(address account, bytes32 payeeId, uint64 epoch) private {
        vm.prank(account);
        try ledger.claim(_claimOf(account, payeeId, epoch), account) {} catch {}
    }
}
