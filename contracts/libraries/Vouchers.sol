// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {Desk} from "./Desk.sol";

/// @title The hashes and the signature of a row's voucher.
/// @dev ECDSA only: a contract wallet could change its mind between the delivery and the settlement. It names an ECDSA key instead.
/// @dev Assembly, because a batch hashes two messages per row: through abi.encode a row took 1,100 gas more of its 14,300.
library Vouchers {
    uint256 private constant HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;

    /// @notice Equals the escrow's accountIdOf for the row's payer, thaw and salt; the voucher is then of this account.
    function nameAccount(Desk memory desk) internal pure returns (bytes32 accountId) {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            mstore(add(desk, 0x40), keccak256(add(desk, 0x60), 0xc0))
            accountId := keccak256(add(desk, 0x1e), 0x42)
            mstore(add(desk, 0x140), accountId)
        }
    }

    /// @notice Whether the row's key signed the row's voucher; EIP-2098 with s in the lower half order is the only form.
    function isSigned(Desk memory desk) internal view returns (bool signed) {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            mstore(add(desk, 0x40), keccak256(add(desk, 0x120), 0xa0))
            mstore(add(desk, 0x1c0), keccak256(add(desk, 0x1e), 0x42))
            // Answers nothing where there is no such signature: zero stays, and zero is nobody.
            mstore(0x00, 0)
            pop(staticcall(gas(), 1, add(desk, 0x1c0), 0x80, 0x00, 0x20))
            let signer := mload(0x00)
            signed := and(eq(signer, mload(add(desk, 0x160))), lt(0, signer))
            signed := and(signed, iszero(gt(mload(add(desk, 0x220)), HALF_ORDER)))
        }
    }
}
