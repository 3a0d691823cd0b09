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
    }

    function openTotals(uint256 lanes) internal pure returns (Totals memory totals) {
        totals.payeesPpm = new uint256[](lanes);
        totals.gross = new uint256[](lanes);
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
            rowsHash: keccak256(batch.rows),
            receiptsRoot: batch.receiptsRoot
        });
    }
}
