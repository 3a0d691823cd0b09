// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

/// @title Stand-in until the true ledger is merged: takes the income and tells the epoch.
contract RoyaltyLedger {
    address public immutable ESCROW;
    mapping(bytes32 modelId => mapping(uint64 epoch => uint128 amount)) public income;

    error RoyaltyNotEscrow(address actual);

    event IncomeCredited(bytes32 indexed modelId, uint64 indexed epoch, uint128 amount);

    constructor(address, address) {
        ESCROW = msg.sender;
    }

    function creditIncome(bytes32 modelId, uint64 epoch, uint128 amount) external {
        require(msg.sender == ESCROW, RoyaltyNotEscrow(msg.sender));
        income[modelId][epoch] += amount;
        emit IncomeCredited(modelId, epoch, amount);
    }

    function currentEpoch() external view returns (uint64) {
        return uint64(block.timestamp / 60);
    }
}
