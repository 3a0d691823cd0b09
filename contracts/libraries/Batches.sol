// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IInferenceEscrow} from "../interfaces/IInferenceEscrow.sol";
import {Messages} from "./Messages.sol";
import {Ppm} from "./Ppm.sol";

/// @title The arithmetic of a batch: bounds, lane totals, and how a lane's gross is split.
library Batches {
    uint256 internal constant MAX_LANES = 64;
    uint256 internal constant MAX_ROWS = 512;

    /// What the lanes take in while the rows are applied.
    struct Totals {
        uint256 creditable; // one bit for each lane
        uint256[] payeesPpm;
        uint256[] gross;
    }

    struct Rates {
        uint256 protocolPpm;
        uint256 collectorPpm;
    }

    /// The four add up to the lane's gross, to the unit.
    struct Split {
        uint256 protocolFee;
        uint256 collectorFee;
        uint256 royalties;
        uint256 provider;
    }

    function requireWellFormed(IInferenceEscrow.Batch calldata batch) internal pure {
        require(batch.receiptsRoot != 0, IInferenceEscrow.EscrowReceiptsRootMissing(batch.batchId));
        require(batch.lanes.length <= MAX_LANES, IInferenceEscrow.EscrowBatchTooLarge({actual: batch.lanes.length, limit: MAX_LANES}));
        require(batch.rows.length <= MAX_ROWS, IInferenceEscrow.EscrowBatchTooLarge({actual: batch.rows.length, limit: MAX_ROWS}));
    }

    function openTotals(uint256 lanes) internal pure returns (Totals memory totals) {
        totals.payeesPpm = new uint256[](lanes);
        totals.gross = new uint256[](lanes);
    }

    /// @notice The sum of those parts whose lane is creditable: what the row can raise.
    /// @dev Assembly, here and in `add`: through checked calldata and memory arrays the parts took 650 gas more of each row's 15,000.
    function creditable(IInferenceEscrow.Part[] calldata parts, Totals memory totals) internal pure returns (uint256 sum) {
        require(parts.length <= MAX_LANES, IInferenceEscrow.EscrowBatchTooLarge({actual: parts.length, limit: MAX_LANES}));
        uint256 lanes = totals.gross.length;
        uint256 mask = totals.creditable;
        uint256 highestLane;
        uint256 amountBits;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            let end := add(parts.offset, shl(6, parts.length))
            for { let part := parts.offset } lt(part, end) { part := add(part, 0x40) } {
                let lane := calldataload(part)
                let amount := calldataload(add(part, 0x20))
                if gt(lane, highestLane) { highestLane := lane }
                amountBits := or(amountBits, amount)
                // 64 amounts of 128 bits can't overflow; `amountBits` shows any wider one.
                sum := add(sum, mul(and(shr(lane, mask), 1), amount))
            }
        }
        require(highestLane < lanes || parts.length == 0, IInferenceEscrow.EscrowLaneUnknown({lane: highestLane, lanes: lanes}));
        require(amountBits <= type(uint128).max, IInferenceEscrow.EscrowAmountInvalid(amountBits));
    }

    /// @notice Adds an applied row's parts to their lanes.
    /// @dev Warning: only after `creditable` has found every lane in range. 512 rows of at most 2^80 can't overflow.
    function add(Totals memory totals, IInferenceEscrow.Part[] calldata parts) internal pure {
        uint256[] memory gross = totals.gross;
        uint256 mask = totals.creditable;
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            let end := add(parts.offset, shl(6, parts.length))
            for { let part := parts.offset } lt(part, end) { part := add(part, 0x40) } {
                let lane := calldataload(part)
                let slot := add(add(gross, 0x20), shl(5, lane))
                mstore(slot, add(mload(slot), mul(and(shr(lane, mask), 1), calldataload(add(part, 0x20)))))
            }
        }
    }

    /// @notice Fees and royalties round down; the provider takes the rest.
    function split(uint256 gross, uint256 payeesPpm, Rates memory rates) internal pure returns (Split memory parts) {
        parts.protocolFee = Ppm.part({ppm: rates.protocolPpm, amount: gross});
        parts.collectorFee = Ppm.part({ppm: rates.collectorPpm, amount: gross});
        parts.royalties = Ppm.part({ppm: payeesPpm, amount: gross});
        parts.provider = gross - parts.protocolFee - parts.collectorFee - parts.royalties;
    }

    function structHash(IInferenceEscrow.Batch calldata batch) internal pure returns (bytes32) {
        return Messages.hashSettleBatch({
            collector: batch.collector,
            batchId: batch.batchId,
            lanesHash: keccak256(abi.encode(batch.lanes)),
            rowsHash: keccak256(abi.encode(batch.rows)),
            receiptsRoot: batch.receiptsRoot
        });
    }
}
