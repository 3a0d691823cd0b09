// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

/// @title What makes a voucher good.
/// @dev ECDSA only: a contract wallet could change its mind between the delivery and the settlement. It names an ECDSA key instead.
library Vouchers {
    /// @notice Whether `key` signed `digest`; EIP-2098 leaves s in the lower half order as the only form.
    function isSignedBy(bytes32 digest, address key, bytes32 r, bytes32 vs) internal pure returns (bool) {
        (address signer, ECDSA.RecoverError failure,) = ECDSA.tryRecover(digest, r, vs);
        return failure == ECDSA.RecoverError.NoError && signer == key;
    }
}
