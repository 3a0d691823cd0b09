// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IInferenceEscrow} from "../interfaces/IInferenceEscrow.sol";
import {Desk} from "./Desk.sol";

/// @title The rows of a batch, one after another without gaps; services/core/rows.ts writes and reads the same bytes.
/// @dev Numbers are big-endian. A row is
///
/// |   at | bytes | field                                                                               |
/// |-----:|------:|-------------------------------------------------------------------------------------|
/// |    0 |    20 | payer                                                                               |
/// |   20 |     4 | thawSeconds                                                                         |
/// |   24 |    32 | salt; these three and the batch's collector name the account                        |
/// |   56 |    10 | from: what the key has spent; the row is skipped where the account says other       |
/// |   66 |    16 | ceiling of the voucher                                                              |
/// |   82 |    32 | usageHead of the voucher                                                            |
/// |  114 |    64 | the voucher's signature by the key: r and vs, as EIP-2098 has them                  |
/// |  178 |     1 | how many parts there are, 64 at most; 128 more where a granted key signed           |
/// |  179 |    20 | the granted key; left out where the payer's own signed                              |
/// |    … |    11 | each part: the amount in 10 bytes, the index of its lane in 1                       |
///
/// @dev What is spent has 80 bits in an account, so `from` and amounts have; a ceiling has the 128 that its payer signed.
/// @dev Assembly, because calldata is much of what a row costs: as ABI-encoded structs a row took 1,700 gas more.
library Rows {
    uint256 private constant HEAD_BYTES = 179;
    uint256 private constant KEY_BYTES = 20;
    uint256 private constant PART_BYTES = 11;
    uint256 private constant MAX_PARTS = 64;
    uint256 private constant MAX_PARTS_BYTES = 704;

    /// @notice Where in calldata the first row begins, and where the last one must end.
    function start(Desk memory desk, bytes calldata rows) internal pure returns (uint256 at, uint256 end) {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            at := rows.offset
            end := add(at, rows.length)
        }
        desk.rows = at;
    }

    /// @notice Notes the row that begins at `at` in the desk, and adds its parts to their lanes; the next row begins at `next`. `sum` is of those
    /// parts whose lane is creditable: what the row can raise.
    /// @dev No overflow: `at` lies within calldata, a row takes less than 2^11 bytes, and no calldata has room for 2^176 amounts of 80 bits.
    function read(Desk memory desk, uint256 at, uint256 end) internal pure returns (uint256 next, uint256 sum) {
        uint256 granted;
        uint256 part;
        bool isMalformed;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            // Past the end this may be any byte of calldata: then `next` lies past the end all the more.
            let tail := byte(0, calldataload(add(at, 178)))
            granted := shr(7, tail)
            part := add(at, add(HEAD_BYTES, mul(granted, KEY_BYTES)))
            next := add(part, mul(and(tail, 0x7f), PART_BYTES))
            isMalformed := or(gt(next, end), gt(sub(next, part), MAX_PARTS_BYTES))
        }
        if (isMalformed) _refuseRow({at: at - desk.rows, parts: (next - part) / PART_BYTES});
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            let key := shr(96, calldataload(at))
            mstore(add(desk, 0x80), key) // payer
            // Two fields at once where they stand alike here and there: the first ends its word, whose other bytes stay zero.
            calldatacopy(add(desk, 0xfc), add(at, 20), 36) // thawSeconds, salt
            mstore(add(desk, 0x240), shr(176, calldataload(add(at, 56)))) // from
            calldatacopy(add(desk, 0x190), add(at, 66), 48) // ceiling, usageHead
            mstore(add(desk, 0x200), calldataload(add(at, 114))) // r
            let vs := calldataload(add(at, 146))
            mstore(add(desk, 0x1e0), add(27, shr(255, vs))) // v
            mstore(add(desk, 0x220), shr(1, shl(1, vs))) // s
            if granted { key := shr(96, calldataload(add(at, HEAD_BYTES))) }
            mstore(add(desk, 0x160), key)
            mstore(add(desk, 0x260), granted)
            mstore(add(desk, 0x280), part)
            mstore(add(desk, 0x2a0), next)

            let totals := mload(add(desk, 0x2c0))
            let mask := mload(totals) // creditable
            let gross := mload(add(totals, 0x40))
            for {} lt(part, next) { part := add(part, PART_BYTES) } {
                let word := calldataload(part)
                let lane := byte(10, word)
                if iszero(lt(lane, mload(gross))) { break }
                let amount := mul(and(shr(lane, mask), 1), shr(176, word))
                sum := add(sum, amount)
                let slot := add(gross, shl(5, add(lane, 1)))
                mstore(slot, add(mload(slot), amount))
            }
        }
        if (part != next) _refuseLane(desk, part);
    }

    /// @notice Takes the parts of a row that is skipped back from their lanes.
    function takeBack(Desk memory desk) internal pure {
        uint256[] memory gross = desk.totals.gross;
        uint256 creditable = desk.totals.creditable;
        for (uint256 part = desk.parts; part < desk.partsEnd; part += PART_BYTES) {
            (uint256 amount, uint256 lane) = _part(part);
            if ((creditable >> lane) & 1 == 1) gross[lane] -= amount;
        }
    }

    function _part(uint256 at) private pure returns (uint256 amount, uint256 lane) {
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            let word := calldataload(at)
            amount := shr(176, word)
            lane := byte(10, word)
        }
    }

    function _refuseRow(uint256 at, uint256 parts) private pure {
        require(parts <= MAX_PARTS, IInferenceEscrow.EscrowBatchTooLarge({actual: parts, limit: MAX_PARTS}));
        revert IInferenceEscrow.EscrowRowMalformed(at);
    }

    function _refuseLane(Desk memory desk, uint256 part) private pure {
        (, uint256 lane) = _part(part);
        revert IInferenceEscrow.EscrowLaneUnknown({lane: lane, lanes: desk.totals.gross.length});
    }
}
