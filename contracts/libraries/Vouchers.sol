// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {Messages} from "./Messages.sol";

/// @title The hashes and the signature of a row's voucher.
/// @dev ECDSA only: a contract wallet could change its mind between the delivery and the settlement. It names an ECDSA key instead.
/// @dev Assembly, because a batch hashes two messages per row: through abi.encode that took 2,100 gas of a row's 15,000, here 500.
library Vouchers {
    uint256 private constant HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;

    /// Both messages as abi.encode lays them out, a word for each field, and the rest of a row; every row of a batch overwrites its own fields.
    struct Desk {
        bytes32 domainSeparator;
        bytes32 accountType;
        address payer;
        address collector;
        address token;
        uint32 thawSeconds;
        bytes32 salt;
        bytes32 voucherType;
        bytes32 accountId;
        address key;
        uint128 ceiling;
        bytes32 usageHead;
        bytes32 digest; // with the three after it, what ecrecover takes
        uint256 v;
        bytes32 r;
        uint256 s;
        uint256 from;
        uint256 parts; // where in calldata the row's parts begin
        uint256 partsEnd;
    }

    function openDesk(bytes32 domainSeparator, address collector, address token) internal pure returns (Desk memory desk) {
        desk.domainSeparator = domainSeparator;
        desk.accountType = Messages.ACCOUNT;
        desk.collector = collector;
        desk.token = token;
        desk.voucherType = Messages.VOUCHER;
    }

    /// @notice Equals the escrow's accountIdOf for the row's payer, thaw and salt; the voucher is then of this account.
    function nameAccount(Desk memory desk) internal pure returns (bytes32 accountId) {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            mstore(0x00, 0x1901)
            mstore(0x20, mload(desk))
            // The free memory pointer gives way for the struct hash and comes back: 66 bytes at 0x1e end there.
            let free := mload(0x40)
            mstore(0x40, keccak256(add(desk, 0x20), 0xc0))
            accountId := keccak256(0x1e, 0x42)
            mstore(0x40, free)
            mstore(add(desk, 0x100), accountId)
        }
    }

    /// @notice Whether the row's key signed the row's voucher; EIP-2098 with s in the lower half order is the only form.
    function isSigned(Desk memory desk) internal view returns (bool) {
        if (desk.s > HALF_ORDER) return false;
        address signer;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            mstore(0x00, 0x1901)
            mstore(0x20, mload(desk))
            let free := mload(0x40)
            mstore(0x40, keccak256(add(desk, 0xe0), 0xa0))
            mstore(add(desk, 0x180), keccak256(0x1e, 0x42))
            mstore(0x40, free)
            // Answers nothing where there is no such signature: zero stays.
            mstore(0x00, 0)
            pop(staticcall(gas(), 1, add(desk, 0x180), 0x80, 0x00, 0x20))
            signer := mload(0x00)
        }
        return signer == desk.key && signer != address(0);
    }
}
