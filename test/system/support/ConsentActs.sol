// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IDatasetRegistry} from "../../../contracts/interfaces/IDatasetRegistry.sol";
import {IModelRegistry} from "../../../contracts/interfaces/IModelRegistry.sol";
import {Messages} from "../../../contracts/libraries/Messages.sol";
import {SystemWorld} from "./SystemWorld.sol";

/// @title Contributors and authors: what they did is kept here a second time, as the reference of consent.
abstract contract ConsentActs is SystemWorld {
    uint256 internal constant MAX_DATASETS = 9;
    uint256 internal constant MAX_MODELS = 8;
    uint40 internal constant NEVER = type(uint40).max;

    struct Offered {
        bytes32 id;
        uint256 owner; // key
        bool isPool;
        bool withdrawn;
        uint40 endsAt;
        uint32 purposes;
        uint256 jurisdictions;
        IDatasetRegistry.Terms terms;
    }

    struct Table {
        uint64 fromEpoch;
        bytes32 root;
        uint128 total;
        address[2] accounts;
        uint128[2] shares;
    }

    Offered[] internal _offers;
    mapping(bytes32 datasetId => uint256) internal _offerIndex;
    mapping(bytes32 datasetId => mapping(uint8 purpose => uint40)) internal _purposeEnds;
    mapping(bytes32 poolId => Table[]) internal _shareTables;
    mapping(bytes32 poolId => mapping(address account => uint40)) internal _leftAt;
    mapping(bytes32 poolId => mapping(address account => bool)) internal _proven;
    mapping(bytes32 poolId => uint40[]) internal _exits;
    bytes32[] internal _models;
    mapping(bytes32 modelId => bytes32[]) internal _parents;
    mapping(bytes32 modelId => mapping(uint8 purpose => uint40)) internal _lowestEnd;

    bool public withdrawalFailed;
    bool public syncWasWrong;
    bool public endRose;
    uint256 private _digests;

    // Register

    function registerDataset(uint256 seed) external {
        vm.assume(_offers.length < MAX_DATASETS);
        _registerDataset(seed, seed % 3 == 0);
    }

    function _registerDataset(uint256 seed, bool isPool) internal {
        uint256 owner = PERSON + (seed >> 8) % PEOPLE;
        IDatasetRegistry.Terms memory terms = _termsOf(_mix(seed, 1));
        IDatasetRegistry.Registration memory registration = IDatasetRegistry.Registration({
            owner: addressOf(owner),
            commitment: bytes32(++_digests),
            termsHash: datasets.storeTerms(terms),
            salt: bytes32(seed),
            isPool: isPool,
            recovery: _person(seed >> 16)
        });
        bytes32 id;
        if (seed & 1 == 0) {
            vm.prank(addressOf(owner));
            id = datasets.register(registration);
        } else {
            bytes32 structHash = keccak256(abi.encode(Messages.REGISTER_DATASET, registration, block.timestamp));
            id = datasets.registerBySig(registration, block.timestamp, _signFor(owner, address(datasets), structHash));
        }
        _offerIndex[id] = _offers.length;
        _offers.push(Offered(id, owner, isPool, false, terms.validUntil, terms.purposes & ~terms.prohibitions, terms.jurisdictions, terms));
    }

    function _termsOf(uint256 seed) private view returns (IDatasetRegistry.Terms memory terms) {
        terms.validFrom = uint40(START - 1);
        terms.validUntil = _now() + 5 days + uint40(seed % 300 days);
        terms.purposes = 0x0f | uint32(seed >> 32 & 0xff);
        terms.prohibitions = seed % 3 == 0 ? 0x18 : 0;
        terms.flags = 2;
        terms.noticeSeconds = seed % 4 == 0 ? 2 hours : 0;
        terms.royaltyPpm = uint32((seed >> 64) % 50_000);
        terms.withdrawal = IDatasetRegistry.WithdrawalPolicy((seed >> 96) % 3);
        if (terms.withdrawal == IDatasetRegistry.WithdrawalPolicy.Sunset) terms.sunsetSeconds = 3 hours;
        terms.retrainSeconds = 6 hours;
        terms.jurisdictions = type(uint256).max;
    }

    function registerModel(uint256 seed) external {
        vm.assume(_models.length < MAX_MODELS);
        _registerModel(seed, (seed >> 8) % 3, (seed >> 16) % 3);
    }

    function _registerModel(uint256 seed, uint256 datasetCount, uint256 parentCount) internal {
        if (parentCount > _models.length) parentCount = _models.length;
        IModelRegistry.Registration memory draft;
        draft.author = _person(seed >> 24);
        draft.onnxDigest = bytes32(++_digests);
        draft.manifestDigest = bytes32(seed);
        draft.datasets = new IModelRegistry.DatasetShare[](datasetCount);
        draft.purposes = type(uint32).max;
        for (uint256 i = 0; i < datasetCount; ++i) {
            Offered storage offer = _offers[((seed >> 32) + i) % _offers.length];
            draft.datasets[i] = IModelRegistry.DatasetShare(offer.id, offer.terms.royaltyPpm + uint32((seed >> 40) % 1000));
        }
        draft.parents = new bytes32[](parentCount);
        for (uint256 i = 0; i < parentCount; ++i) {
            draft.parents[i] = _models[((seed >> 48) + i) % _models.length];
            draft.purposes &= models.model(draft.parents[i]).purposes;
        }
        // The purposes that every dataset of the lineage still grants; wider ones are refused.
        for (uint256 i = 0; i < _offers.length; ++i) draft.purposes &= _isIn(_offers[i].id, draft) ? _offers[i].purposes : type(uint32).max;
        draft.authorPpm = uint32((seed >> 56) % 150_000);
        draft.derivativePpm = uint32((seed >> 72) % 30_000);
        vm.prank(draft.author);
        try models.register(draft) returns (bytes32 id) {
            _models.push(id);
            _parents[id] = draft.parents;
            _noteEnds(id);
        } catch {
            // Training that is not permitted now, or shares that are too high together.
            vm.assume(false);
        }
    }

    function _isIn(bytes32 datasetId, IModelRegistry.Registration memory draft) private view returns (bool) {
        for (uint256 i = 0; i < draft.datasets.length; ++i) if (draft.datasets[i].datasetId == datasetId) return true;
        for (uint256 i = 0; i < draft.parents.length; ++i) {
            IModelRegistry.Payee[] memory payees = models.payees(draft.parents[i]);
            for (uint256 j = 0; j < payees.length; ++j) if (payees[j].id == datasetId) return true;
        }
        return false;
    }

    // Narrow, withdraw, leave a pool

    function narrow(uint256 seed) external {
        Offered storage offer = _offers[seed % _offers.length];
        uint32 removed = uint32(1 << ((seed >> 8) % 8));
        uint40 end = (seed >> 16) % 4 == 0 ? _now() + uint40((seed >> 24) % 4 days) : 0;
        uint40 soonest = _now() + offer.terms.noticeSeconds;
        if (end != 0 && end < soonest) end = soonest;
        vm.assume(_now() < offer.endsAt && (offer.purposes & removed != 0 || (end != 0 && end < offer.endsAt)));
        IDatasetRegistry.Narrowing memory narrowing = IDatasetRegistry.Narrowing(removed, (seed >> 32) % 2, end);
        if (seed & 1 == 0) {
            vm.prank(addressOf(offer.owner));
            datasets.narrow(offer.id, narrowing);
        } else {
            bytes32 structHash = keccak256(abi.encode(Messages.NARROW_DATASET, offer.id, narrowing, block.timestamp));
            datasets.narrowBySig(offer.id, narrowing, block.timestamp, _signFor(offer.owner, address(datasets), structHash));
        }
        for (uint8 purpose = 0; purpose < 8; ++purpose) {
            if ((offer.purposes & removed) >> purpose & 1 == 1) _purposeEnds[offer.id][purpose] = soonest;
        }
        offer.purposes &= ~removed;
        offer.jurisdictions &= ~narrowing.removeJurisdictions;
        if (end != 0 && end < offer.endsAt) offer.endsAt = end;
    }

    /// In whatever state the dataset is; most calls come too late to change anything, none may fail.
    function withdrawDataset(uint256 seed) external {
        vm.assume(seed % 4 == 0);
        Offered storage offer = _offers[(seed >> 8) % _offers.length];
        bytes memory signature = _signFor(offer.owner, address(datasets), Messages.hashWithdrawDataset(offer.id));
        if (seed & 1 << 200 != 0) vm.prank(addressOf(offer.owner));
        (bool done,) = address(datasets).call(
            seed & 1 << 200 != 0
                ? abi.encodeCall(datasets.withdraw, (offer.id))
                : abi.encodeCall(datasets.withdrawBySig, (offer.id, addressOf(offer.owner), signature))
        );
        if (!done) withdrawalFailed = true;
        uint40 end = _now() + offer.terms.noticeSeconds;
        if (!offer.withdrawn && end < offer.endsAt) offer.endsAt = end;
        offer.withdrawn = true;
    }

    function withdrawFromPool(uint256 seed) external {
        bytes32 pool = _poolAt(seed);
        uint256 key = PERSON + (seed >> 8) % PEOPLE;
        try datasets.withdrawFromPoolBySig(
            pool, addressOf(key), _signFor(key, address(datasets), Messages.hashWithdrawFromPool(pool, addressOf(key)))
        ) {} catch {
            withdrawalFailed = true;
        }
        if (_leftAt[pool][addressOf(key)] == 0) _leftAt[pool][addressOf(key)] = _now();
    }

    function proveExit(uint256 seed) external {
        bytes32 pool = _poolAt(seed);
        vm.assume(_shareTables[pool].length != 0);
        uint256 index = (seed >> 8) % _shareTables[pool].length;
        Table storage table = _shareTables[pool][index];
        uint256 side = (seed >> 16) % 2;
        address leaver = table.accounts[side];
        bool proven = datasets.proveExit(pool, leaver, index, table.shares[side], _proofOf(table, side));
        if (proven && !_proven[pool][leaver]) _exits[pool].push(_now());
        if (proven != (_leftAt[pool][leaver] != 0)) syncWasWrong = true;
        if (proven) _proven[pool][leaver] = true;
    }

    // Share

    function announceShareTable(uint256 seed) external {
        _announce(seed);
    }

    function _announce(uint256 seed) internal {
        bytes32 pool = _poolAt(seed);
        Table[] storage tables = _shareTables[pool];
        vm.assume(tables.length < 12);
        Table memory table;
        table.accounts = [_person(seed >> 8), _person((seed >> 8) + 1 + (seed >> 16) % (PEOPLE - 1))];
        table.shares = [1 + uint128((seed >> 24) % 100), 1 + uint128((seed >> 32) % 100)];
        // A steward's total may be too high or too low: then money stays, or the first to come gets it.
        table.total = table.shares[0] + table.shares[1] + uint128((seed >> 40) % 3) - 1;
        bytes32[2] memory leaves = [_leaf(table, 0), _leaf(table, 1)];
        table.root = leaves[0] < leaves[1] ? keccak256(abi.encode(leaves[0], leaves[1])) : keccak256(abi.encode(leaves[1], leaves[0]));
        table.fromEpoch = _epoch() + 1 + uint64((seed >> 48) % 2);
        if (tables.length != 0 && tables[tables.length - 1].fromEpoch >= table.fromEpoch) table.fromEpoch = tables[tables.length - 1].fromEpoch + 1;
        vm.prank(addressOf(_offers[_offerIndex[pool]].owner));
        datasets.announceShareTable(pool, IDatasetRegistry.ShareTable(table.root, table.total, table.fromEpoch, "table"));
        tables.push(table);
    }

    function _leaf(Table memory table, uint256 side) private pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(table.accounts[side], table.shares[side]))));
    }

    function _proofOf(Table memory table, uint256 side) internal pure returns (bytes32[] memory proof) {
        proof = new bytes32[](1);
        proof[0] = _leaf(table, 1 - side);
    }

    /// Some pool; the first dataset of every run is one.
    function _poolAt(uint256 seed) internal view returns (bytes32) {
        for (uint256 i = 0; i < _offers.length; ++i) {
            Offered storage offer = _offers[(seed % _offers.length + i) % _offers.length];
            if (offer.isPool) return offer.id;
        }
        return _offers[0].id;
    }

    // Sync

    function sync(uint256 seed) external {
        _sync(_models[seed % _models.length]);
    }

    function _sync(bytes32 modelId) internal {
        models.sync(modelId);
        uint32 purposes = models.model(modelId).purposes;
        for (uint8 purpose = 0; purpose < 8; ++purpose) {
            uint40 expected = purposes >> purpose & 1 == 1 ? referenceEnd(modelId, purpose) : 0;
            if (models.serveEnd(modelId, purpose) != expected) syncWasWrong = true;
        }
        _noteEnds(modelId);
    }

    function _noteEnds(bytes32 modelId) private {
        for (uint8 purpose = 0; purpose < 8; ++purpose) {
            uint40 end = models.serveEnd(modelId, purpose);
            uint40 known = _lowestEnd[modelId][purpose];
            if (known != 0 && end > known) endRose = true;
            _lowestEnd[modelId][purpose] = end;
        }
    }

    /// A model's end by what people did, as this contract kept it; only the lineage is the registry's.
    function referenceEnd(bytes32 modelId, uint8 purpose) public view returns (uint40 end) {
        end = NEVER;
        IModelRegistry.Payee[] memory payees = models.payees(modelId);
        for (uint256 i = 0; i < payees.length; ++i) {
            if (!payees[i].isDataset) continue;
            uint40 own = _datasetEnd(_offers[_offerIndex[payees[i].id]], purpose, models.trainedAt(modelId, i));
            if (own < end) end = own;
        }
    }

    function _datasetEnd(Offered storage offer, uint8 purpose, uint40 trainedAt) private view returns (uint40 end) {
        if ((offer.terms.purposes & ~offer.terms.prohibitions) >> purpose & 1 == 0) return 0;
        end = offer.endsAt;
        uint40 narrowedEnd = _purposeEnds[offer.id][purpose];
        if (narrowedEnd != 0 && narrowedEnd < end) end = narrowedEnd;
        if (offer.terms.withdrawal == IDatasetRegistry.WithdrawalPolicy.KeepTrained) end = NEVER;
        if (offer.terms.withdrawal == IDatasetRegistry.WithdrawalPolicy.Sunset) end += offer.terms.sunsetSeconds;
        for (uint256 i = 0; i < _exits[offer.id].length; ++i) {
            uint40 exit = _exits[offer.id][i];
            if (exit > trainedAt && exit + offer.terms.retrainSeconds < end) end = exit + offer.terms.retrainSeconds;
        }
    }
}
