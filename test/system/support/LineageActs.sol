// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IModelRegistry} from "../../../contracts/interfaces/IModelRegistry.sol";
import {ConsentActs} from "./ConsentActs.sol";

/// @title Authors: each lineage is flattened here a second time, and each end recomputed from what people did.
abstract contract LineageActs is ConsentActs {
    uint256 internal constant MAX_PAYEES = 32;
    uint256 internal constant LATEST = 8;

    struct Seat {
        bytes32 id;
        uint32 ppm;
        bool isDataset;
        uint40 trainedAt;
        uint64 offer; // where it is a dataset
    }

    struct Published {
        bytes32 id;
        address author;
        uint32 payeesPpm;
        uint32 purposes;
        uint32 derivativePpm;
        uint40[PURPOSES] ends; // as they were stored last
        Seat[] seats;
        uint256[] parents;
    }

    struct Draft {
        IModelRegistry.Registration registration;
        uint256[] parents;
        Seat[] seats; // one more than may be
        uint256 count;
        uint256 royaltiesPpm;
        bool refused;
        uint32 granted; // by all datasets and parents
        uint32 offered; // by the datasets alone
    }

    Published[] internal _models;
    bool public lineageWasWrong;
    bool public purposesWidened;
    bool public syncWasWrong;
    bool public endRose;

    // Register

    function registerModel(uint256 seed) external {
        seed = _begin(seed);
        Draft memory draft = _drafted(seed, (seed >> 8) % 3, (seed >> 16) % 3, false);
        // Training that is not permitted now, or shares that are too high together.
        vm.assume(!draft.refused);
        _publish(draft);
    }

    /// Near the bound: many datasets at once, or beside those of wide parents.
    function registerWideModel(uint256 seed) external {
        seed = _begin(seed);
        vm.assume((seed >> 4) % 4 == 0);
        Draft memory draft = _drafted(seed, 24 + (seed >> 8) % 9, (seed >> 16) % 2, false);
        vm.assume(!draft.refused);
        _publish(draft);
    }

    /// One payee too many, a dataset that ended, shares too high together, a purpose that nobody granted, or a share too low.
    function attackLineage(uint256 seed) external {
        seed = _begin(seed);
        bool wide = (seed >> 8) % 4 == 0;
        uint256 kind = (seed >> 32) % 4;
        uint256 parents = kind == 0 ? 1 : (seed >> 24) % 3;
        Draft memory draft = _drafted(seed, wide ? 32 - (seed >> 16) % 3 : 1 + (seed >> 16) % 3, parents, !wide && kind == 3);
        IModelRegistry.Registration memory registration = draft.registration;
        if (!draft.refused && kind == 0) registration.purposes |= _missing(draft, seed >> 64);
        else if (!draft.refused && kind == 1) registration.authorPpm = uint32(850_001 - draft.royaltiesPpm);
        else if (!draft.refused && kind == 2) registration.datasets[0].ppm = _offers[draft.seats[0].offer].royaltyPpm - 1;
        else vm.assume(draft.refused);
        vm.prank(registration.author);
        try models.register(registration) {
            if (!draft.refused && kind == 0) purposesWidened = _wrong("I12: no purpose is added");
            lineageWasWrong = _wrong("I15: bounds of lineages");
        } catch {}
    }

    /// One more purpose: one that only a parent lacks, else one that some dataset lacks.
    function _missing(Draft memory draft, uint256 seed) private pure returns (uint32 purpose) {
        uint32 granted = draft.offered & ~draft.granted != 0 ? draft.granted | ~draft.offered : draft.granted;
        for (uint256 i = 0; i < PURPOSES; ++i) {
            purpose = uint32(1 << ((seed + i) % PURPOSES));
            if (granted & purpose == 0) return purpose;
        }
        return 1 << 31;
    }

    function _publish(Draft memory draft) internal {
        vm.prank(draft.registration.author);
        bytes32 id = models.register(draft.registration);
        Published storage model = _models.push();
        (model.id, model.author, model.derivativePpm) = (id, draft.registration.author, draft.registration.derivativePpm);
        (model.purposes, model.parents) = (draft.registration.purposes, draft.parents);
        model.payeesPpm = uint32(draft.royaltiesPpm + draft.registration.authorPpm);
        for (uint256 i = 0; i < draft.count; ++i) model.seats.push(draft.seats[i]);
        if (draft.registration.authorPpm != 0) model.seats.push(Seat(id, draft.registration.authorPpm, false, 0, 0));
        model.ends = _referenceEnds(model);
        if (!isPublishedAsKept(_models.length - 1)) lineageWasWrong = _wrong("I15: bounds of lineages");
    }

    function _drafted(uint256 seed, uint256 datasetCount, uint256 parentCount, bool endedToo) internal view returns (Draft memory draft) {
        IModelRegistry.Registration memory registration = draft.registration;
        draft.seats = new Seat[](MAX_PAYEES + 1);
        registration.author = _person(seed >> 40);
        registration.onnxDigest = bytes32(_models.length + 1);
        registration.manifestDigest = bytes32(seed);
        (registration.purposes, draft.offered) = (uint32(1 << PURPOSES) - 1, uint32(1 << PURPOSES) - 1);
        registration.datasets = new IModelRegistry.DatasetShare[](datasetCount);
        uint256 first = datasetCount < 8 && _offers.length > WINDOW ? _offers.length - WINDOW : 0;
        uint256 at = (seed >> 48) % (_offers.length - first);
        for (uint256 i = 0; i < datasetCount; ++i) {
            uint256 index = first + at++ % (_offers.length - first);
            for (uint256 tries = 0; !endedToo && !_isTrainable(index) && tries < 16; ++tries) index = first + at++ % (_offers.length - first);
            if (at > (seed >> 48) % (_offers.length - first) + (_offers.length - first)) draft.refused = true; // the same dataset twice
            registration.datasets[i] = IModelRegistry.DatasetShare(_offers[index].id, _offers[index].royaltyPpm + uint32((seed >> 56) % 50));
            _seat(draft, Seat(_offers[index].id, registration.datasets[i].ppm, true, _now(), uint64(index)));
        }
        if (parentCount > _models.length) parentCount = _models.length;
        registration.parents = new bytes32[](parentCount);
        draft.parents = new uint256[](parentCount);
        for (uint256 i = 0; i < parentCount; ++i) {
            draft.parents[i] = (_modelAt(seed >> 64) + i) % _models.length;
            registration.parents[i] = _models[draft.parents[i]].id;
            _inherit(draft, _models[draft.parents[i]]);
        }
        for (uint256 i = 0; i < draft.count; ++i) draft.royaltiesPpm += draft.seats[i].ppm;
        draft.granted = registration.purposes;
        registration.purposes &= uint32(seed >> 72) | 0x0f;
        registration.authorPpm = (seed >> 104) % 4 == 0 ? 0 : uint32((seed >> 112) % 150_000);
        registration.derivativePpm = (seed >> 104) % 3 == 0 ? 0 : uint32((seed >> 144) % 30_000);
        if (draft.royaltiesPpm > 500_000 || draft.count + (registration.authorPpm == 0 ? 0 : 1) > MAX_PAYEES) draft.refused = true;
    }

    /// What a parent owes, the child owes too; the parent's own author gets what it asks of derivatives.
    function _inherit(Draft memory draft, Published storage parent) private view {
        draft.registration.purposes &= parent.purposes;
        uint256 count = parent.seats.length;
        for (uint256 i = 0; i < count; ++i) if (parent.seats[i].id != parent.id) _seat(draft, parent.seats[i]);
        if (parent.derivativePpm != 0) _seat(draft, Seat(parent.id, parent.derivativePpm, false, 0, 0));
    }

    /// Paid once, by the highest share; trained at the earliest time. A dataset must permit training now and bounds the purposes.
    function _seat(Draft memory draft, Seat memory seat) private view {
        for (uint256 i = 0; i < draft.count; ++i) {
            Seat memory known = draft.seats[i];
            if (known.id != seat.id) continue;
            if (seat.ppm > known.ppm) known.ppm = seat.ppm;
            if (seat.trainedAt < known.trainedAt) known.trainedAt = seat.trainedAt;
            return;
        }
        if (draft.count > MAX_PAYEES) return;
        // A copy: the same parent seat may be in two drafts' memory.
        draft.seats[draft.count++] = Seat(seat.id, seat.ppm, seat.isDataset, seat.trainedAt, seat.offer);
        if (!seat.isDataset) return;
        Offered storage offer = _offers[seat.offer];
        draft.registration.purposes &= offer.purposes;
        draft.offered &= offer.purposes;
        if (!_isTrainable(seat.offer)) draft.refused = true;
    }

    function _isTrainable(uint256 index) private view returns (bool) {
        Offered storage offer = _offers[index];
        if (_now() >= offer.endsAt) return false;
        return !offer.isPool || (_tables[offer.id].length != 0 && _tables[offer.id][0].fromEpoch <= _epoch());
    }

    /// Mostly one of the latest, now and then one of all.
    function _modelAt(uint256 seed) internal view returns (uint256) {
        uint256 count = _models.length;
        return seed >> 8 & 3 == 0 || count <= LATEST ? seed % count : count - LATEST + seed % LATEST;
    }

    // Sync

    function sync(uint256 seed) external {
        seed = _begin(seed);
        _sync(_modelAt(seed));
    }

    function _sync(uint256 index) internal {
        Published storage model = _models[index];
        models.sync(model.id);
        uint40[PURPOSES] memory expected = _referenceEnds(model);
        for (uint8 purpose = 0; purpose < PURPOSES; ++purpose) {
            if (models.serveEnd(model.id, purpose) != expected[purpose]) syncWasWrong = _wrong("I16: synced = recomputed");
            if (expected[purpose] > model.ends[purpose]) endRose = _wrong("I16: no end rises");
        }
        model.ends = expected;
    }

    /// A model's ends by what people did, as this contract kept it.
    function _referenceEnds(Published storage model) internal view returns (uint40[PURPOSES] memory ends) {
        uint32 purposes = model.purposes;
        for (uint256 purpose = 0; purpose < PURPOSES; ++purpose) if (purposes >> purpose & 1 == 1) ends[purpose] = NEVER;
        uint256 count = model.seats.length;
        for (uint256 i = 0; i < count; ++i) {
            Seat memory seat = model.seats[i];
            if (!seat.isDataset) continue;
            Offered storage offer = _offers[seat.offer];
            for (uint256 purpose = 0; purpose < PURPOSES; ++purpose) {
                if (ends[purpose] == 0) continue;
                uint40 own = _datasetEnd(offer, purpose, seat.trainedAt);
                if (own < ends[purpose]) ends[purpose] = own;
            }
        }
    }

    // What the registry must say

    /// Author, purposes, payees in order, their shares and when each was trained, and the stored ends.
    function isPublishedAsKept(uint256 index) public view returns (bool) {
        Published storage model = _models[index];
        IModelRegistry.Model memory found = models.model(model.id);
        IModelRegistry.Payee[] memory payees = models.payees(model.id);
        bool same = found.author == model.author && found.purposes == model.purposes && found.payeesPpm == model.payeesPpm
            && found.derivativePpm == model.derivativePpm && payees.length == model.seats.length;
        for (uint256 i = 0; same && i < payees.length; ++i) {
            Seat memory seat = model.seats[i];
            same = payees[i].id == seat.id && payees[i].ppm == seat.ppm && payees[i].isDataset == seat.isDataset
                && models.trainedAt(model.id, i) == seat.trainedAt;
        }
        for (uint8 purpose = 0; same && purpose < PURPOSES; ++purpose) same = models.serveEnd(model.id, purpose) == model.ends[purpose];
        return same;
    }
}
