// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {DatasetPools} from "./DatasetPools.sol";
import {IDatasetRegistry} from "./interfaces/IDatasetRegistry.sol";
import {Consent} from "./libraries/Consent.sol";
import {Messages} from "./libraries/Messages.sol";

/// @title Chapter 2, consent: datasets and what their owners permit. Share tables and exits of pools are in DatasetPools.
contract DatasetRegistry is IDatasetRegistry, DatasetPools {
    /// Two slots for what every dataset has; the rest is written only by who uses it.
    struct Record {
        address owner;
        uint40 endsAt;
        uint40 registeredAt;
        bool withdrawn;
        bool isPool;
        bytes32 termsHash;
    }

    struct Narrowed {
        uint32 purposes;
        uint256 jurisdictions;
        mapping(uint8 purpose => uint40) endsAt;
    }

    mapping(bytes32 termsHash => Terms) private _terms;
    mapping(bytes32 datasetId => Record) private _datasets;
    mapping(bytes32 datasetId => address) private _recoveries;
    mapping(bytes32 datasetId => Narrowed) private _narrowed;

    constructor(uint40 epochSeconds) DatasetPools(epochSeconds) {}

    // ---------------------------------------------------------------- offer

    /// @inheritdoc IDatasetRegistry
    function storeTerms(Terms calldata terms_) external returns (bytes32 termsHash) {
        termsHash = keccak256(abi.encode(terms_));
        if (_terms[termsHash].validUntil != 0) return termsHash;
        Consent.check(terms_);

        _terms[termsHash] = terms_;
        emit TermsStored(termsHash, terms_);
    }

    // ---------------------------------------------------------------- register

    /// @inheritdoc IDatasetRegistry
    function register(Registration calldata registration) external returns (bytes32 datasetId) {
        require(msg.sender == registration.owner, DatasetNotOwner(msg.sender, registration.owner));
        return _register(registration);
    }

    /// @inheritdoc IDatasetRegistry
    function registerBySig(Registration calldata registration, uint256 deadline, bytes calldata signature) external returns (bytes32 datasetId) {
        require(block.timestamp <= deadline, DatasetSignatureExpired(block.timestamp, deadline));
        _requireSigned(registration.owner, Messages.hashRegisterDataset(registration, deadline), signature);
        return _register(registration);
    }

    function _register(Registration calldata registration) private returns (bytes32 datasetId) {
        datasetId = datasetIdOf(registration.owner, registration.commitment, registration.salt);
        Record storage record = _datasets[datasetId];
        require(record.registeredAt == 0, DatasetExists(datasetId));
        uint40 validUntil = _terms[registration.termsHash].validUntil;
        require(validUntil != 0, DatasetTermsUnknown(registration.termsHash));
        require(block.timestamp < validUntil, DatasetEnded(datasetId, validUntil));

        record.owner = registration.owner;
        record.endsAt = validUntil;
        record.registeredAt = uint40(block.timestamp);
        record.isPool = registration.isPool;
        record.termsHash = registration.termsHash;
        if (registration.recovery != address(0)) _recoveries[datasetId] = registration.recovery;
        emit DatasetRegistered({
            datasetId: datasetId,
            owner: registration.owner,
            termsHash: registration.termsHash,
            commitment: registration.commitment,
            salt: registration.salt,
            isPool: registration.isPool,
            recovery: registration.recovery
        });
    }

    // ---------------------------------------------------------------- narrow

    /// @inheritdoc IDatasetRegistry
    function narrow(bytes32 datasetId, Narrowing calldata narrowing) external {
        Record storage record = _known(datasetId);
        require(msg.sender == record.owner, DatasetNotOwner(msg.sender, record.owner));
        _narrow(datasetId, record, narrowing);
    }

    /// @inheritdoc IDatasetRegistry
    function narrowBySig(bytes32 datasetId, Narrowing calldata narrowing, uint256 deadline, bytes calldata signature) external {
        Record storage record = _known(datasetId);
        require(block.timestamp <= deadline, DatasetSignatureExpired(block.timestamp, deadline));
        _requireSigned(record.owner, Messages.hashNarrowDataset(datasetId, narrowing, deadline), signature);
        _narrow(datasetId, record, narrowing);
    }

    /// Needs no nonce: a replay finds nothing left to remove. Ends keep the terms' notice, so that what was served under a
    /// consent in force is never made unconsented afterwards.
    function _narrow(bytes32 datasetId, Record storage record, Narrowing calldata narrowing) private {
        require(block.timestamp < record.endsAt, DatasetEnded(datasetId, record.endsAt));
        Terms storage terms_ = _terms[record.termsHash];
        Narrowed storage narrowed = _narrowed[datasetId];
        uint40 soonest = Consent.plus(uint40(block.timestamp), terms_.noticeSeconds);
        (uint32 purposes, uint256 jurisdictions) = _granted(terms_, narrowed);
        uint32 lostPurposes = purposes & narrowing.removePurposes;
        uint256 lostJurisdictions = jurisdictions & narrowing.removeJurisdictions;
        uint40 end = narrowing.endsAt > soonest ? narrowing.endsAt : soonest;
        bool endsEarlier = narrowing.endsAt != 0 && end < record.endsAt;
        require(lostPurposes != 0 || lostJurisdictions != 0 || endsEarlier, DatasetNothingNarrowed(datasetId));

        if (lostPurposes != 0) {
            narrowed.purposes |= lostPurposes;
            for (uint8 purpose = 0; purpose < Consent.PURPOSES; ++purpose) {
                if (Consent.has(lostPurposes, purpose)) narrowed.endsAt[purpose] = soonest;
            }
        }
        if (lostJurisdictions != 0) narrowed.jurisdictions |= lostJurisdictions;
        if (endsEarlier) record.endsAt = end;
        emit DatasetNarrowed({
            datasetId: datasetId, purposes: purposes & ~lostPurposes, jurisdictions: jurisdictions & ~lostJurisdictions, endsAt: record.endsAt
        });
    }

    // ---------------------------------------------------------------- withdraw

    /// @inheritdoc IDatasetRegistry
    function withdraw(bytes32 datasetId) external {
        _withdraw(datasetId, msg.sender);
    }

    /// @inheritdoc IDatasetRegistry
    function withdrawBySig(bytes32 datasetId, address signer, bytes calldata signature) external {
        _requireSigned(signer, Messages.hashWithdrawDataset(datasetId), signature);
        _withdraw(datasetId, signer);
    }

    /// Depends on nothing but who asks: not on time, terms, narrowing or earlier withdrawals.
    function _withdraw(bytes32 datasetId, address by) private {
        Record storage record = _known(datasetId);
        require(by == record.owner || by == _recoveries[datasetId], DatasetNotOwner(by, record.owner));
        if (record.withdrawn) return;

        uint40 end = Consent.plus(uint40(block.timestamp), _terms[record.termsHash].noticeSeconds);
        end = Consent.earlier(end, record.endsAt);
        record.withdrawn = true;
        record.endsAt = end;
        emit DatasetWithdrawn(datasetId, by, end);
    }

    // ---------------------------------------------------------------- views

    /// @inheritdoc IDatasetRegistry
    function datasetIdOf(address owner, bytes32 commitment, bytes32 salt) public pure returns (bytes32) {
        return keccak256(abi.encode(owner, commitment, salt));
    }

    /// @inheritdoc IDatasetRegistry
    function dataset(bytes32 datasetId) external view returns (Dataset memory) {
        Record storage record = _datasets[datasetId];
        (uint32 purposes, uint256 jurisdictions) = _granted(_terms[record.termsHash], _narrowed[datasetId]);
        return Dataset({
            owner: record.owner,
            registeredAt: record.registeredAt,
            endsAt: record.endsAt,
            withdrawn: record.withdrawn,
            isPool: record.isPool,
            termsHash: record.termsHash,
            recovery: _recoveries[datasetId],
            jurisdictions: jurisdictions,
            purposes: purposes
        });
    }

    /// @inheritdoc IDatasetRegistry
    function terms(bytes32 termsHash) external view returns (Terms memory) {
        return _terms[termsHash];
    }

    /// @inheritdoc IDatasetRegistry
    function termsOf(bytes32 datasetId) external view returns (Terms memory) {
        return _terms[_datasets[datasetId].termsHash];
    }

    /// @inheritdoc IDatasetRegistry
    function ownerOf(bytes32 datasetId) external view returns (address) {
        return _datasets[datasetId].owner;
    }

    /// @inheritdoc IDatasetRegistry
    function isPool(bytes32 datasetId) external view returns (bool) {
        return _datasets[datasetId].isPool;
    }

    /// @inheritdoc IDatasetRegistry
    function permitsTraining(bytes32 datasetId) external view returns (bool) {
        Record storage record = _datasets[datasetId];
        if (block.timestamp >= record.endsAt) return false;
        if (block.timestamp < _terms[record.termsHash].validFrom) return false;
        return !record.isPool || _tablesUpTo(datasetId, epochAt(block.timestamp)) != 0;
    }

    /// @inheritdoc IDatasetRegistry
    function trainEnd(bytes32 datasetId) external view returns (uint40) {
        return _datasets[datasetId].endsAt;
    }

    /// @inheritdoc IDatasetRegistry
    function serveEnd(bytes32 datasetId, uint8 purpose, uint40 registeredAt) external view returns (uint40) {
        Record storage record = _datasets[datasetId];
        Terms storage terms_ = _terms[record.termsHash];
        if (!Consent.has(Consent.offered(terms_.purposes, terms_.prohibitions), purpose)) return 0;
        return Consent.earlier(_endOf(datasetId, record, terms_, purpose), _retrainEnd(datasetId, record, terms_, registeredAt));
    }

    /// @inheritdoc IDatasetRegistry
    function serveEnds(bytes32 datasetId, uint32 purposes, uint40 registeredAt) external view returns (uint40[] memory ends) {
        ends = new uint40[](Consent.PURPOSES);
        Record storage record = _datasets[datasetId];
        Terms storage terms_ = _terms[record.termsHash];
        uint32 granted = purposes & Consent.offered(terms_.purposes, terms_.prohibitions);
        uint40 retrainEnd = _retrainEnd(datasetId, record, terms_, registeredAt);
        for (uint8 purpose = 0; purpose < Consent.PURPOSES; ++purpose) {
            if (!Consent.has(granted, purpose)) continue;
            ends[purpose] = Consent.earlier(_endOf(datasetId, record, terms_, purpose), retrainEnd);
        }
    }

    // ---------------------------------------------------------------- shared reads

    function _known(bytes32 datasetId) private view returns (Record storage record) {
        record = _datasets[datasetId];
        require(record.registeredAt != 0, DatasetUnknown(datasetId));
    }

    function _stewardOf(bytes32 poolId) internal view override returns (address) {
        Record storage record = _datasets[poolId];
        if (record.isPool) return record.owner;
        _known(poolId);
        revert DatasetNotPool(poolId);
    }

    function _granted(Terms storage terms_, Narrowed storage narrowed) private view returns (uint32 purposes, uint256 jurisdictions) {
        purposes = Consent.offered(terms_.purposes, terms_.prohibitions) & ~narrowed.purposes;
        jurisdictions = terms_.jurisdictions & ~narrowed.jurisdictions;
    }

    function _endOf(bytes32 datasetId, Record storage record, Terms storage terms_, uint8 purpose) private view returns (uint40 end) {
        end = record.endsAt;
        Narrowed storage narrowed = _narrowed[datasetId];
        if (Consent.has(narrowed.purposes, purpose)) end = Consent.earlier(end, narrowed.endsAt[purpose]);
        return Consent.afterEnd(end, terms_.withdrawal, terms_.sunsetSeconds);
    }

    /// Fixed by the first proven exit after `registeredAt`: later exits find it already set.
    function _retrainEnd(bytes32 datasetId, Record storage record, Terms storage terms_, uint40 registeredAt) private view returns (uint40) {
        if (!record.isPool) return Consent.NEVER;
        uint40 exitAt = _firstProvenExit({poolId: datasetId, since: registeredAt});
        return exitAt == 0 ? Consent.NEVER : Consent.plus(exitAt, terms_.retrainSeconds);
    }
}
