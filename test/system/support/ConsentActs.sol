// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IDatasetRegistry} from "../../../contracts/interfaces/IDatasetRegistry.sol";
import {Messages} from "../../../contracts/libraries/Messages.sol";
import {SystemWorld} from "./SystemWorld.sol";

/// @title Contributors, stewards and who leaves a pool: what they did is kept here a second time, as the reference of consent.
abstract contract ConsentActs is SystemWorld {
    uint40 internal constant NEVER = type(uint40).max;
    uint40 internal constant RETRAIN = 6 hours;
    uint256 internal constant PURPOSES = 8; // more than one word of packed ends holds
    /// The datasets that acts choose among are the latest; earlier ones are checked once more when they leave the window.
    uint256 internal constant WINDOW = 16;
    uint256 private constant VARIANTS = 24;

    struct Offered {
        bytes32 id;
        uint32 purposes; // still granted
        uint32 offered; // by the terms
        uint32 noticeSeconds;
        uint32 royaltyPpm;
        uint40 endsAt;
        uint32 sunsetSeconds;
        uint16 owner; // PERSON + owner
        IDatasetRegistry.WithdrawalPolicy policy;
        bool withdrawn;
        bool isPool;
        uint256 jurisdictions;
        uint40[PURPOSES] purposeEnds;
    }

    /// Accounts and shares follow from the seed: leaf i is PERSON + start + i, past the people somebody who never claims.
    struct Table {
        bytes32 root;
        uint64 fromEpoch;
        uint64 seed;
        uint64 total;
        uint8 leaves;
        uint8 start;
    }

    Offered[] internal _offers;
    uint256[] internal _pools; // offers
    mapping(bytes32 poolId => Table[]) internal _tables;
    mapping(bytes32 poolId => mapping(uint256 person => uint40)) internal _leftAt;
    mapping(bytes32 poolId => uint256) private _proven; // a bit for each person
    mapping(bytes32 poolId => uint40[]) internal _exits;
    bytes32[VARIANTS] private _termsHashes;

    bool public withdrawalFailed;
    bool public consentWasWrong;
    bool public exitWasWrong;

    constructor() {
        for (uint256 i = 0; i < VARIANTS; ++i) _termsHashes[i] = datasets.storeTerms(_termsOf(i));
    }

    /// Some hold for a day, some for longer than any run; royalties are low enough for 32 datasets in one model.
    function _termsOf(uint256 variant) private pure returns (IDatasetRegistry.Terms memory terms) {
        uint256 seed = _mix(variant, 77);
        terms.validFrom = uint40(START - 1);
        terms.validUntil = uint40(START + (variant % 6 == 1 ? 1 days : 30 days) + seed % 300 days);
        terms.purposes = uint32(0x0f | seed >> 32 & 0xff);
        terms.prohibitions = variant % 3 == 1 ? 0x18 : 0;
        terms.flags = 2;
        terms.noticeSeconds = variant % 4 == 1 ? 2 hours : 0;
        terms.royaltyPpm = uint32((seed >> 64) % 12_000);
        terms.withdrawal = IDatasetRegistry.WithdrawalPolicy(variant % 3);
        if (terms.withdrawal == IDatasetRegistry.WithdrawalPolicy.Sunset) terms.sunsetSeconds = 3 hours;
        terms.retrainSeconds = uint32(RETRAIN);
        terms.jurisdictions = type(uint256).max;
    }

    // Register

    function registerDataset(uint256 seed) external {
        seed = _begin(seed);
        if (_offers.length >= WINDOW && !_isAsKept(_offers.length - WINDOW)) consentWasWrong = _wrong("I13: as its owner left it");
        _registerDataset(seed, seed % 4 == 0);
    }

    function _registerDataset(uint256 seed, bool isPool) internal returns (bytes32 id) {
        uint256 owner = (seed >> 8) % PEOPLE;
        uint256 variant = (seed >> 24) % VARIANTS;
        IDatasetRegistry.Terms memory terms = _termsOf(variant);
        if (terms.validUntil <= block.timestamp) terms = _termsOf(variant = 0);
        IDatasetRegistry.Registration memory registration = IDatasetRegistry.Registration({
            owner: _person(owner),
            commitment: bytes32(_offers.length + 1),
            termsHash: _termsHashes[variant],
            salt: bytes32(seed),
            isPool: isPool,
            recovery: _recoveryOf(_offers.length)
        });
        if (seed >> 32 & 3 != 0) {
            vm.prank(registration.owner);
            id = datasets.register(registration);
        } else {
            bytes32 structHash = keccak256(abi.encode(Messages.REGISTER_DATASET, registration, block.timestamp));
            id = datasets.registerBySig(registration, block.timestamp, _signFor(PERSON + owner, address(datasets), structHash));
        }
        if (isPool) _pools.push(_offers.length);
        Offered storage offer = _offers.push();
        (offer.id, offer.owner, offer.isPool, offer.policy) = (id, uint16(owner), isPool, terms.withdrawal);
        (offer.offered, offer.purposes) = (terms.purposes & ~terms.prohibitions, terms.purposes & ~terms.prohibitions);
        (offer.endsAt, offer.noticeSeconds, offer.sunsetSeconds) = (terms.validUntil, terms.noticeSeconds, terms.sunsetSeconds);
        (offer.royaltyPpm, offer.jurisdictions) = (terms.royaltyPpm, terms.jurisdictions);
    }

    function _recoveryOf(uint256 offer) private view returns (address) {
        return _person(offer * 5 + 3);
    }

    /// Whether the registry has the dataset just as its owner's and recovery's acts left it.
    function _isAsKept(uint256 index) internal view returns (bool) {
        Offered storage offer = _offers[index];
        IDatasetRegistry.Dataset memory found = datasets.dataset(offer.id);
        return found.owner == _person(offer.owner) && found.purposes == offer.purposes && found.jurisdictions == offer.jurisdictions
            && found.endsAt == offer.endsAt && found.withdrawn == offer.withdrawn && found.isPool == offer.isPool
            && found.recovery == _recoveryOf(index);
    }

    /// Mostly one of the latest, now and then one of all.
    function _offerAt(uint256 seed) internal view returns (uint256) {
        uint256 count = _offers.length;
        return seed >> 8 & 7 == 0 || count <= WINDOW ? seed % count : count - WINDOW + seed % WINDOW;
    }

    // Narrow and withdraw

    function narrow(uint256 seed) external {
        seed = _begin(seed);
        Offered storage offer = _offers[_offerAt(seed)];
        uint32 removed = uint32(1 << ((seed >> 16) % PURPOSES));
        uint40 soonest = _now() + offer.noticeSeconds;
        uint40 end = (seed >> 24) % 4 == 0 ? _now() + uint40((seed >> 32) % (seed & 1 == 0 ? 1 hours : 4 days)) : 0;
        if (end != 0 && end < soonest) end = soonest;
        uint256 jurisdictions = 1 << (seed >> 64) % 256;
        IDatasetRegistry.Narrowing memory narrowing = IDatasetRegistry.Narrowing(removed, jurisdictions, end);
        vm.assume(_now() < offer.endsAt && (offer.purposes & removed != 0 || offer.jurisdictions & jurisdictions != 0));
        if (seed >> 72 & 3 != 0) {
            vm.prank(_person(offer.owner));
            datasets.narrow(offer.id, narrowing);
        } else {
            bytes32 structHash = keccak256(abi.encode(Messages.NARROW_DATASET, offer.id, narrowing, block.timestamp));
            datasets.narrowBySig(offer.id, narrowing, block.timestamp, _signFor(PERSON + offer.owner, address(datasets), structHash));
        }
        if (offer.purposes & removed != 0) offer.purposeEnds[(seed >> 16) % PURPOSES] = soonest;
        offer.purposes &= ~removed;
        offer.jurisdictions &= ~jurisdictions;
        if (end != 0 && end < offer.endsAt) offer.endsAt = end;
    }

    /// The first withdrawal of a dataset, by its owner or the recovery address, whatever state it is in.
    function withdrawDataset(uint256 seed) external {
        seed = _begin(seed);
        for (uint256 i = 0; i < WINDOW; ++i) {
            uint256 index = _offerAt(seed + i);
            if (_offers[index].withdrawn) continue;
            _withdraw(index, seed);
            uint40 end = _now() + _offers[index].noticeSeconds;
            if (end < _offers[index].endsAt) _offers[index].endsAt = end;
            _offers[index].withdrawn = true;
            return;
        }
        vm.assume(false);
    }

    /// A repeat changes nothing and does not fail.
    function probeRepeatedWithdrawal(uint256 seed) external {
        seed = _begin(seed);
        uint256 index = _offerAt(seed);
        vm.assume(_offers[index].withdrawn);
        _withdraw(index, seed);
        if (!_isAsKept(index)) consentWasWrong = _wrong("I13: as its owner left it");
    }

    function _withdraw(uint256 index, uint256 seed) private {
        Offered storage offer = _offers[index];
        uint256 by = (seed >> 40) % 4 == 0 ? index * 5 + 3 : offer.owner;
        bool direct = seed >> 48 & 1 == 0;
        bytes memory signature =
            direct ? bytes("") : _signFor(PERSON + by % PEOPLE, address(datasets), Messages.hashWithdrawDataset(offer.id));
        bytes memory call = direct
            ? abi.encodeCall(datasets.withdraw, (offer.id))
            : abi.encodeCall(datasets.withdrawBySig, (offer.id, _person(by), signature));
        if (direct) vm.prank(_person(by));
        (bool done,) = address(datasets).call(call);
        if (!done) withdrawalFailed = _wrong("I10: withdrawal never fails");
    }

    // Leave a pool

    function withdrawFromPool(uint256 seed) external {
        seed = _begin(seed);
        bytes32 pool = _offers[_poolAt(seed)].id;
        uint256 person = (seed >> 8) % PEOPLE;
        vm.assume(_leftAt[pool][person] == 0);
        bool direct = seed >> 16 & 1 == 0;
        bytes memory call = direct
            ? abi.encodeCall(datasets.withdrawFromPool, (pool))
            : abi.encodeCall(
                datasets.withdrawFromPoolBySig,
                (
                    pool,
                    _person(person),
                    _signFor(PERSON + person, address(datasets), Messages.hashWithdrawFromPool(pool, _person(person)))
                )
            );
        if (direct) vm.prank(_person(person));
        (bool done,) = address(datasets).call(call);
        if (!done || datasets.leftPool(pool, _person(person)) != _now()) withdrawalFailed = _wrong("I10: withdrawal never fails");
        _leftAt[pool][person] = _now();
    }

    function proveExit(uint256 seed) external {
        seed = _begin(seed);
        bytes32 pool = _offers[_poolAt(seed)].id;
        for (uint256 i = 0; i < PEOPLE; ++i) {
            uint256 person = (seed + i) % PEOPLE;
            if (_leftAt[pool][person] == 0 || _proven[pool] >> person & 1 == 1) continue;
            (bool found, uint256 index, uint256 leaf) = _leafOf(pool, person, seed >> 16);
            if (!found) continue;
            Table storage table = _tables[pool][index];
            if (!datasets.proveExit(pool, _person(person), index, _shareOf(table, leaf), _proofOf(table, leaf))) exitWasWrong = _wrong("I13: exits are the leaver's");
            _exits[pool].push(_now());
            _proven[pool] |= 1 << person;
            return;
        }
        vm.assume(false);
    }

    /// The exit of somebody who has not left, with a valid proof, or of a leaver with shares that no table gives.
    function attackExit(uint256 seed) external {
        seed = _begin(seed);
        bytes32 pool = _offers[_poolAt(seed)].id;
        uint256 person = (seed >> 8) % PEOPLE;
        (bool found, uint256 index, uint256 leaf) = _leafOf(pool, person, seed >> 16);
        vm.assume(found && _proven[pool] >> person & 1 == 0);
        Table storage table = _tables[pool][index];
        uint128 shares = _shareOf(table, leaf);
        if (_leftAt[pool][person] != 0) ++shares;
        if (datasets.proveExit(pool, _person(person), index, shares, _proofOf(table, leaf))) exitWasWrong = _wrong("I13: exits are the leaver's");
    }

    function _leafOf(bytes32 pool, uint256 person, uint256 seed) internal view returns (bool found, uint256 index, uint256 leaf) {
        uint256 count = _tables[pool].length;
        if (count == 0) return (false, 0, 0);
        index = seed % count;
        Table storage table = _tables[pool][index];
        leaf = (person + PEOPLE - table.start) % PEOPLE;
        found = leaf < table.leaves;
    }

    /// One of the latest pools, as an offer; the first dataset of every run is one.
    function _poolAt(uint256 seed) internal view returns (uint256) {
        uint256 count = _pools.length;
        return _pools[count > 4 ? count - 4 + (seed >> 200) % 4 : (seed >> 200) % count];
    }

    // Share

    function announceShareTable(uint256 seed) external {
        seed = _begin(seed);
        _announce(_poolAt(seed), seed);
    }

    /// From two leaves to eight, now and then many: a proof has one hash to six.
    function _announce(uint256 offer, uint256 seed) internal {
        bytes32 pool = _offers[offer].id;
        Table[] storage tables = _tables[pool];
        Table storage table = tables.push();
        (table.seed, table.start) = (uint64(seed >> 8), uint8((seed >> 8) % PEOPLE));
        table.leaves = uint8((seed >> 72) % 8 == 0 ? 9 + (seed >> 80) % 40 : 2 + (seed >> 80) % 7);
        // A steward's total may be too high or too low: then money stays, or the first to come gets it.
        uint64 total = uint64((seed >> 96) % 3);
        for (uint256 i = 0; i < table.leaves; ++i) total += uint64(_shareOf(table, i));
        table.total = total - 1;
        (table.root,) = _climb(table, type(uint256).max);
        uint64 from = _epoch() + 1 + uint64((seed >> 104) % 2);
        if (tables.length > 1 && tables[tables.length - 2].fromEpoch >= from) from = tables[tables.length - 2].fromEpoch + 1;
        vm.assume(from <= _epoch() + 900);
        table.fromEpoch = from;
        vm.prank(_person(_offers[offer].owner));
        datasets.announceShareTable(pool, IDatasetRegistry.ShareTable(table.root, table.total, from, "table"));
    }

    function _shareOf(Table memory table, uint256 leaf) internal pure returns (uint128) {
        return uint128(1 + _mix(table.seed, leaf) % 100);
    }

    function _proofOf(Table memory table, uint256 leaf) internal view returns (bytes32[] memory proof) {
        (, proof) = _climb(table, leaf);
    }

    /// Builds the tree of sorted pairs, an odd node goes up as it is, and notes the siblings on the way of one leaf.
    function _climb(Table memory table, uint256 leaf) private view returns (bytes32 root, bytes32[] memory proof) {
        uint256 count = table.leaves;
        bytes32[] memory nodes = new bytes32[](count);
        for (uint256 i = 0; i < count; ++i) {
            address holder = i < PEOPLE ? _person(table.start + i) : address(uint160(uint256(keccak256(abi.encode(table.seed, i)))));
            nodes[i] = keccak256(bytes.concat(keccak256(abi.encode(holder, _shareOf(table, i)))));
        }
        bytes32[8] memory way;
        uint256 length = 0;
        for (; count > 1; count = (count + 1) / 2) {
            if (leaf != type(uint256).max) {
                if (leaf ^ 1 < count) way[length++] = nodes[leaf ^ 1];
                leaf /= 2;
            }
            for (uint256 i = 0; i < count; i += 2) {
                if (i + 1 == count) nodes[i / 2] = nodes[i];
                else nodes[i / 2] = _pair(nodes[i], nodes[i + 1]);
            }
        }
        proof = new bytes32[](length);
        for (uint256 i = 0; i < length; ++i) proof[i] = way[i];
        return (nodes[0], proof);
    }

    function _pair(bytes32 a, bytes32 b) private pure returns (bytes32) {
        return a < b ? bytes32(_mix(uint256(a), uint256(b))) : bytes32(_mix(uint256(b), uint256(a)));
    }

    /// When a dataset stops a model that holds what it learned at `trainedAt`.
    function _datasetEnd(Offered storage offer, uint256 purpose, uint40 trainedAt) internal view returns (uint40 end) {
        if (offer.offered >> purpose & 1 == 0) return 0;
        end = offer.endsAt;
        uint40 narrowedEnd = offer.purposeEnds[purpose];
        if (narrowedEnd != 0 && narrowedEnd < end) end = narrowedEnd;
        if (offer.policy == IDatasetRegistry.WithdrawalPolicy.KeepTrained) end = NEVER;
        if (offer.policy == IDatasetRegistry.WithdrawalPolicy.Sunset) end += offer.sunsetSeconds;
        if (!offer.isPool) return end;
        uint40[] storage exits = _exits[offer.id];
        for (uint256 i = 0; i < exits.length; ++i) {
            if (exits[i] > trainedAt && exits[i] + RETRAIN < end) end = exits[i] + RETRAIN;
        }
    }
}
