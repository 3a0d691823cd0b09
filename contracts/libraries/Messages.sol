// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IDatasetRegistry} from "../interfaces/IDatasetRegistry.sol";
import {IRoyaltyLedger} from "../interfaces/IRoyaltyLedger.sol";

/// @title Struct hashes of every EIP-712 message; mirrors services/core/messages.ts, field by field.
/// @dev The domain (name "Granary <Contract>", version "1") is each contract's own.
library Messages {
    // ---------------------------------------------------------------- DatasetRegistry
    bytes32 internal constant REGISTER_DATASET = keccak256(
        "RegisterDataset(address owner,bytes32 commitment,bytes32 termsHash,bytes32 salt,bool isPool,address recovery,uint256 deadline)"
    );
    bytes32 internal constant NARROW_DATASET =
        keccak256("NarrowDataset(bytes32 datasetId,uint32 removePurposes,uint256 removeJurisdictions,uint40 endsAt,uint256 deadline)");
    bytes32 internal constant WITHDRAW_DATASET = keccak256("WithdrawDataset(bytes32 datasetId)");
    bytes32 internal constant WITHDRAW_FROM_POOL = keccak256("WithdrawFromPool(bytes32 poolId,address account)");

    function hashRegisterDataset(IDatasetRegistry.Registration calldata registration, uint256 deadline) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                REGISTER_DATASET,
                registration.owner,
                registration.commitment,
                registration.termsHash,
                registration.salt,
                registration.isPool,
                registration.recovery,
                deadline
            )
        );
    }

    function hashNarrowDataset(bytes32 datasetId, IDatasetRegistry.Narrowing calldata narrowing, uint256 deadline) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(NARROW_DATASET, datasetId, narrowing.removePurposes, narrowing.removeJurisdictions, narrowing.endsAt, deadline)
        );
    }

    function hashWithdrawDataset(bytes32 datasetId) internal pure returns (bytes32) {
        return keccak256(abi.encode(WITHDRAW_DATASET, datasetId));
    }

    function hashWithdrawFromPool(bytes32 poolId, address account) internal pure returns (bytes32) {
        return keccak256(abi.encode(WITHDRAW_FROM_POOL, poolId, account));
    }

    // ---------------------------------------------------------------- ModelRegistry
    bytes32 internal constant REGISTER_MODEL = keccak256("RegisterModel(bytes32 modelId,address author,uint256 deadline)");

    /// The model's id binds both digests, the lineage, all shares and the purposes.
    function hashRegisterModel(bytes32 modelId, address author, uint256 deadline) internal pure returns (bytes32) {
        return keccak256(abi.encode(REGISTER_MODEL, modelId, author, deadline));
    }

    // ---------------------------------------------------------------- RoyaltyLedger
    bytes32 internal constant CLAIM_ROYALTY = keccak256(
        "ClaimRoyalty(bytes32 payeeId,address account,address to,bytes32 epochsHash,uint128 maxRelayerFee,uint256 nonce,uint256 deadline)"
    );

    /// `epochsHash` = keccak256 over the epochs, each as one 32-byte word (abi.encodePacked pads the elements of arrays).
    function hashClaimRoyalty(IRoyaltyLedger.Claim calldata claim, address to, uint128 maxRelayerFee, uint256 nonce, uint256 deadline)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(
            abi.encode(CLAIM_ROYALTY, claim.payeeId, claim.account, to, hashEpochs(claim.epochs), maxRelayerFee, nonce, deadline)
        );
    }

    function hashEpochs(uint64[] calldata epochs) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(epochs));
    }
}
