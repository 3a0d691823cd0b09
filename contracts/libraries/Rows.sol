// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IInferenceEscrow} from "../interfaces/IInferenceEscrow.sol";
import {Batches} from "./Batches.sol";
import {Vouchers} from "./Vouchers.sol";

/// @title The rows of a batch, one after another without gaps; services/core/rows.ts writes and reads the same bytes.
/// @dev Numbers are big-endian. A row is
///
/// |   at | bytes | field                                                                         |
/// |-----:|------:|-------------------------------------------------------------------------------|
/// |    0 |    20 | payer                                                                         |
/// |   20 |     4 | thawSeconds                                                                   |
/// |   24 |    32 | salt; these three and the batch's collector name the account                  |
/// |   56 |    16 | from: what the key has spent; the row is skipped where the account says other |
/// |   72 |    16 | ceiling of the voucher                                                        |
/// |   88 |    32 | usageHead of the voucher                                                      |
/// |  120 |    64 | the voucher's signature by the key: r and vs, as EIP-2098 has them            |
/// |  184 |     1 | 0 where the payer's own key signed, 1 where a granted one did                 |
/// |  185 |     1 | how many parts there are: 64 at most                                          |
/// |  186 |    20 | the granted key; left out where the payer's own signed                        |
/// |    … |    17 | each part: the index of its lane in 1 byte, the amount in 16                  |
///
/// @dev Assembly, because calldata is most of what a row costs: as ABI-encoded structs a row took 1,700 gas more of its 15,300.
library Rows {
    uint256 private constant HEAD_BYTES = 186;
    uint256 private constant KEY_BYTES = 20;
    uint256 private constant PART_BYTES = 17;
    uint256 private constant MAX_PARTS = 64;

    /// @notice Notes the row that begins at `at` in the desk; the next one begins at `next`. `sum` is of those parts whose lane is creditable:
    /// what the row can raise.
    /// @dev Every byte that is read lies within `rows`: the length is checked before the fields are.
    function read(Vouchers.Desk memory desk, bytes calldata rows, uint256 at, Batches.Totals memory totals)
        internal
        pure
        returns (uint256 next, uint256 sum)
    {
        uint256 granted;
        uint256 parts;
        // No overflow: `at` is at most the length, and what is added is below 2^13.
        unchecked {
            if (at + HEAD_BYTES > rows.length) revert IInferenceEscrow.EscrowRowMalformed(at);
            // solhint-disable-next-line no-inline-assembly
            assembly ("memory-safe") {
                let counts := calldataload(add(add(rows.offset, at), 184))
                granted := byte(0, counts)
                parts := byte(1, counts)
            }
            next = at + HEAD_BYTES + granted * KEY_BYTES + parts * PART_BYTES;
            if (parts > MAX_PARTS) revert IInferenceEscrow.EscrowBatchTooLarge({actual: parts, limit: MAX_PARTS});
            if (granted > 1 || next > rows.length) revert IInferenceEscrow.EscrowRowMalformed(at);
        }
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            let row := add(rows.offset, at)
            let payer := shr(96, calldataload(row))
            mstore(add(desk, 0x40), payer)
            mstore(add(desk, 0xa0), shr(224, calldataload(add(row, 20)))) // thawSeconds
            mstore(add(desk, 0xc0), calldataload(add(row, 24))) // salt
            if granted { payer := shr(96, calldataload(add(row, HEAD_BYTES))) }
            mstore(add(desk, 0x120), payer) // key
            mstore(add(desk, 0x140), shr(128, calldataload(add(row, 72)))) // ceiling
            mstore(add(desk, 0x160), calldataload(add(row, 88))) // usageHead
            let vs := calldataload(add(row, 152))
            mstore(add(desk, 0x1a0), add(27, shr(255, vs))) // v
            mstore(add(desk, 0x1c0), calldataload(add(row, 120))) // r
            mstore(add(desk, 0x1e0), shr(1, shl(1, vs))) // s
            mstore(add(desk, 0x200), shr(128, calldataload(add(row, 56)))) // from
        }
        sum = _readParts(desk, rows, next, parts, totals);
    }

    function _readParts(Vouchers.Desk memory desk, bytes calldata rows, uint256 next, uint256 parts, Batches.Totals memory totals)
        private
        pure
        returns (uint256 sum)
    {
        uint256 lanes = totals.gross.length;
        uint256 mask = totals.creditable;
        uint256 lane;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            let end := add(rows.offset, next)
            let part := sub(end, mul(parts, PART_BYTES))
            mstore(add(desk, 0x220), part) // parts
            mstore(add(desk, 0x240), end) // partsEnd
            for {} lt(part, end) { part := add(part, PART_BYTES) } {
                lane := byte(0, calldataload(part))
                if iszero(lt(lane, lanes)) { break }
                // 64 amounts of 128 bits can't overflow.
                sum := add(sum, mul(and(shr(lane, mask), 1), shr(128, calldataload(add(part, 1)))))
            }
        }
        if (lane >= lanes && parts != 0) revert IInferenceEscrow.EscrowLaneUnknown({lane: lane, lanes: lanes});
    }

    /// @notice Adds an applied row's parts to their lanes.
    /// @dev Warning: only after `read` has found every lane in range. 512 rows of at most 2^80 can't overflow.
    function addTo(Vouchers.Desk memory desk, Batches.Totals memory totals) internal pure {
        (uint256[] memory gross, uint256 mask) = (totals.gross, totals.creditable);
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            let end := mload(add(desk, 0x240))
            for { let part := mload(add(desk, 0x220)) } lt(part, end) { part := add(part, PART_BYTES) } {
                let lane := byte(0, calldataload(part))
                let slot := add(add(gross, 0x20), shl(5, lane))
                mstore(slot, add(mload(slot), mul(and(shr(lane, mask), 1), shr(128, calldataload(add(part, 1))))))
            }
        }
    }
}
