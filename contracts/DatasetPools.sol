// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {Checkpoints} from "@openzeppelin/contracts/utils/structs/Checkpoints.sol";
import {IDatasetRegistry} from "./interfaces/IDatasetRegistry.sol";
import {Messages} from "./libraries/Messages.sol";
import {Shares} from "./libraries/Shares.sol";
import {Signatures} from "./libraries/Signatures.sol";

/// @title The part of chapter 2 that is about pools: who shares in one from which epoch on, and who has left it.
abstract contract DatasetPools is IDatasetRegistry, EIP712 {
    using Checkpoints for Checkpoints.Trace208;

    struct Exit {
        uint40 at;
        bool proven;
    }

    /// What claims need of a table; its digest is for readers, who find it in the event.
    struct StoredTable {
        bytes32 root;
        uint256 reach; // totalShares in the low 128 bits, fromEpoch above: one word, written once
    }

    struct Tables {
        uint256 head; // the count in the low 64 bits, the latest table's fromEpoch above
        mapping(uint256 index => StoredTable) at;
    }

    /// @inheritdoc IDatasetRegistry
    uint64 public constant MAX_TABLE_LEAD_EPOCHS = 1000;
    /// @inheritdoc IDatasetRegistry
    uint40 public immutable EPOCH_SECONDS;

    mapping(bytes32 poolId => Tables) private _tables;
    mapping(bytes32 poolId => mapping(address account => Exit)) private _exits;
    mapping(bytes32 poolId => Checkpoints.Trace208) private _provenExits;

    constructor(uint40 epochSeconds) EIP712("Granary DatasetRegistry", "1") {
        require(epochSeconds != 0, DatasetEpochInvalid(epochSeconds));
        EPOCH_SECONDS = epochSeconds;
    }

    /// Reverts for what is no pool.
    function _stewardOf(bytes32 poolId) internal view virtual returns (address);

    // ---------------------------------------------------------------- announce

    /// @inheritdoc IDatasetRegistry
    function announceShareTable(bytes32 poolId, ShareTable calldata table) external {
        address steward = _stewardOf(poolId);
        require(msg.sender == steward, DatasetNotOwner(msg.sender, steward));
        _announce(poolId, table);
    }

    /// @inheritdoc IDatasetRegistry
    function announceShareTableBySig(bytes32 poolId, ShareTable calldata table, uint256 deadline, bytes calldata signature) external {
        address steward = _stewardOf(poolId);
        require(block.timestamp <= deadline, DatasetSignatureExpired(block.timestamp, deadline));
        _requireSigned(steward, Messages.hashAnnounceShareTable(poolId, table, deadline), signature);
        _announce(poolId, table);
    }

    /// Needs no nonce: tables follow each other, so the same one can't be announced twice.
    function _announce(bytes32 poolId, ShareTable calldata table) private {
        bool isComplete = table.root != bytes32(0) && table.totalShares != 0 && table.dataDigest != bytes32(0);
        require(isComplete, DatasetTableInvalid(table.root, table.totalShares));
        uint64 fromEpoch = table.fromEpoch;
        uint64 earliest = epochAt(block.timestamp) + 1;
        uint64 latest = earliest - 1 + MAX_TABLE_LEAD_EPOCHS;
        require(fromEpoch >= earliest && fromEpoch <= latest, DatasetTableEpochInvalid(fromEpoch, earliest, latest));
        Tables storage tables = _tables[poolId];
        (uint256 count, uint64 latestFrom) = _headOf(tables);
        require(count == 0 || fromEpoch > latestFrom, DatasetTableTaken(poolId, fromEpoch));

        tables.at[count].root = table.root;
        tables.at[count].reach = table.totalShares | (uint256(fromEpoch) << 128);
        tables.head = (count + 1) | (uint256(fromEpoch) << 64);
        emit ShareTableAnnounced({
            poolId: poolId, fromEpoch: fromEpoch, root: table.root, totalShares: table.totalShares, dataDigest: table.dataDigest
        });
    }

    // ---------------------------------------------------------------- leave

    /// @inheritdoc IDatasetRegistry
    function withdrawFromPool(bytes32 poolId) external {
        _withdrawFromPool(poolId, msg.sender);
    }

    /// @inheritdoc IDatasetRegistry
    function withdrawFromPoolBySig(bytes32 poolId, address account, bytes calldata signature) external {
        _requireSigned(account, Messages.hashWithdrawFromPool(poolId, account), signature);
        _withdrawFromPool(poolId, account);
    }

    function _withdrawFromPool(bytes32 poolId, address account) private {
        _stewardOf(poolId);
        Exit storage exit = _exits[poolId][account];
        if (exit.at != 0) return;

        exit.at = uint40(block.timestamp);
        emit WithdrawnFromPool(poolId, account);
    }

    /// @inheritdoc IDatasetRegistry
    function proveExit(bytes32 poolId, address account, uint256 tableIndex, uint128 shares, bytes32[] calldata proof) external returns (bool proven) {
        _stewardOf(poolId);
        Exit storage exit = _exits[poolId][account];
        if (exit.at == 0) return false;
        // Once per account: a second clock would also run for models that were registered after the account had left.
        if (exit.proven) return true;
        Tables storage tables = _tables[poolId];
        (uint256 count,) = _headOf(tables);
        if (tableIndex >= count) return false;
        if (!MerkleProof.verifyCalldata(proof, tables.at[tableIndex].root, Shares.leaf(account, shares))) return false;

        uint40 at = uint40(block.timestamp);
        exit.proven = true;
        _provenExits[poolId].push(at, at);
        emit PoolExitProven(poolId, account, at);
        return true;
    }

    // ---------------------------------------------------------------- views

    /// @inheritdoc IDatasetRegistry
    function leftPool(bytes32 poolId, address account) external view returns (uint40 at) {
        return _exits[poolId][account].at;
    }

    /// @inheritdoc IDatasetRegistry
    function shareTableAt(bytes32 poolId, uint64 epoch) external view returns (bytes32 root, uint128 totalShares) {
        uint256 count = _tablesUpTo(poolId, epoch);
        if (count == 0) return (root, totalShares);
        StoredTable storage table = _tables[poolId].at[count - 1];
        return (table.root, uint128(table.reach));
    }

    /// @inheritdoc IDatasetRegistry
    function shareTables(bytes32 poolId) external view returns (uint256 count) {
        (count,) = _headOf(_tables[poolId]);
    }

    /// @inheritdoc IDatasetRegistry
    function epochAt(uint256 timestamp) public view returns (uint64) {
        return uint64(timestamp / EPOCH_SECONDS);
    }

    // ---------------------------------------------------------------- shared reads

    function _requireSigned(address signer, bytes32 structHash, bytes calldata signature) internal view {
        require(Signatures.isBy(signer, _hashTypedDataV4(structHash), signature), DatasetSignatureInvalid(signer));
    }

    /// 0 if nobody who left since then has proven it; later exits never come before the first.
    function _firstProvenExit(bytes32 poolId, uint40 since) internal view returns (uint40) {
        // The cast is exact: only 40-bit times are pushed.
        return uint40(_provenExits[poolId].lowerLookup(uint48(since) + 1));
    }

    /// How many of the pool's tables start at or before `epoch`; the last of them is in force.
    function _tablesUpTo(bytes32 poolId, uint64 epoch) internal view returns (uint256 low) {
        Tables storage tables = _tables[poolId];
        (uint256 high, uint64 latestFrom) = _headOf(tables);
        if (high == 0 || epoch >= latestFrom) return high;
        --high;
        while (low < high) {
            uint256 middle = (low + high) / 2;
            if (uint64(tables.at[middle].reach >> 128) <= epoch) low = middle + 1;
            else high = middle;
        }
    }

    function _headOf(Tables storage tables) private view returns (uint256 count, uint64 latestFrom) {
        uint256 head = tables.head;
        return (uint64(head), uint64(head >> 64));
    }
}
