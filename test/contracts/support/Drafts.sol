// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IInferenceEscrow} from "../../../contracts/interfaces/IInferenceEscrow.sol";

/// @title Batches while tests put them together, and their rows as libraries/Rows.sol has them.
library Drafts {
    struct Part {
        uint8 lane;
        uint128 amount;
    }

    struct Row {
        address payer;
        uint32 thawSeconds;
        bytes32 salt;
        address key;
        uint128 from;
        uint128 ceiling;
        bytes32 usageHead;
        bytes32 r;
        bytes32 vs;
        Part[] parts;
    }

    struct Batch {
        address collector;
        bytes32 batchId;
        IInferenceEscrow.Lane[] lanes;
        Row[] rows;
        bytes32 receiptsRoot;
    }

    function encode(Batch memory draft) internal pure returns (IInferenceEscrow.Batch memory) {
        return IInferenceEscrow.Batch({
            collector: draft.collector,
            batchId: draft.batchId,
            lanes: draft.lanes,
            rows: encode(draft.rows),
            receiptsRoot: draft.receiptsRoot
        });
    }

    function encode(Row[] memory rows) internal pure returns (bytes memory encoded) {
        bytes[] memory pieces = new bytes[](rows.length);
        uint256 length = 0;
        for (uint256 i = 0; i < rows.length; ++i) {
            pieces[i] = encode(rows[i]);
            length += pieces[i].length;
        }
        encoded = new bytes(length);
        uint256 at = 0;
        for (uint256 i = 0; i < pieces.length; ++i) {
            for (uint256 j = 0; j < pieces[i].length; ++j) encoded[at++] = pieces[i][j];
        }
    }

    function encode(Row memory row) internal pure returns (bytes memory encoded) {
        bool granted = row.key != row.payer;
        encoded = abi.encodePacked(row.payer, row.thawSeconds, row.salt, _money(row.from), row.ceiling, row.usageHead);
        encoded = abi.encodePacked(encoded, row.r, row.vs, uint8(row.parts.length + (granted ? 128 : 0)));
        if (granted) encoded = abi.encodePacked(encoded, row.key);
        for (uint256 i = 0; i < row.parts.length; ++i) encoded = abi.encodePacked(encoded, _money(row.parts[i].amount), row.parts[i].lane);
    }

    /// What has no place in a row must fail here, not become another amount.
    function _money(uint128 amount) private pure returns (uint80) {
        require(amount <= type(uint80).max, "no row has room for this");
        return uint80(amount);
    }
}
