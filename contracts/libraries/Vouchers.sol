// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IInferenceEscrow} from "../interfaces/IInferenceEscrow.sol";
import {Messages} from "./Messages.sol";

/// @title The hashes and the signature of a row's voucher.
/// @dev ECDSA only: a contract wallet could change its mind between the delivery and the settlement. It names an ECDSA key instead.
/// @dev Assembly, because a batch hashes two messages per row: through abi.encode that took 2,100 gas of a row's 15,000, here 500.
library Vouchers {
    uint256 private constant HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;
    uint256 private constant S_MASK = type(uint256).max >> 1;

    /// Both messages as abi.encode lays them out, a word for each field; every row of a batch overwrites its own fields.
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
    }

    function openDesk(bytes32 domainSeparator, address collector, address token) internal pure returns (Desk memory desk) {
        desk.domainSeparator = domainSeparator;
        desk.accountType = Messages.ACCOUNT;
        desk.collector = collector;
        desk.token = token;
        desk.voucherType = Messages.VOUCHER;
    }

    /// @notice Equals the escrow's accountIdOf for the row's payer, thaw and salt. Notes the id and the voucher's fields.
    /// @dev A field with dirty upper bits only gives another hash: no account, or no signature.
    function readRow(Desk memory desk, IInferenceEscrow.Row calldata row) internal pure returns (bytes32 accountId) {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            mstore(add(desk, 0x40), calldataload(row)) // payer
            calldatacopy(add(desk, 0xa0), add(row, 0x20), 0x40) // thawSeconds, salt
            mstore(0x00, 0x1901)
            mstore(0x20, mload(desk))
            // The free memory pointer gives way for the struct hash and comes back: 66 bytes at 0x1e end there.
            let free := mload(0x40)
            mstore(0x40, keccak256(add(desk, 0x20), 0xc0))
            accountId := keccak256(0x1e, 0x42)
            mstore(0x40, free)
            mstore(add(desk, 0x100), accountId)
            mstore(add(desk, 0x120), calldataload(add(row, 0x60))) // key
            calldatacopy(add(desk, 0x140), add(row, 0xa0), 0x40) // ceiling, usageHead
        }
    }

    /// @notice Whether the row's key signed the voucher that `readRow` noted; EIP-2098 with s in the lower half order is the only form.
    function isSigned(Desk memory desk, IInferenceEscrow.Row calldata row) internal pure returns (bool) {
        bytes32 digest;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            mstore(0x00, 0x1901)
            mstore(0x20, mload(desk))
            let free := mload(0x40)
            mstore(0x40, keccak256(add(desk, 0xe0), 0xa0))
            digest := keccak256(0x1e, 0x42)
            mstore(0x40, free)
        }
        uint256 vs = uint256(row.vs);
        if (vs & S_MASK > HALF_ORDER) return false;
        address signer = ecrecover(digest, uint8(27 + (vs >> 255)), row.r, bytes32(vs & S_MASK));
        return signer != address(0) && signer == desk.key;
    }
}
