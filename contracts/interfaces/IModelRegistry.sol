// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IDatasetRegistry} from "./IDatasetRegistry.sol";

/// @title Chapter 3, derive: models as immutable versions with flattened lineage.
/// @notice Lineage is the author's declaration. Governance may suspend a model for safety; it can never make an unconsented one servable.
interface IModelRegistry {
    struct DatasetShare {
        bytes32 datasetId;
        uint32 ppm; // of the model's gross; at least the terms' royaltyPpm
    }

    struct Registration {
        address author;
        bytes32 onnxDigest; // sha-256 of the ONNX file
        bytes32 manifestDigest; // sha-256 of the manifest, a raw CID
        DatasetShare[] datasets; // direct parents
        bytes32[] parents; // parent models
        uint32 purposes; // mask; a subset of what every dataset grants now and of every parent model's
        uint32 authorPpm; // the author's own share of gross
        uint32 derivativePpm; // least share this author asks of a child's gross
    }

    /// `isDataset` false: `id` is a model and its author is paid.
    struct Payee {
        bytes32 id;
        uint32 ppm;
        bool isDataset;
    }

    struct Model {
        address author;
        uint40 registeredAt;
        uint40 suspendedUntil;
        uint32 purposes;
        uint32 payeesPpm; // sum over payees, the author's own included
        uint32 derivativePpm;
        bytes32 onnxDigest;
        bytes32 manifestDigest;
    }

    enum Reason {
        Servable,
        UnknownModel,
        PurposeNotGranted,
        JurisdictionNotGranted,
        NotYetValid,
        ConsentEnded,
        Suspended
    }

    event ModelRegistered(
        bytes32 indexed modelId,
        address indexed author,
        bytes32 onnxDigest,
        bytes32 manifestDigest,
        uint32 purposes,
        uint32 derivativePpm,
        Payee[] payees,
        bytes32[] parents
    );
    event ModelSynced(bytes32 indexed modelId, uint8 indexed purpose, uint40 endsAt);
    event ModelSuspended(bytes32 indexed modelId, uint40 until, address by);

    error ModelUnknown(bytes32 modelId);
    error ModelExists(bytes32 modelId);
    error ModelNotAuthor(address actual, address author);
    error ModelSignatureInvalid(address signer);
    error ModelSignatureExpired(uint256 at, uint256 deadline);
    error ModelTrainingNotPermitted(bytes32 datasetId);
    error ModelDerivativesNotAllowed(bytes32 parent, bytes32 datasetId);
    error ModelShareTooLow(bytes32 id, uint32 actual, uint32 least);
    error ModelPurposesTooWide(uint32 asked, uint32 granted);
    error ModelTooManyPayees(uint256 actual, uint256 limit);
    error ModelSharesTooHigh(uint256 actual, uint256 limit);
    error ModelDuplicateParent(bytes32 id);
    error ModelNotGovernance(address actual);

    function DATASETS() external view returns (IDatasetRegistry);
    /// @notice May suspend and lift suspensions.
    function TIMELOCK() external view returns (address);
    /// @notice May suspend, never shorten a suspension; the governor bounds what its guardian asks.
    function GOVERNOR() external view returns (address);

    /// @notice Registers for msg.sender = registration.author. Refuses unless every dataset in the flattened lineage permits training.
    function register(Registration calldata registration) external returns (bytes32 modelId);
    function registerBySig(Registration calldata registration, uint256 deadline, bytes calldata signature) external returns (bytes32 modelId);

    /// @notice Lowers the stored ends per purpose to what consent says now; anyone may call; ends never rise.
    function sync(bytes32 modelId) external;

    /// @notice Guardian or timelock stop a model for safety; affects `isServable` only.
    function suspend(bytes32 modelId, uint40 until) external;

    /// @notice Recomputed live from the consent of every dataset in the lineage. `jurisdiction` is an index into the mask; 255 = not stated, needs every jurisdiction.
    /// `because` is the dataset whose consent is missing, or the model itself. Consent is told before a suspension.
    function isServable(bytes32 modelId, uint8 purpose, uint8 jurisdiction, uint40 at) external view returns (bool servable, Reason reason, bytes32 because);
    /// @notice What settlement reads: the payees' share together and the stored end of one purpose (0 = not granted).
    function settlementTerms(bytes32 modelId, uint8 purpose) external view returns (uint32 payeesPpm, uint40 endsAt);
    function serveEnd(bytes32 modelId, uint8 purpose) external view returns (uint40);
    function model(bytes32 modelId) external view returns (Model memory);
    function payees(bytes32 modelId) external view returns (Payee[] memory);
    /// @notice The payee at an index of `payees`; all zero beyond the last one.
    function payeeAt(bytes32 modelId, uint256 index) external view returns (Payee memory);
    /// @notice When a dataset payee's data entered the lineage: the first ancestor's registration. Exits from a pool count from here on. 0 for models.
    function trainedAt(bytes32 modelId, uint256 index) external view returns (uint40);
    function authorOf(bytes32 modelId) external view returns (address);
    /// @notice modelId = keccak256(abi.encode(registration)): author, digests, lineage, purposes and every share.
    function modelIdOf(Registration calldata registration) external pure returns (bytes32);
}
