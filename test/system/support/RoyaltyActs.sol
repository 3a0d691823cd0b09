// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IModelRegistry} from "../../../contracts/interfaces/IModelRegistry.sol";
import {IRoyaltyLedger} from "../../../contracts/interfaces/IRoyaltyLedger.sol";
import {Messages} from "../../../contracts/libraries/Messages.sol";
import {MarketActs} from "./MarketActs.sol";

/// @title Pulls and claims, in any order and however late; every claim is compared with the table of its own epoch.
abstract contract RoyaltyActs is MarketActs {
    uint256 public royaltiesPaid;
    bool public claimWasWrong;
    bool public orderMattered;

    function pull(uint256 seed) external {
        vm.assume(_epochs.length != 0);
        (bytes32 modelId, uint256 index,) = _payeeAt(seed);
        vm.assume(royalties.pull(modelId, index, _one(_epochs[(seed >> 32) % _epochs.length])) != 0);
    }

    function claimAlone(uint256 seed) external {
        (bytes32 id, uint64 epoch) = _closedPot(seed);
        vm.assume(!datasets.isPool(id));
        uint128 due = royalties.pool(id, epoch) - royalties.paid(id, epoch);
        vm.assume(due != 0);
        address owner = _ownerOf(id);
        _claim(seed, IRoyaltyLedger.Claim(id, owner, _one(epoch), 0, new bytes32[](0)), due);
    }

    function claimShare(uint256 seed) external {
        (bytes32 id, uint64 epoch) = _closedPool(seed);
        if (seed & 1 == 0) _pullAll(id, epoch, false);
        (IRoyaltyLedger.Claim memory claim, uint128 due) = _share(id, epoch, (seed >> 8) % 2);
        vm.assume(due != 0);
        _claim(seed, claim, due);
    }

    /// What a leaf is due by the table that this contract kept; zero without a table.
    function _share(bytes32 pool, uint64 epoch, uint256 side) private view returns (IRoyaltyLedger.Claim memory claim, uint128 due) {
        (bool found, uint256 index) = _tableAt(pool, epoch);
        if (!found) return (claim, 0);
        Table storage table = _shareTables[pool][index];
        claim = IRoyaltyLedger.Claim(pool, table.accounts[side], _one(epoch), table.shares[side], _proofOf(table, side));
        uint256 part = uint256(royalties.pool(pool, epoch)) * table.shares[side] / table.total;
        uint256 drawn = royalties.drawn(pool, epoch, table.accounts[side]);
        uint256 left = royalties.pool(pool, epoch) - royalties.paid(pool, epoch);
        uint256 open = part > drawn ? part - drawn : 0;
        due = uint128(open < left ? open : left);
    }

    function _tableAt(bytes32 pool, uint64 epoch) internal view returns (bool found, uint256 index) {
        Table[] storage tables = _shareTables[pool];
        for (uint256 i = 0; i < tables.length; ++i) if (tables[i].fromEpoch <= epoch) (found, index) = (true, i);
    }

    function _claim(uint256 seed, IRoyaltyLedger.Claim memory claim, uint128 due) private {
        address to = token.isBlocked(claim.account) ? ELSEWHERE : claim.account;
        uint256 before = token.balanceOf(to);
        uint128 fee = 0;
        if (seed & 1 << 200 == 0) {
            vm.prank(claim.account);
            royalties.claim(claim, to);
        } else {
            fee = uint128(_mix(seed, 7) % due);
            _claimBySignature(claim, to, fee, due, seed);
        }
        if (token.balanceOf(to) != before + due - fee) claimWasWrong = true;
        royaltiesPaid += due;
    }

    /// Relayed by this contract, which takes the fee.
    function _claimBySignature(IRoyaltyLedger.Claim memory claim, address to, uint128 fee, uint128 maxFee, uint256 nonce) private {
        bytes memory signature = _claimSignature(claim, to, maxFee, nonce);
        royalties.claimBySig(claim, to, fee, maxFee, nonce, block.timestamp, signature);
    }

    function _claimSignature(IRoyaltyLedger.Claim memory claim, address to, uint128 maxFee, uint256 nonce) private view returns (bytes memory) {
        bytes32 epochsHash = keccak256(abi.encodePacked(claim.epochs));
        bytes memory fields = abi.encode(Messages.CLAIM_ROYALTY, claim.payeeId, claim.account, to, epochsHash, maxFee, nonce, block.timestamp);
        return _signFor(_keyOfPerson(claim.account), address(royalties), keccak256(fields));
    }

    function _keyOfPerson(address person) internal view returns (uint256 key) {
        for (key = PERSON; key < PERSON + PEOPLE; ++key) if (addressOf(key) == person) return key;
    }

    /// From the same state: all pulled before the two leaves claim, and claimed between the pulls, in the other order.
    function claimInTwoOrders(uint256 seed) external {
        (bytes32 id, uint64 epoch) = _closedPool(seed);
        (bool found, uint256 index) = _tableAt(id, epoch);
        vm.assume(found && _shareTables[id][index].total >= _shareTables[id][index].shares[0] + _shareTables[id][index].shares[1]);
        uint256 state = vm.snapshotState();
        uint256[2] memory first = _playOrder(id, epoch, false);
        vm.revertToState(state);
        uint256[2] memory second = _playOrder(id, epoch, true);
        vm.revertToState(state);
        vm.assume(first[0] + first[1] != 0);
        if (first[0] != second[0] || first[1] != second[1]) orderMattered = true;
    }

    function _playOrder(bytes32 pool, uint64 epoch, bool mixed) private returns (uint256[2] memory drawn) {
        _pullAll(pool, epoch, mixed);
        _drawSide(pool, epoch, 0);
        _drawSide(pool, epoch, 1);
        for (uint256 side = 0; side < 2; ++side) {
            (IRoyaltyLedger.Claim memory claim,) = _share(pool, epoch, side);
            drawn[side] = royalties.drawn(pool, epoch, claim.account);
        }
    }

    /// From the first model to the last, or from the last with a claim after each.
    function _pullAll(bytes32 pool, uint64 epoch, bool mixed) private {
        for (uint256 i = 0; i < _models.length; ++i) {
            bytes32 modelId = mixed ? _models[_models.length - 1 - i] : _models[i];
            IModelRegistry.Payee[] memory payees = models.payees(modelId);
            for (uint256 j = 0; j < payees.length; ++j) if (payees[j].id == pool) royalties.pull(modelId, j, _one(epoch));
            if (mixed) _drawSide(pool, epoch, i % 2);
        }
    }

    function _drawSide(bytes32 pool, uint64 epoch, uint256 side) private {
        (IRoyaltyLedger.Claim memory claim, uint128 due) = _share(pool, epoch, side);
        if (due == 0) return;
        vm.prank(claim.account);
        royalties.claim(claim, ELSEWHERE);
    }

    // Who and when

    /// A pool that a closed epoch's income goes to. Mixed, because the runner's seeds are often small or extreme.
    function _closedPool(uint256 seed) private view returns (bytes32 pool, uint64 epoch) {
        vm.assume(_epochs.length != 0);
        seed = _mix(seed, 9);
        epoch = _epochs[seed % _epochs.length];
        vm.assume(epoch < _epoch());
        for (uint256 i = 0; i < _models.length && pool == bytes32(0); ++i) {
            bytes32 modelId = _models[((seed >> 64) % _models.length + i) % _models.length];
            if (royalties.income(modelId, epoch) == 0) continue;
            IModelRegistry.Payee[] memory payees = models.payees(modelId);
            for (uint256 j = 0; j < payees.length; ++j) if (datasets.isPool(payees[j].id)) pool = payees[j].id;
        }
        vm.assume(pool != bytes32(0));
    }

    function _closedPot(uint256 seed) private returns (bytes32 id, uint64 epoch) {
        vm.assume(_epochs.length != 0);
        bytes32 modelId;
        uint256 index;
        seed = _mix(seed, 9);
        (modelId, index, id) = _payeeAt(seed);
        epoch = _epochs[(seed >> 32) % _epochs.length];
        vm.assume(epoch < _epoch());
        // Half of the claims come right after a pull; the others take what was pulled before, or give up.
        if (seed & 1 << 201 != 0) royalties.pull(modelId, index, _one(epoch));
    }

    function _payeeAt(uint256 seed) internal view returns (bytes32 modelId, uint256 index, bytes32 id) {
        modelId = _models[(seed >> 64) % _models.length];
        IModelRegistry.Payee[] memory payees = models.payees(modelId);
        vm.assume(payees.length != 0);
        index = (seed >> 128) % payees.length;
        id = payees[index].id;
    }

    function _ownerOf(bytes32 id) internal view returns (address owner) {
        owner = datasets.ownerOf(id);
        if (owner == address(0)) owner = models.authorOf(id);
    }

    function _one(uint64 epoch) internal pure returns (uint64[] memory list) {
        list = new uint64[](1);
        list[0] = epoch;
    }
}
