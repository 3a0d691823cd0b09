// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

/// @title Chapter 2, consent: datasets, the terms they are offered under, and their withdrawal.
/// @notice Ownerless and immutable. Nothing but the owner's (or the preset recovery address's) own call or signature
/// creates, narrows or ends a consent. Nothing personal is stored: salted commitments and digests only.
interface IDatasetRegistry {
    /// What withdrawal does to models that were already trained.
    enum WithdrawalPolicy {
        Stop, // they stop with the dataset
        Sunset, // they may serve for `sunsetSeconds` more
        KeepTrained // they may go on; only training ends
    }

    /// Terms are stored once and referred to by hash = keccak256(abi.encode(terms)).
    /// `purposes` and `prohibitions` are masks over the purposes dictionary (bit i = purpose i);
    /// `jurisdictions` is a mask over ISO 3166-1 alpha-2 codes in the order of services/core/consent.ts.
    struct Terms {
        uint40 validFrom;
        uint40 validUntil;
        uint32 purposes;
        uint32 prohibitions;
        uint32 flags; // 1 personal data, 2 derivatives allowed, 4 attribution asked
        uint32 noticeSeconds; // between withdrawal and its effect; 0 for personal data
        uint32 royaltyPpm; // least share of a model's gross
        WithdrawalPolicy withdrawal;
        uint32 sunsetSeconds; // with Sunset only
        uint32 retrainSeconds; // pools: models must retrain within this after a member's proven exit
        uint128 floorPrice; // base units per inference: gateway policy, shown in statements
        uint256 jurisdictions;
    }

    struct Dataset {
        address owner;
        uint40 registeredAt;
        uint40 endsAt; // min of terms.validUntil, narrowed end and withdrawal + notice
        bool withdrawn;
        bool isPool;
        bytes32 termsHash;
        address recovery;
        uint256 jurisdictions; // terms' less narrowed
        uint32 purposes; // terms' less prohibited, less narrowed
    }

    struct Registration {
        address owner;
        bytes32 commitment; // salted digest of the manifest
        bytes32 termsHash;
        bytes32 salt;
        bool isPool; // the owner is then the pool's steward
        address recovery; // may withdraw like the owner; zero for none
    }

    struct Narrowing {
        uint32 removePurposes;
        uint256 removeJurisdictions;
        uint40 endsAt; // new end if earlier; 0 leaves it
    }

    /// A pool's share table: Merkle root over leaves keccak256(keccak256(abi.encode(account, shares))).
    struct ShareTable {
        bytes32 root;
        uint128 totalShares;
        uint64 fromEpoch;
        bytes32 dataDigest; // sha-256 of the published table, a raw CID
    }

    event TermsStored(bytes32 indexed termsHash, Terms terms);
    event DatasetRegistered(
        bytes32 indexed datasetId, address indexed owner, bytes32 termsHash, bytes32 commitment, bytes32 salt, bool isPool, address recovery
    );
    event DatasetNarrowed(bytes32 indexed datasetId, uint32 purposes, uint256 jurisdictions, uint40 endsAt);
    event DatasetWithdrawn(bytes32 indexed datasetId, address indexed by, uint40 endsAt);
    event ShareTableAnnounced(bytes32 indexed poolId, uint64 indexed fromEpoch, bytes32 root, uint128 totalShares, bytes32 dataDigest);
    event WithdrawnFromPool(bytes32 indexed poolId, address indexed account);
    event PoolExitProven(bytes32 indexed poolId, address indexed account, uint40 at);

    error DatasetTermsInvalid(string reason);
    error DatasetTermsUnknown(bytes32 termsHash);
    error DatasetUnknown(bytes32 datasetId);
    error DatasetExists(bytes32 datasetId);
    error DatasetNotOwner(address actual, address owner);
    error DatasetSignatureInvalid(address signer);
    error DatasetSignatureExpired(uint256 at, uint256 deadline);
    error DatasetNothingNarrowed(bytes32 datasetId);
    error DatasetEnded(bytes32 datasetId, uint40 endsAt);
    error DatasetNotPool(bytes32 datasetId);
    error DatasetTableInvalid(bytes32 root, uint128 totalShares);
    error DatasetTableTaken(bytes32 poolId, uint64 fromEpoch);
    error DatasetTableEpochInvalid(uint64 fromEpoch, uint64 earliest, uint64 latest);
    error DatasetEpochInvalid(uint40 epochSeconds);

    function EPOCH_SECONDS() external view returns (uint40);
    /// @notice How far ahead a table may be announced: a slip of a digit must not fix a pool's shares for ever.
    function MAX_TABLE_LEAD_EPOCHS() external view returns (uint64);

    /// @notice Stores terms; anyone may, again is a no-op. Invalid terms revert with the name of the bad field.
    function storeTerms(Terms calldata terms) external returns (bytes32 termsHash);

    /// @notice Registers for `registration.owner` = msg.sender. datasetId = keccak256(abi.encode(owner, commitment, salt)).
    function register(Registration calldata registration) external returns (bytes32 datasetId);
    function registerBySig(Registration calldata registration, uint256 deadline, bytes calldata signature) external returns (bytes32 datasetId);

    /// @notice Can only remove; refused once the consent has ended. New models lose a removed purpose at once; models that have it
    /// see it as an end after the terms' notice. An `endsAt` sooner than the notice is taken as now + notice. Jurisdictions go at once.
    function narrow(bytes32 datasetId, Narrowing calldata narrowing) external;
    function narrowBySig(bytes32 datasetId, Narrowing calldata narrowing, uint256 deadline, bytes calldata signature) external;

    /// @notice Ends the dataset's consent. Succeeds for owner and recovery in every state; a repeat changes nothing.
    function withdraw(bytes32 datasetId) external;
    /// @notice As `withdraw` with the owner's or recovery's signature over WithdrawDataset(datasetId); anyone may relay it.
    function withdrawBySig(bytes32 datasetId, address signer, bytes calldata signature) external;

    /// @notice The steward announces the table in force from an epoch at least one ahead of now.
    function announceShareTable(bytes32 poolId, ShareTable calldata table) external;
    function announceShareTableBySig(bytes32 poolId, ShareTable calldata table, uint256 deadline, bytes calldata signature) external;

    /// @notice Flags the caller as having left the pool: needs no proof, never fails for a pool that exists.
    function withdrawFromPool(bytes32 poolId) external;
    function withdrawFromPoolBySig(bytes32 poolId, address account, bytes calldata signature) external;
    /// @notice Starts the retrain clock for an account that has left, by a proof against any announced table; anyone may call.
    /// A bad proof, or an account that has not left, returns false and changes nothing. Once proven, a repeat changes nothing.
    function proveExit(bytes32 poolId, address account, uint256 tableIndex, uint128 shares, bytes32[] calldata proof) external returns (bool proven);

    function datasetIdOf(address owner, bytes32 commitment, bytes32 salt) external pure returns (bytes32);
    function dataset(bytes32 datasetId) external view returns (Dataset memory);
    function terms(bytes32 termsHash) external view returns (Terms memory);
    function termsOf(bytes32 datasetId) external view returns (Terms memory);
    function ownerOf(bytes32 datasetId) external view returns (address);
    function leftPool(bytes32 poolId, address account) external view returns (uint40 at);

    function isPool(bytes32 datasetId) external view returns (bool);

    /// @notice True when a model may be trained on the dataset now (valid, not ended, pool has a table in force).
    /// Whether a model may be derived from such a model is the terms' flag 2.
    function permitsTraining(bytes32 datasetId) external view returns (bool);
    /// @notice When training use ends (exclusive); 0 for unknown datasets.
    function trainEnd(bytes32 datasetId) external view returns (uint40);
    /// @notice When a model registered at `registeredAt` must stop serving `purpose` because of this dataset (exclusive), with the
    /// withdrawal policy applied; 0 if the purpose was never permitted; type(uint40).max if never.
    /// A pool's first proven exit after `registeredAt` ends it too, after the terms' retrain time; later exits never shorten that.
    function serveEnd(bytes32 datasetId, uint8 purpose, uint40 registeredAt) external view returns (uint40);
    /// @notice `serveEnd` of every purpose in the mask, indexed by purpose (32 entries); 0 where not asked or never permitted.
    function serveEnds(bytes32 datasetId, uint32 purposes, uint40 registeredAt) external view returns (uint40[] memory ends);
    /// @notice What the table in force in `epoch` pays by; zero root if there is none. The rest is in ShareTableAnnounced.
    function shareTableAt(bytes32 poolId, uint64 epoch) external view returns (bytes32 root, uint128 totalShares);
    /// @notice How many tables were announced; `proveExit` takes an index below it.
    function shareTables(bytes32 poolId) external view returns (uint256 count);
    function epochAt(uint256 timestamp) external view returns (uint64);
}
