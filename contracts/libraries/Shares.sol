// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

/// @title One account's line in a pool's share table.
library Shares {
    /// Hashed twice, so that no inner node of the tree can pass for a leaf.
    function leaf(address account, uint128 shares) internal pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(account, shares))));
    }
}
