// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IInferenceEscrow} from "./IInferenceEscrow.sol";

/// @title Chapter 5, the x402 rail: where payments by EIP-3009 to one collector arrive.
/// @notice No owner, no admin, no upgrade. Tokens leave to two places only: into the house account in ESCROW, where they settle like any
/// other payer's, and back to the `from` of an authorization to this very contract.
interface IX402Router {
    /// EIP-3009 TransferWithAuthorization, with this contract as `to`.
    struct Authorization {
        address from;
        uint256 value;
        uint256 validAfter;
        uint256 validBefore;
        bytes32 nonce;
    }

    event Swept(bytes32 indexed accountId, uint128 amount, uint128 total);
    event Refunded(address indexed from, bytes32 indexed nonce, uint128 amount);

    error RouterNotCollector(address actual, address collector, address key);
    error RouterSignatureInvalid(address collector, address key);
    error RouterKeyInvalid(address key);
    error RouterBalanceShort(uint256 asked, uint256 held);
    error RouterAuthorizationForged(address from, bytes32 nonce);
    error RouterAuthorizationUnused(address from, bytes32 nonce);
    error RouterAlreadyRefunded(address from, bytes32 nonce, uint128 amount);
    error RouterRefundInvalid(uint256 amount, uint256 value);

    /// @notice Moves what the collector says was earned into the house account. `total` counts from the beginning, as vouchers do: a repeat,
    /// or an older total, moves nothing and returns 0. What is not swept stays refundable.
    /// By COLLECTOR or KEY itself (empty signature), or relayed with the EIP-712 signature of either over Sweep.
    function sweep(uint128 total, bytes calldata signature) external returns (uint128 amount);

    /// @notice Gives back up to the authorization's value, once, to its `from`. The money comes out of what is not swept.
    /// By COLLECTOR or KEY itself (empty signature), or relayed with the EIP-712 signature of either over Refund.
    /// @param payerSignature the authorization's own, under the token's domain (EIP-712; ERC-1271 where `from` is a contract)
    function refund(Authorization calldata authorization, uint128 amount, bytes calldata payerSignature, bytes calldata signature) external;

    /// @notice What an authorization got back; 0 = nothing yet.
    function refunded(address from, bytes32 nonce) external view returns (uint128);
    /// @notice All that was swept so far.
    function swept() external view returns (uint128);
    /// @notice The account in ESCROW whose payer is this contract; it never thaws, its money leaves by batches only.
    function houseAccount() external view returns (IInferenceEscrow.Account memory);
}
