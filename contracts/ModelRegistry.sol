// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {IDatasetRegistry} from "./interfaces/IDatasetRegistry.sol";
import {IModelRegistry} from "./interfaces/IModelRegistry.sol";
import {Consent} from "./libraries/Consent.sol";
import {Lineage} from "./libraries/Lineage.sol";
import {Messages} from "./libraries/Messages.sol";
import {Signatures} from "./libraries/Signatures.sol";

contract ModelRegistry is IModelRegistry, EIP712 {
    using Lineage for Lineage.Draft;

    /// The first slot is what settlement and derivation read.
    struct Record {
        address author;
        uint32 payeesPpm;
        uint32 purposes;
        uint32 derivativePpm;
        uint40 registeredAt;
        uint40 suspendedUntil;
        bytes32 onnxDigest;
        bytes32 manifestDigest;
    }

    /// `jurisdiction` of `isServable` when the caller does not state one.
    uint8 private constant UNSTATED = 255;

    /// @inheritdoc IModelRegistry
    IDatasetRegistry public immutable DATASETS;
    /// @inheritdoc IModelRegistry
    address public immutable TIMELOCK;
    /// @inheritdoc IModelRegistry
    address public immutable GOVERNOR;

    mapping(bytes32 modelId => Record) private _models;
    mapping(bytes32 modelId => Lineage.Entry[]) private _payees;
    mapping(bytes32 modelId => mapping(uint256 word => uint256)) private _ends;

    constructor(address datasets, address timelock, address governor) EIP712("Granary ModelRegistry", "1") {
        DATASETS = IDatasetRegistry(datasets);
        TIMELOCK = timelock;
        GOVERNOR = governor;
    }

    // ---------------------------------------------------------------- register

    /// @inheritdoc IModelRegistry
    function register(Registration calldata registration) external returns (bytes32 modelId) {
        require(msg.sender == registration.author, ModelNotAuthor(msg.sender, registration.author));
        modelId = modelIdOf(registration);
        _register(modelId, registration);
    }

    /// @inheritdoc IModelRegistry
    function registerBySig(Registration calldata registration, uint256 deadline, bytes calldata signature) external returns (bytes32 modelId) {
        require(block.timestamp <= deadline, ModelSignatureExpired(block.timestamp, deadline));
        modelId = modelIdOf(registration);
        bytes32 digest = _hashTypedDataV4(Messages.hashRegisterModel(modelId, registration.author, deadline));
        require(Signatures.isBy(registration.author, digest, signature), ModelSignatureInvalid(registration.author));
        _register(modelId, registration);
    }

    function _register(bytes32 modelId, Registration calldata registration) private {
        require(_models[modelId].registeredAt == 0, ModelExists(modelId));
        Lineage.Draft memory draft = Lineage.start();
        _addDatasets(draft, registration.datasets);
        uint32 granted = _addParents(draft, registration.parents);
        granted &= _requireTrainable(draft);
        require(registration.purposes & ~granted == 0, ModelPurposesTooWide(registration.purposes, granted));
        uint32 payeesPpm = draft.checkShares(registration.authorPpm);
        if (registration.authorPpm != 0) {
            draft.merge(Lineage.Entry({id: modelId, ppm: registration.authorPpm, isDataset: false, trainedAt: Consent.NEVER}));
        }

        _models[modelId] = Record({
            author: registration.author,
            payeesPpm: payeesPpm,
            purposes: registration.purposes,
            derivativePpm: registration.derivativePpm,
            registeredAt: uint40(block.timestamp),
            suspendedUntil: 0,
            onnxDigest: registration.onnxDigest,
            manifestDigest: registration.manifestDigest
        });
        for (uint256 i = 0; i < draft.count; ++i) _payees[modelId].push(draft.entries[i]);
        _storeEnds(modelId, registration.purposes);
        emit ModelRegistered({
            modelId: modelId,
            author: registration.author,
            onnxDigest: registration.onnxDigest,
            manifestDigest: registration.manifestDigest,
            purposes: registration.purposes,
            derivativePpm: registration.derivativePpm,
            payees: payees(modelId),
            parents: registration.parents
        });
    }

    /// Direct datasets, at the author's shares.
    function _addDatasets(Lineage.Draft memory draft, DatasetShare[] calldata datasets) private view {
        require(datasets.length <= Lineage.MAX_PAYEES, ModelTooManyPayees(datasets.length, Lineage.MAX_PAYEES));
        for (uint256 i = 0; i < datasets.length; ++i) {
            DatasetShare calldata share = datasets[i];
            for (uint256 j = 0; j < i; ++j) require(datasets[j].datasetId != share.datasetId, ModelDuplicateParent(share.datasetId));
            uint32 least = DATASETS.termsOf(share.datasetId).royaltyPpm;
            require(share.ppm >= least, ModelShareTooLow(share.datasetId, share.ppm, least));
            draft.merge(Lineage.Entry({id: share.datasetId, ppm: share.ppm, isDataset: true, trainedAt: uint40(block.timestamp)}));
        }
    }

    /// What parents owe, the child owes too, at the same absolute shares; a parent's own author gets what it asks of derivatives.
    function _addParents(Lineage.Draft memory draft, bytes32[] calldata parents) private view returns (uint32 granted) {
        require(parents.length <= Lineage.MAX_PAYEES, ModelTooManyPayees(parents.length, Lineage.MAX_PAYEES));
        granted = type(uint32).max;
        for (uint256 i = 0; i < parents.length; ++i) {
            bytes32 parent = parents[i];
            for (uint256 j = 0; j < i; ++j) require(parents[j] != parent, ModelDuplicateParent(parent));
            Record storage record = _known(parent);
            granted &= record.purposes;
            Lineage.Entry[] storage inherited = _payees[parent];
            for (uint256 j = 0; j < inherited.length; ++j) {
                Lineage.Entry memory entry = inherited[j];
                if (entry.id == parent) continue;
                if (entry.isDataset) _requireDerivable(parent, entry.id);
                draft.merge(entry);
            }
            if (record.derivativePpm != 0) {
                draft.merge(Lineage.Entry({id: parent, ppm: record.derivativePpm, isDataset: false, trainedAt: Consent.NEVER}));
            }
        }
    }

    function _requireDerivable(bytes32 parent, bytes32 datasetId) private view {
        bool isDerivable = DATASETS.termsOf(datasetId).flags & Consent.FLAG_DERIVATIVES != 0;
        require(isDerivable, ModelDerivativesNotAllowed(parent, datasetId));
    }

    /// Every dataset of the flattened lineage must permit training now; returns the purposes that all of them still grant.
    function _requireTrainable(Lineage.Draft memory draft) private view returns (uint32 granted) {
        granted = type(uint32).max;
        for (uint256 i = 0; i < draft.count; ++i) {
            Lineage.Entry memory entry = draft.entries[i];
            if (!entry.isDataset) continue;
            require(DATASETS.permitsTraining(entry.id), ModelTrainingNotPermitted(entry.id));
            granted &= DATASETS.dataset(entry.id).purposes;
        }
    }

    // ---------------------------------------------------------------- sync

    /// @inheritdoc IModelRegistry
    function sync(bytes32 modelId) external {
        uint32 purposes = _known(modelId).purposes;
        uint40[] memory live = _liveEnds(modelId, purposes);
        for (uint8 purpose = 0; purpose < Consent.PURPOSES; ++purpose) {
            if (!Consent.has(purposes, purpose) || live[purpose] >= _endOf(modelId, purpose)) continue;
            uint256 word = Lineage.wordOf(purpose);
            _ends[modelId][word] = Lineage.withEnd(_ends[modelId][word], purpose, live[purpose]);
            emit ModelSynced(modelId, purpose, live[purpose]);
        }
    }

    function _storeEnds(bytes32 modelId, uint32 purposes) private {
        uint40[] memory live = _liveEnds(modelId, purposes);
        uint256 packed = 0;
        for (uint8 purpose = 0; purpose < Consent.PURPOSES; ++purpose) {
            if (Consent.has(purposes, purpose)) packed = Lineage.withEnd(packed, purpose, live[purpose]);
            bool isLastOfWord = purpose + 1 == Consent.PURPOSES || Lineage.wordOf(purpose + 1) != Lineage.wordOf(purpose);
            if (!isLastOfWord) continue;
            if (packed != 0) _ends[modelId][Lineage.wordOf(purpose)] = packed;
            packed = 0;
        }
    }

    // ---------------------------------------------------------------- suspend

    /// @inheritdoc IModelRegistry
    function suspend(bytes32 modelId, uint40 until) external {
        require(msg.sender == TIMELOCK || msg.sender == GOVERNOR, ModelNotGovernance(msg.sender));
        Record storage record = _known(modelId);
        // A guardian acts through the governor, and must not lift what members decided.
        if (msg.sender == GOVERNOR && until < record.suspendedUntil) until = record.suspendedUntil;

        record.suspendedUntil = until;
        emit ModelSuspended(modelId, until, msg.sender);
    }

    // ---------------------------------------------------------------- views

    /// @inheritdoc IModelRegistry
    function isServable(bytes32 modelId, uint8 purpose, uint8 jurisdiction, uint40 at)
        external
        view
        returns (bool servable, Reason reason, bytes32 because)
    {
        Record storage record = _models[modelId];
        if (record.registeredAt == 0) return (false, Reason.UnknownModel, modelId);
        if (!Consent.has(record.purposes, purpose)) return (false, Reason.PurposeNotGranted, modelId);
        Lineage.Entry[] storage entries = _payees[modelId];
        for (uint256 i = 0; i < entries.length; ++i) {
            Lineage.Entry memory entry = entries[i];
            if (!entry.isDataset) continue;
            reason = _consentReason(entry, purpose, jurisdiction, at);
            if (reason != Reason.Servable) return (false, reason, entry.id);
        }
        if (at < record.suspendedUntil) return (false, Reason.Suspended, modelId);
        return (true, Reason.Servable, bytes32(0));
    }

    function _consentReason(Lineage.Entry memory entry, uint8 purpose, uint8 jurisdiction, uint40 at) private view returns (Reason) {
        if (at < DATASETS.termsOf(entry.id).validFrom) return Reason.NotYetValid;
        if (at >= DATASETS.serveEnd(entry.id, purpose, entry.trainedAt)) return Reason.ConsentEnded;
        uint256 jurisdictions = DATASETS.dataset(entry.id).jurisdictions;
        bool isGranted = jurisdiction == UNSTATED ? jurisdictions == type(uint256).max : (jurisdictions >> jurisdiction) & 1 == 1;
        return isGranted ? Reason.Servable : Reason.JurisdictionNotGranted;
    }

    /// @inheritdoc IModelRegistry
    function settlementTerms(bytes32 modelId, uint8 purpose) external view returns (uint32 payeesPpm, uint40 endsAt) {
        return (_models[modelId].payeesPpm, _endOf(modelId, purpose));
    }

    /// @inheritdoc IModelRegistry
    function serveEnd(bytes32 modelId, uint8 purpose) external view returns (uint40) {
        return _endOf(modelId, purpose);
    }

    /// @inheritdoc IModelRegistry
    function model(bytes32 modelId) external view returns (Model memory) {
        Record storage record = _models[modelId];
        return Model({
            author: record.author,
            registeredAt: record.registeredAt,
            suspendedUntil: record.suspendedUntil,
            purposes: record.purposes,
            payeesPpm: record.payeesPpm,
            derivativePpm: record.derivativePpm,
            onnxDigest: record.onnxDigest,
            manifestDigest: record.manifestDigest
        });
    }

    /// @inheritdoc IModelRegistry
    function payees(bytes32 modelId) public view returns (Payee[] memory list) {
        Lineage.Entry[] storage entries = _payees[modelId];
        list = new Payee[](entries.length);
        for (uint256 i = 0; i < list.length; ++i) list[i] = _payee(entries[i]);
    }

    /// @inheritdoc IModelRegistry
    function payeeAt(bytes32 modelId, uint256 index) external view returns (Payee memory payee) {
        Lineage.Entry[] storage entries = _payees[modelId];
        if (index < entries.length) payee = _payee(entries[index]);
    }

    /// @inheritdoc IModelRegistry
    function trainedAt(bytes32 modelId, uint256 index) external view returns (uint40) {
        Lineage.Entry[] storage entries = _payees[modelId];
        return index < entries.length && entries[index].isDataset ? entries[index].trainedAt : 0;
    }

    /// @inheritdoc IModelRegistry
    function authorOf(bytes32 modelId) external view returns (address) {
        return _models[modelId].author;
    }

    /// @inheritdoc IModelRegistry
    function modelIdOf(Registration calldata registration) public pure returns (bytes32) {
        return keccak256(abi.encode(registration));
    }

    // ---------------------------------------------------------------- shared reads

    function _known(bytes32 modelId) private view returns (Record storage record) {
        record = _models[modelId];
        require(record.registeredAt != 0, ModelUnknown(modelId));
    }

    function _payee(Lineage.Entry storage entry) private view returns (Payee memory) {
        return Payee({id: entry.id, ppm: entry.ppm, isDataset: entry.isDataset});
    }

    function _endOf(bytes32 modelId, uint8 purpose) private view returns (uint40) {
        return purpose < Consent.PURPOSES ? Lineage.endIn(_ends[modelId][Lineage.wordOf(purpose)], purpose) : 0;
    }

    /// The earliest end that any dataset of the lineage gives, by purpose; NEVER where there is no dataset.
    function _liveEnds(bytes32 modelId, uint32 purposes) private view returns (uint40[] memory ends) {
        ends = new uint40[](Consent.PURPOSES);
        for (uint256 i = 0; i < ends.length; ++i) ends[i] = Consent.NEVER;
        Lineage.Entry[] storage entries = _payees[modelId];
        for (uint256 i = 0; i < entries.length; ++i) {
            Lineage.Entry memory entry = entries[i];
            if (!entry.isDataset) continue;
            uint40[] memory own = DATASETS.serveEnds(entry.id, purposes, entry.trainedAt);
            for (uint256 j = 0; j < ends.length; ++j) ends[j] = Consent.earlier(ends[j], own[j]);
        }
    }
}
