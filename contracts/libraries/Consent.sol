// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IDatasetRegistry} from "../interfaces/IDatasetRegistry.sol";

/// @title The rules of consent that need no storage; services/core/consent.ts has the same.
library Consent {
    uint32 internal constant FLAG_PERSONAL = 1;
    uint32 internal constant FLAG_DERIVATIVES = 2;
    uint32 internal constant FLAG_ATTRIBUTION = 4;
    uint32 internal constant KNOWN_FLAGS = FLAG_PERSONAL | FLAG_DERIVATIVES | FLAG_ATTRIBUTION;

    uint32 internal constant MAX_NOTICE_SECONDS = 30 days;
    uint32 internal constant MAX_SUNSET_SECONDS = 3650 days;
    uint32 internal constant MAX_RETRAIN_SECONDS = 3650 days;
    uint32 internal constant MAX_ROYALTY_PPM = 500_000;
    uint8 internal constant PURPOSES = 32;
    uint40 internal constant NEVER = type(uint40).max;

    /// Terms that could not be kept or read in one way only are refused by name of their first bad field.
    function check(IDatasetRegistry.Terms calldata terms) internal pure {
        require(terms.validFrom < terms.validUntil, IDatasetRegistry.DatasetTermsInvalid("validUntil"));
        require(offered(terms.purposes, terms.prohibitions) != 0, IDatasetRegistry.DatasetTermsInvalid("purposes"));
        require(terms.flags & ~KNOWN_FLAGS == 0, IDatasetRegistry.DatasetTermsInvalid("flags"));
        uint32 noticeLimit = terms.flags & FLAG_PERSONAL != 0 ? 0 : MAX_NOTICE_SECONDS;
        require(terms.noticeSeconds <= noticeLimit, IDatasetRegistry.DatasetTermsInvalid("noticeSeconds"));
        require(terms.royaltyPpm <= MAX_ROYALTY_PPM, IDatasetRegistry.DatasetTermsInvalid("royaltyPpm"));
        bool sunsets = terms.withdrawal == IDatasetRegistry.WithdrawalPolicy.Sunset;
        require(sunsets == (terms.sunsetSeconds != 0), IDatasetRegistry.DatasetTermsInvalid("sunsetSeconds"));
        require(terms.sunsetSeconds <= MAX_SUNSET_SECONDS, IDatasetRegistry.DatasetTermsInvalid("sunsetSeconds"));
        require(terms.retrainSeconds <= MAX_RETRAIN_SECONDS, IDatasetRegistry.DatasetTermsInvalid("retrainSeconds"));
        require(terms.jurisdictions != 0, IDatasetRegistry.DatasetTermsInvalid("jurisdictions"));
    }

    /// A prohibition beats a permission.
    function offered(uint32 purposes, uint32 prohibitions) internal pure returns (uint32) {
        return purposes & ~prohibitions;
    }

    /// When models already trained stop, if consent ends at `end`.
    function afterEnd(uint40 end, IDatasetRegistry.WithdrawalPolicy policy, uint32 sunsetSeconds) internal pure returns (uint40) {
        if (policy == IDatasetRegistry.WithdrawalPolicy.KeepTrained) return NEVER;
        return policy == IDatasetRegistry.WithdrawalPolicy.Sunset ? plus(end, sunsetSeconds) : end;
    }

    /// `at + period`, at most NEVER: a far end must not make a withdrawal overflow.
    function plus(uint40 at, uint32 period) internal pure returns (uint40) {
        uint256 sum = uint256(at) + period;
        // The cast is exact: the sum is below NEVER.
        return sum < NEVER ? uint40(sum) : NEVER;
    }

    function has(uint32 mask, uint8 purpose) internal pure returns (bool) {
        return purpose < PURPOSES && (mask >> purpose) & 1 == 1;
    }

    function earlier(uint40 a, uint40 b) internal pure returns (uint40) {
        return a < b ? a : b;
    }
}
