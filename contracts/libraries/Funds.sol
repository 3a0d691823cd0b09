// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

/// An account's money in one word: what came in less withdrawals (low 80 bits), what was charged, and what of that the payer's own key spent.
/// One word, so that a row by the payer's own key reads and writes a single slot once.
type Funds is uint256;

using {deposited, charged, ownSpent, uncharged, put, take, charge, chargeOwn} for Funds global;

uint256 constant FIELD = type(uint80).max;
// One unit charged and spent by the payer's own key.
uint256 constant OWN = (1 << 80) | (1 << 160);

function deposited(Funds funds) pure returns (uint256) {
    return Funds.unwrap(funds) & FIELD;
}

function charged(Funds funds) pure returns (uint256) {
    return (Funds.unwrap(funds) >> 80) & FIELD;
}

function ownSpent(Funds funds) pure returns (uint256) {
    return Funds.unwrap(funds) >> 160;
}

function uncharged(Funds funds) pure returns (uint256) {
    // Never below zero: `charge` takes what is uncharged at most, and so does `take`.
    unchecked {
        return (Funds.unwrap(funds) & FIELD) - ((Funds.unwrap(funds) >> 80) & FIELD);
    }
}

/// @dev Warning: `amount` must fit what the deposit's 80 bits have left.
function put(Funds funds, uint256 amount) pure returns (Funds) {
    return Funds.wrap(Funds.unwrap(funds) + amount);
}

/// @dev Warning: `amount` must not exceed `uncharged`.
function take(Funds funds, uint256 amount) pure returns (Funds) {
    return Funds.wrap(Funds.unwrap(funds) - amount);
}

/// By a granted key.
/// @dev Warning: `amount` must not exceed `uncharged`; then no field leaves its 80 bits, as ownSpent <= charged <= deposited.
function charge(Funds funds, uint256 amount) pure returns (Funds) {
    unchecked {
        return Funds.wrap(Funds.unwrap(funds) + (amount << 80));
    }
}

/// By the payer's own key.
/// @dev Warning: as `charge`.
function chargeOwn(Funds funds, uint256 amount) pure returns (Funds) {
    unchecked {
        return Funds.wrap(Funds.unwrap(funds) + amount * OWN);
    }
}
