// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IRoyaltyLedger} from "../../../contracts/interfaces/IRoyaltyLedger.sol";
import {Messages} from "../../../contracts/libraries/Messages.sol";
import {MarketActs} from "./MarketActs.sol";

/// @title Pulls and claims, in any order and however late; every claim is compared with the table of its own epoch.
abstract contract RoyaltyActs is MarketActs {
    struct Pot {
        uint128 pooled;
        uint128 paid;
    }

    mapping(uint256 model => mapping(uint256 seat => mapping(uint64 epoch => uint256))) internal _pulled;
    mapping(bytes32 payeeId => mapping(uint64 epoch => Pot)) internal _pots;
    mapping(bytes32 poolId => mapping(uint64 epoch => mapping(uint256 person => uint256))) internal _drawn;
    uint256 private _claimNonces;

    uint256 public royaltiesPaid;
    bool public pullWasWrong;
    bool public claimWasWrong;
    bool public orderMattered;

    // Pull

    function pull(uint256 seed) external {
        seed = _begin(seed);
        (bool found, uint256 model, uint64 epoch) = _incomeAt(seed);
        vm.assume(found);
        uint256 count = _models[model].seats.length;
        for (uint256 i = 0; i < count && i < 4; ++i) if (_pull(model, ((seed >> 128) + i) % count, epoch) != 0) return;
        vm.assume(false);
    }

    /// Rounds down on the running total.
    function _pull(uint256 model, uint256 seat, uint64 epoch) internal returns (uint256 fresh) {
        Seat storage payee = _models[model].seats[seat];
        uint256 part = _income[model][epoch] * payee.ppm / _models[model].payeesPpm;
        fresh = part - _pulled[model][seat][epoch];
        if (fresh == 0) return 0;
        if (royalties.pull(_models[model].id, seat, _one(epoch)) != fresh) pullWasWrong = _wrong("I6: each pull its share");
        _pulled[model][seat][epoch] = part;
        _pots[payee.id][epoch].pooled += uint128(fresh);
    }

    // Claim

    function claimAlone(uint256 seed) external {
        seed = _begin(seed);
        (bool found, uint256 model, uint64 epoch) = _incomeAt(seed);
        vm.assume(found && epoch < _epoch());
        uint256 count = _models[model].seats.length;
        uint256 seat = (seed >> 128) % count;
        for (uint256 i = 1; i < count && _isPool(_models[model].seats[seat]); ++i) seat = ((seed >> 128) + i) % count;
        Seat storage payee = _models[model].seats[seat];
        vm.assume(!_isPool(payee));
        // Half of the claims come right after a pull; the others take what was pulled before, or give up.
        if (seed >> 201 & 1 == 0) _pull(model, seat, epoch);
        Pot storage pot = _pots[payee.id][epoch];
        uint128 amount = pot.pooled - pot.paid;
        vm.assume(amount != 0);
        uint256 owner = payee.isDataset ? PERSON + _offers[payee.offer].owner : _keyOfPerson(_authorOf(payee.id));
        pot.paid = pot.pooled;
        _claim(seed, owner, IRoyaltyLedger.Claim(payee.id, addressOf(owner), _one(epoch), 0, new bytes32[](0)), amount);
    }

    function claimShare(uint256 seed) external {
        seed = _begin(seed);
        (bool found, uint256 model, uint256 seat, uint64 epoch) = _pooledAt(seed);
        vm.assume(found);
        _pull(model, seat, epoch);
        bytes32 pool = _models[model].seats[seat].id;
        (IRoyaltyLedger.Claim memory claim, uint256 person) = _shareIn(pool, epoch, (seed >> 136));
        vm.assume(person != type(uint256).max);
        uint128 amount = _book(claim, person, epoch);
        vm.assume(amount != 0);
        _claim(seed, PERSON + person, claim, amount);
    }

    /// A share of one unit more, the leaf of somebody else, a share of an epoch that is still open, or one that was drawn already.
    function attackClaim(uint256 seed) external {
        seed = _begin(seed);
        (bool found, uint256 model, uint256 seat, uint64 epoch) = _pooledAt(seed);
        vm.assume(found);
        bytes32 pool = _models[model].seats[seat].id;
        uint256 kind = (seed >> 144) % 5;
        if (kind == 2) _pull(model, seat, epoch = _epoch());
        (IRoyaltyLedger.Claim memory claim, uint256 person) = _shareIn(pool, epoch, (seed >> 136));
        vm.assume(person != type(uint256).max && _pots[pool][epoch].pooled != 0);
        if (kind == 0) claim.shares += 1;
        if (kind == 1) claim.account = _person(person + 1);
        if (kind == 3) vm.assume(_dueOf(claim, person, epoch) == 0);
        if (kind == 4) claim.shares = 0;
        vm.prank(claim.account);
        try royalties.claim(claim, ELSEWHERE) {
            claimWasWrong = _wrong("I5: each claim its share");
        } catch {}
    }

    /// Books what a leaf is due by the table that this contract kept.
    function _book(IRoyaltyLedger.Claim memory claim, uint256 person, uint64 epoch) private returns (uint128 amount) {
        amount = uint128(_dueOf(claim, person, epoch));
        _pots[claim.payeeId][epoch].paid += amount;
        _drawn[claim.payeeId][epoch][person] += amount;
    }

    function _dueOf(IRoyaltyLedger.Claim memory claim, uint256 person, uint64 epoch) private view returns (uint256) {
        (, uint256 index) = _tableAt(claim.payeeId, epoch);
        Pot memory pot = _pots[claim.payeeId][epoch];
        uint256 part = uint256(pot.pooled) * claim.shares / _tables[claim.payeeId][index].total;
        uint256 drawn = _drawn[claim.payeeId][epoch][person];
        uint256 open = part > drawn ? part - drawn : 0;
        uint256 left = pot.pooled - pot.paid;
        return open < left ? open : left;
    }

    /// The claim of one of the people in the epoch's table; of nobody where there was none.
    function _shareIn(bytes32 pool, uint64 epoch, uint256 seed) private view returns (IRoyaltyLedger.Claim memory claim, uint256 person) {
        (bool found, uint256 index) = _tableAt(pool, epoch);
        if (!found) return (claim, type(uint256).max);
        Table memory table = _tables[pool][index];
        uint256 leaf = seed % (table.leaves < PEOPLE ? table.leaves : PEOPLE);
        person = (table.start + leaf) % PEOPLE;
        claim = IRoyaltyLedger.Claim(pool, _person(person), _one(epoch), _shareOf(table, leaf), _proofOf(table, leaf));
    }

    /// From the latest back.
    function _tableAt(bytes32 pool, uint64 epoch) internal view returns (bool found, uint256 index) {
        Table[] storage tables = _tables[pool];
        for (index = tables.length; index > 0; --index) if (tables[index - 1].fromEpoch <= epoch) return (true, index - 1);
    }

    function _claim(uint256 seed, uint256 owner, IRoyaltyLedger.Claim memory claim, uint128 amount) private {
        address to = _block(claim.account, seed >> 150) ? ELSEWHERE : claim.account;
        uint256 before = token.balanceOf(to);
        uint128 fee = 0;
        if (seed >> 200 & 3 != 0) {
            vm.prank(claim.account);
            if (royalties.claim(claim, to) != amount) claimWasWrong = _wrong("I5: each claim its share");
        } else {
            fee = uint128(_mix(seed, 7) % amount);
            _claimRelayed(owner, claim, to, fee, amount);
        }
        if (token.balanceOf(to) != before + amount - fee) claimWasWrong = _wrong("I5: each claim its share");
        royaltiesPaid += amount;
    }

    /// Relayed by this contract, which takes the fee.
    function _claimRelayed(uint256 owner, IRoyaltyLedger.Claim memory claim, address to, uint128 fee, uint128 maxFee) private {
        uint256 nonce = ++_claimNonces;
        bytes memory fields = abi.encode(
            Messages.CLAIM_ROYALTY, claim.payeeId, claim.account, to, keccak256(abi.encodePacked(claim.epochs)), maxFee, nonce, block.timestamp
        );
        bytes memory signature = _signFor(owner, address(royalties), keccak256(fields));
        royalties.claimBySig(claim, to, fee, maxFee, nonce, block.timestamp, signature);
    }

    // Two orders

    /// From the same state: all pulled before everyone claims, and claimed between the pulls, in the other order.
    function probeTwoOrders(uint256 seed) external {
        seed = _begin(seed);
        vm.assume(seed & 3 == 0);
        (bool found, uint256 model, uint256 seat, uint64 epoch) = _pooledAt(seed);
        vm.assume(found);
        bytes32 pool = _models[model].seats[seat].id;
        (bool has, uint256 index) = _tableAt(pool, epoch);
        vm.assume(has);
        Table memory table = _tables[pool][index];
        uint256 shares = 0;
        for (uint256 i = 0; i < table.leaves; ++i) shares += _shareOf(table, i);
        vm.assume(table.total >= shares);
        uint256 state = vm.snapshotState();
        uint256[PEOPLE] memory first = _playOrder(pool, epoch, table, false);
        vm.revertToState(state);
        uint256[PEOPLE] memory second = _playOrder(pool, epoch, table, true);
        vm.revertToState(state);
        uint256 sum = 0;
        for (uint256 i = 0; i < PEOPLE; ++i) {
            sum += first[i];
            if (first[i] != second[i]) orderMattered = _wrong("I6: any order draws the same");
        }
        vm.assume(sum != 0);
    }

    function _playOrder(bytes32 pool, uint64 epoch, Table memory table, bool mixed) private returns (uint256[PEOPLE] memory drawn) {
        uint256 leaves = table.leaves < PEOPLE ? table.leaves : PEOPLE;
        uint256 count = _models.length > LATEST ? LATEST : _models.length;
        for (uint256 i = 0; i < count; ++i) {
            uint256 model = _models.length - 1 - (mixed ? count - 1 - i : i);
            for (uint256 seat = 0; seat < _models[model].seats.length; ++seat) {
                if (_models[model].seats[seat].id == pool) royalties.pull(_models[model].id, seat, _one(epoch));
            }
            if (mixed) _drawLeaf(pool, epoch, table, i % leaves);
        }
        for (uint256 i = 0; i < leaves; ++i) _drawLeaf(pool, epoch, table, mixed ? leaves - 1 - i : i);
        for (uint256 i = 0; i < leaves; ++i) {
            uint256 person = (table.start + i) % PEOPLE;
            drawn[person] = royalties.drawn(pool, epoch, _person(person));
        }
    }

    /// Whoever has nothing to claim at the moment is refused.
    function _drawLeaf(bytes32 pool, uint64 epoch, Table memory table, uint256 leaf) private {
        address who = _person(table.start + leaf);
        IRoyaltyLedger.Claim memory claim = IRoyaltyLedger.Claim(pool, who, _one(epoch), _shareOf(table, leaf), _proofOf(table, leaf));
        vm.prank(who);
        try royalties.claim(claim, ELSEWHERE) {} catch {}
    }

    // Who and when

    /// A model with income and one of its latest epochs.
    function _incomeAt(uint256 seed) private view returns (bool found, uint256 model, uint64 epoch) {
        for (uint256 i = 0; i < LATEST; ++i) {
            model = _modelAt(seed + i);
            uint256 count = _epochsOf[model].length;
            if (count != 0) return (true, model, _epochsOf[model][count > 6 ? count - 1 - (seed >> 32) % 6 : (seed >> 32) % count]);
        }
    }

    /// A pool that a closed epoch's income goes to.
    function _pooledAt(uint256 seed) private view returns (bool found, uint256 model, uint256 seat, uint64 epoch) {
        for (uint256 i = 0; i < LATEST; ++i) {
            (found, model, epoch) = _incomeAt(seed + i);
            if (!found || epoch >= _epoch()) continue;
            uint256 count = _models[model].seats.length;
            for (seat = 0; seat < count && seat < 6; ++seat) if (_isPool(_models[model].seats[seat])) return (true, model, seat, epoch);
        }
        found = false;
    }

    function _isPool(Seat storage payee) private view returns (bool) {
        return payee.isDataset && _offers[payee.offer].isPool;
    }

    function _authorOf(bytes32 id) private view returns (address) {
        for (uint256 i = _models.length; i > 0; --i) if (_models[i - 1].id == id) return _models[i - 1].author;
        return address(0);
    }

    function _keyOfPerson(address person) internal view returns (uint256 key) {
        for (key = PERSON; key < PERSON + PEOPLE; ++key) if (addressOf(key) == person) return key;
    }

    function _one(uint64 epoch) internal pure returns (uint64[] memory list) {
        list = new uint64[](1);
        list[0] = epoch;
    }
}
