// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

/// @title Parts per million, and the bounds of the fees that settlement takes.
library Ppm {
    uint256 internal constant ONE = 1_000_000;
    /// What governance may ask at most of a lane's gross.
    uint32 internal constant MAX_PROTOCOL_FEE = 50_000;
    /// What a collector may ask at most of a lane's gross.
    uint32 internal constant MAX_COLLECTOR_FEE = 100_000;

    /// @notice `ppm` parts of `amount`, rounded down: the remainder stays with whoever takes the rest.
    function part(uint256 ppm, uint256 amount) internal pure returns (uint256) {
        return amount * ppm / ONE;
    }
}
