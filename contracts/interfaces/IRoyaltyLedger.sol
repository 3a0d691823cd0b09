// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IDatasetRegistry} from "./IDatasetRegistry.sol";
import {IInferenceEscrow} from "./IInferenceEscrow.sol";
import {IModelRegistry} from "./IModelRegistry.sol";

/// @title Chapter 6, reward: income of models by epoch, pulled along the lineage, claimed by datasets' owners and authors.
/// @notice Ownerless, never swept. A payee id is a datasetId, or the modelId of an author's model. Order of pulls and claims does not matter.
interface IRoyaltyLedger {
    /// One closed range of a claim from a pool under one table; single owners and authors pass an empty proof and zero shares.
    struct Claim {
        bytes32 payeeId;
        address account;
        uint64[] epochs; // strictly rising, all closed, at most 64
        uint128 shares; // pools: the leaf
        bytes32[] proof;
    }

    event IncomeCredited(bytes32 indexed modelId, uint64 indexed epoch, uint128 amount);
    event Pulled(bytes32 indexed modelId, bytes32 indexed payeeId, uint64 indexed epoch, uint128 amount);
    event Claimed(bytes32 indexed payeeId, address indexed account, address to, uint128 amount, uint128 relayerFee);

    error RoyaltyNotEscrow(address actual);
    error RoyaltyPayeeUnknown(bytes32 payeeId);
    error RoyaltyPayeeMismatch(bytes32 modelId, uint256 index);
    error RoyaltyEpochOpen(uint64 epoch, uint64 current);
    error RoyaltyEpochsInvalid(uint256 count);
    error RoyaltyNotPayee(address actual, address payee);
    error RoyaltyProofInvalid(bytes32 payeeId, address account, uint64 epoch);
    error RoyaltyNothingToClaim(bytes32 payeeId, address account);
    error RoyaltyFeeTooHigh(uint128 fee, uint128 limit);
    error RoyaltySignatureInvalid(address signer);
    error RoyaltySignatureExpired(uint256 at, uint256 deadline);
    error RoyaltySignatureUsed(bytes32 digest);

    function DATASETS() external view returns (IDatasetRegistry);
    function MODELS() external view returns (IModelRegistry);
    function ESCROW() external view returns (IInferenceEscrow);
    /// @notice The most epochs of one pull or claim.
    function MAX_EPOCHS() external view returns (uint256);

    /// @notice Escrow only: adds a lane's payees' share to the model's income of the epoch.
    function creditIncome(bytes32 modelId, uint64 epoch, uint128 amount) external;

    /// @notice Moves one payee's part of a model's income of some epochs to the payee's pool; anyone may; again moves only what is new.
    function pull(bytes32 modelId, uint256 payeeIndex, uint64[] calldata epochs) external returns (uint128 amount);

    /// @notice Pays msg.sender = claim.account what is due in closed epochs. Never blocked by a withdrawn consent.
    function claim(Claim calldata claim_, address to) external returns (uint128 amount);
    /// @notice Anyone may relay; takes `relayerFee`, at most `maxRelayerFee`, out of `amount`, for msg.sender; `to` gets the rest.
    /// The signature is good once; it leaves open what is due, so pull before it is relayed.
    function claimBySig(
        Claim calldata claim_, address to, uint128 relayerFee, uint128 maxRelayerFee, uint256 nonce, uint256 deadline, bytes calldata signature
    ) external returns (uint128 amount);

    function income(bytes32 modelId, uint64 epoch) external view returns (uint128);
    function pulled(bytes32 modelId, uint256 payeeIndex, uint64 epoch) external view returns (uint128);
    function pool(bytes32 payeeId, uint64 epoch) external view returns (uint128);
    /// @notice What was paid out of `pool`.
    function paid(bytes32 payeeId, uint64 epoch) external view returns (uint128);
    function drawn(bytes32 payeeId, uint64 epoch, address account) external view returns (uint128);
    /// @notice Whether a claim's signature was used.
    function isUsed(bytes32 digest) external view returns (bool);
    function currentEpoch() external view returns (uint64);
}
