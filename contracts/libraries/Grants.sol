// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

/// What a payer has granted a key, in one word: cap (low 80 bits), what the key has spent, when acceptance ends, the last grant's nonce, and
/// whether it was revoked. One word, so that a row by a granted key reads and writes its slot once.
type Grant is uint256;

using {cap, spent, notAfter, nonce, isRevoked, widen, revoke, spend} for Grant global;

uint256 constant MONEY = type(uint80).max;
uint256 constant REVOKED = 1 << 232;

function cap(Grant grant) pure returns (uint256) {
    return Grant.unwrap(grant) & MONEY;
}

function spent(Grant grant) pure returns (uint256) {
    return (Grant.unwrap(grant) >> 80) & MONEY;
}

/// 0 = never granted. Once revoked, when acceptance ended.
function notAfter(Grant grant) pure returns (uint40) {
    return uint40(Grant.unwrap(grant) >> 160);
}

function nonce(Grant grant) pure returns (uint32) {
    return uint32(Grant.unwrap(grant) >> 200);
}

function isRevoked(Grant grant) pure returns (bool) {
    return Grant.unwrap(grant) & REVOKED != 0;
}

/// @dev Warning: `newCap` must fit 80 bits.
function widen(Grant grant, uint256 newCap, uint40 newNotAfter, uint32 newNonce) pure returns (Grant) {
    return Grant.wrap(newCap | (spent(grant) << 80) | (uint256(newNotAfter) << 160) | (uint256(newNonce) << 200));
}

function revoke(Grant grant, uint40 endedAt) pure returns (Grant) {
    return Grant.wrap(cap(grant) | (spent(grant) << 80) | (uint256(endedAt) << 160) | (uint256(nonce(grant)) << 200) | REVOKED);
}

/// @dev Warning: `amount` must not exceed what the cap leaves; then the field keeps its 80 bits.
function spend(Grant grant, uint256 amount) pure returns (Grant) {
    unchecked {
        return Grant.wrap(Grant.unwrap(grant) + (amount << 80));
    }
}
