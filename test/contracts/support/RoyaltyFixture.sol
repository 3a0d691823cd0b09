// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {RoyaltyLedger} from "../../../contracts/RoyaltyLedger.sol";
import {IRoyaltyLedger} from "../../../contracts/interfaces/IRoyaltyLedger.sol";
import {LineageTest} from "./LineageTest.sol";

/// @title A ledger whose escrow is the test: it creates the ledger, credits income, and keeps what was paid out.
abstract contract RoyaltyFixture is LineageTest {
    uint256 internal constant ANN_KEY = 0xA;
    uint256 internal constant BOB_KEY = 0xB;

    RoyaltyLedger internal ledger;
    address internal ann = vm.addr(ANN_KEY);
    address internal bob = vm.addr(BOB_KEY);
    mapping(address account => uint256) internal received;
    uint256 internal paidOut;
    uint256 internal payments;

    function setUp() public virtual override {
        super.setUp();
        ledger = new RoyaltyLedger(address(datasets), address(models));
    }

    function payRoyalty(address to, uint128 amount) external {
        require(msg.sender == address(ledger), "not the ledger");
        received[to] += amount;
        paidOut += amount;
        ++payments;
    }

    /// Credits income now, pulls it for every payee, and closes the epoch.
    function _earn(bytes32 model, uint128 amount) internal returns (uint64 epoch) {
        epoch = _epoch();
        ledger.creditIncome(model, epoch, amount);
        for (uint256 i = 0; i < models.payees(model).length; ++i) ledger.pull(model, i, _epochs(epoch));
        _nextEpoch();
    }

    function _claimOf(address account, bytes32 payeeId, uint64 epoch) internal pure returns (IRoyaltyLedger.Claim memory claim) {
        claim.payeeId = payeeId;
        claim.account = account;
        claim.epochs = _epochs(epoch);
    }

    function _claim(address account, bytes32 payeeId, uint64 epoch) internal returns (uint128) {
        IRoyaltyLedger.Claim memory claim = _claimOf(account, payeeId, epoch);
        vm.prank(account);
        return ledger.claim(claim, account);
    }

    function _shareOf(address account, bytes32 poolId, uint64 epoch, uint128 shares, bytes32 sibling)
        internal
        pure
        returns (IRoyaltyLedger.Claim memory claim)
    {
        claim = _claimOf(account, poolId, epoch);
        (claim.shares, claim.proof) = (shares, _proof(sibling));
    }

    function _claimShare(address account, bytes32 poolId, uint64 epoch, uint128 shares, bytes32 sibling) internal returns (uint128) {
        vm.prank(account);
        return ledger.claim(_shareOf(account, poolId, epoch, shares, sibling), account);
    }

    function _epochs(uint64 epoch) internal pure returns (uint64[] memory list) {
        list = new uint64[](1);
        list[0] = epoch;
    }

    function _refuseClaim(IRoyaltyLedger.Claim memory claim, bytes memory why) internal {
        vm.expectRevert(why);
        vm.prank(claim.account);
        ledger.claim(claim, claim.account);
    }
}
