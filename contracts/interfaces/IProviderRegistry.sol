// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

/// @title Chapter 4, infer: providers, their keys, their stake and their offers.
interface IProviderRegistry {
    struct Provider {
        address sessionKey; // secp256k1, signs what workers deliver
        bytes32 encryptionKey; // x25519, content keys are sealed to it
        uint128 stake;
        uint128 unstaking;
        uint40 unstakeAt;
        string name;
    }

    struct Offer {
        uint128 unitPrice; // base units
        uint8 unit; // services/core/metering.ts
        bool active; // set, not ended, and the operator's stake is MIN_STAKE at least
    }

    event ProviderRegistered(address indexed operator, address sessionKey, bytes32 encryptionKey, string name);
    event Staked(address indexed operator, uint128 amount, uint128 stake);
    event UnstakingStarted(address indexed operator, uint128 amount, uint40 at);
    event Unstaked(address indexed operator, address to, uint128 amount);
    event OfferSet(address indexed operator, bytes32 indexed modelId, uint8 unit, uint128 unitPrice);
    event OfferEnded(address indexed operator, bytes32 indexed modelId);

    error ProviderUnknown(address operator);
    error ProviderKeyInvalid(address sessionKey);
    error ProviderKeyTaken(address sessionKey, address operator);
    error ProviderNameTooLong(uint256 actual, uint256 limit);
    error ProviderStakeTooLow(uint128 actual, uint128 least);
    error ProviderStillUnstaking(uint256 at, uint40 unstakeAt);
    error ProviderNothingUnstaking(address operator);
    error ProviderTokenShortfall(uint256 received, uint256 expected);
    error ProviderModelUnknown(bytes32 modelId);
    error ProviderPriceInvalid(uint128 unitPrice);
    error ProviderSignatureInvalid(address signer);
    error ProviderSignatureExpired(uint256 at, uint256 deadline);

    /// @notice Registers msg.sender as operator, or changes its keys.
    function register(address sessionKey, bytes32 encryptionKey, string calldata name) external;
    function registerBySig(
        address operator, address sessionKey, bytes32 encryptionKey, string calldata name, uint256 deadline, bytes calldata signature
    ) external;
    function stake(uint128 amount) external;
    /// @notice By the operator's EIP-3009 authorization to this contract: whoever relays it, it can only become the operator's stake.
    function stakeWithAuthorization(
        address operator, uint128 amount, uint256 validAfter, uint256 validBefore, bytes32 nonce, bytes calldata signature
    ) external;
    function startUnstaking(uint128 amount) external;
    function startUnstakingBySig(address operator, uint128 amount, uint256 deadline, bytes calldata signature) external;
    function unstake(address to) external returns (uint128 amount);
    function unstakeBySig(address operator, address to, uint256 deadline, bytes calldata signature) external returns (uint128 amount);
    /// @notice Offers a model at a price; needs MIN_STAKE.
    function setOffer(bytes32 modelId, uint8 unit, uint128 unitPrice) external;
    function setOfferBySig(address operator, bytes32 modelId, uint8 unit, uint128 unitPrice, uint256 deadline, bytes calldata signature) external;
    function endOffer(bytes32 modelId) external;
    function endOfferBySig(address operator, bytes32 modelId, uint256 deadline, bytes calldata signature) external;

    function MIN_STAKE() external view returns (uint128);
    function UNSTAKE_SECONDS() external view returns (uint40);
    function provider(address operator) external view returns (Provider memory);
    function offer(address operator, bytes32 modelId) external view returns (Offer memory);
    function operatorOf(address sessionKey) external view returns (address);
}
