// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

/// @title EIP-3009 for payers that are contracts: the overload of USDC's FiatToken 2.2, checked by ERC-1271.
interface IBytesAuthorization {
    function receiveWithAuthorization(
        address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, bytes calldata signature
    ) external;
}
