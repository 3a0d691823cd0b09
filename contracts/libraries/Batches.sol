// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IInferenceEscrow} from "../interfaces/IInferenceEscrow.sol";
import {Messages} from "./Messages.sol";
import {Ppm} from "./Ppm.sol";

/// @title The arithmetic of a batch: bounds, lane totals, and how a lane's gross is split.
library Batches {
    uint256 internal constant MAX_LANES = 64;
    uint256 internal constant MAX_ROWS = 512;

    /// What a lane takes in while the rows are applied.
    struct LaneTotal {
        bool creditable;
        uint256 payeesPpm;
        uint256 gross;
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

    /// @notice The sum of those parts whose lane is creditable: what the row can raise.
    function creditable(IInferenceEscrow.Part[] calldata parts, LaneTotal[] memory totals) internal pure returns (uint256 sum) {
        uint256 count = parts.length;
        require(count <= MAX_LANES, IInferenceEscrow.EscrowBatchTooLarge({actual: count, limit: MAX_LANES}));
        for (uint256 i = 0; i < count; ++i) {
            uint256 lane = parts[i].lane;
            require(lane < totals.length, IInferenceEscrow.EscrowLaneUnknown({lane: lane, lanes: totals.length}));
            if (totals[lane].creditable) sum += parts[i].amount;
        }
    }

    /// @notice Adds an applied row's parts to its lanes.
    function add(LaneTotal[] memory totals, IInferenceEscrow.Part[] calldata parts) internal pure {
        uint256 count = parts.length;
        for (uint256 i = 0; i < count; ++i) {
            LaneTotal memory total = totals[parts[i].lane];
            if (total.creditable) total.gross += parts[i].amount;
        }
    }

    /// @notice Fees and royalties round down; the provider takes the rest.
    function split(LaneTotal memory total, Rates memory rates) internal pure returns (Split memory parts) {
        parts.protocolFee = Ppm.part({ppm: rates.protocolPpm, amount: total.gross});
        parts.collectorFee = Ppm.part({ppm: rates.collectorPpm, amount: total.gross});
        parts.royalties = Ppm.part({ppm: total.payeesPpm, amount: total.gross});
        parts.provider = total.gross - parts.protocolFee - parts.collectorFee - parts.royalties;
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
