// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IModelRegistry} from "../interfaces/IModelRegistry.sol";

/// @title The flattened lineage of one model while it is put together, and the packed ends per purpose.
library Lineage {
    uint256 internal constant MAX_PAYEES = 32;
    uint32 internal constant ROYALTIES_MAX_PPM = 500_000;
    /// The protocol's and the collector's highest fees together.
    uint32 internal constant MAX_FEES_PPM = 150_000;
    uint32 internal constant ONE_PPM = 1_000_000;

    uint256 private constant ENDS_PER_WORD = 6;
    uint256 private constant END_BITS = 40;

    struct Entry {
        bytes32 id;
        uint32 ppm;
        bool isDataset;
        // Datasets: when their data entered the lineage. A child made after an exit from a pool still holds what its parent learned.
        uint40 trainedAt;
    }

    struct Draft {
        Entry[] entries; // MAX_PAYEES long, `count` of them used
        uint256 count;
    }

    function start() internal pure returns (Draft memory draft) {
        draft.entries = new Entry[](MAX_PAYEES);
    }

    /// The same id through several parents is paid once, by the highest share, and counts as trained at the earliest time.
    function merge(Draft memory draft, Entry memory entry) internal pure {
        for (uint256 i = 0; i < draft.count; ++i) {
            Entry memory known = draft.entries[i];
            if (known.id != entry.id) continue;
            if (entry.ppm > known.ppm) known.ppm = entry.ppm;
            if (entry.trainedAt < known.trainedAt) known.trainedAt = entry.trainedAt;
            return;
        }
        require(draft.count < MAX_PAYEES, IModelRegistry.ModelTooManyPayees(draft.count + 1, MAX_PAYEES));
        draft.entries[draft.count++] = entry;
    }

    /// Checks the bounds on royalties and on everything that is taken from a gross; returns what payees get together.
    function checkShares(Draft memory draft, uint32 authorPpm) internal pure returns (uint32 payeesPpm) {
        uint256 royalties = 0;
        for (uint256 i = 0; i < draft.count; ++i) royalties += draft.entries[i].ppm;
        require(royalties <= ROYALTIES_MAX_PPM, IModelRegistry.ModelSharesTooHigh(royalties, ROYALTIES_MAX_PPM));
        uint256 taken = royalties + authorPpm + MAX_FEES_PPM;
        require(taken <= ONE_PPM, IModelRegistry.ModelSharesTooHigh(taken, ONE_PPM));
        // The cast is exact: at most ONE_PPM.
        return uint32(royalties + authorPpm);
    }

    /// Which word of a model's ends holds the purpose.
    function wordOf(uint8 purpose) internal pure returns (uint256) {
        return purpose / ENDS_PER_WORD;
    }

    function endIn(uint256 word, uint8 purpose) internal pure returns (uint40) {
        return uint40(word >> ((purpose % ENDS_PER_WORD) * END_BITS));
    }

    function withEnd(uint256 word, uint8 purpose, uint40 end) internal pure returns (uint256) {
        uint256 shift = (purpose % ENDS_PER_WORD) * END_BITS;
        return (word & ~(uint256(type(uint40).max) << shift)) | (uint256(end) << shift);
    }
}
