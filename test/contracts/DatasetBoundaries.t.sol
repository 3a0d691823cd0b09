// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IDatasetRegistry} from "../../contracts/interfaces/IDatasetRegistry.sol";
import {Messages} from "../../contracts/libraries/Messages.sol";
import {ConsentTest} from "./support/ConsentTest.sol";

/// Terms, ends and tables at their last unit, and what one narrowing leaves of the one before.
contract DatasetBoundariesTest is ConsentTest {
    // Terms

    function test_StoreTerms_TakesEveryFieldAtItsBound() public {
        IDatasetRegistry.Terms memory terms = _terms();
        (terms.validFrom, terms.validUntil) = (START, START + 1);
        terms.flags = 6;
        terms.noticeSeconds = 30 days;
        terms.royaltyPpm = 500_000;
        terms.withdrawal = IDatasetRegistry.WithdrawalPolicy.Sunset;
        terms.sunsetSeconds = 3650 days;
        terms.retrainSeconds = 3650 days;
        (terms.purposes, terms.prohibitions) = (3, 2);
        terms.jurisdictions = 1;
        IDatasetRegistry.Terms memory stored = datasets.terms(datasets.storeTerms(terms));
        vm.assertEq(keccak256(abi.encode(stored)), keccak256(abi.encode(terms)));
        (terms.flags, terms.noticeSeconds) = (7, 0);
        datasets.storeTerms(terms);
    }

    function test_StoreTerms_RevertWhen_AFieldIsAUnitBeyond() public {
        IDatasetRegistry.Terms memory terms = _terms();
        terms.validUntil = terms.validFrom;
        _expectRefused(terms, "validUntil");
        terms = _terms();
        terms.flags = 8 | 2;
        _expectRefused(terms, "flags");
        terms = _terms();
        terms.noticeSeconds = 30 days + 1;
        _expectRefused(terms, "noticeSeconds");
        terms = _terms();
        (terms.flags, terms.noticeSeconds) = (1, 1);
        _expectRefused(terms, "noticeSeconds");
        terms = _terms();
        terms.royaltyPpm = 500_001;
        _expectRefused(terms, "royaltyPpm");
        terms = _terms();
        terms.withdrawal = IDatasetRegistry.WithdrawalPolicy.Sunset;
        _expectRefused(terms, "sunsetSeconds");
        terms.sunsetSeconds = 3650 days + 1;
        _expectRefused(terms, "sunsetSeconds");
        terms = _terms();
        terms.sunsetSeconds = 1;
        _expectRefused(terms, "sunsetSeconds");
        terms = _terms();
        terms.retrainSeconds = 3650 days + 1;
        _expectRefused(terms, "retrainSeconds");
        terms = _terms();
        (terms.purposes, terms.prohibitions) = (5, 7);
        _expectRefused(terms, "purposes");
        terms = _terms();
        terms.jurisdictions = 0;
        _expectRefused(terms, "jurisdictions");
    }

    function test_StoreTerms_AgainDoesNothing() public {
        bytes32 termsHash = datasets.storeTerms(_terms());
        vm.recordLogs();
        vm.assertEq(datasets.storeTerms(_terms()), termsHash);
        vm.assertEq(vm.getRecordedLogs().length, 0);
    }

    // Register

    function test_Register_WorksUntilTheLastSecondOfTheTerms() public {
        IDatasetRegistry.Registration memory last = _registration(_terms(), false);
        IDatasetRegistry.Registration memory late = _registration(_terms(), false);
        vm.warp(UNTIL - 1);
        vm.prank(owner);
        bytes32 id = datasets.register(last);
        vm.assertEq(datasets.dataset(id).registeredAt, UNTIL - 1);
        vm.assertTrue(datasets.permitsTraining(id));
        vm.warp(UNTIL);
        vm.assertFalse(datasets.permitsTraining(id));
        bytes32 lateId = datasets.datasetIdOf(owner, late.commitment, late.salt);
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetEnded.selector, lateId, UNTIL));
        vm.prank(owner);
        datasets.register(late);
    }

    function test_PermitsTraining_FromTheFirstSecondOfTheTermsToTheLast() public {
        IDatasetRegistry.Terms memory terms = _terms();
        terms.validFrom = START + 10;
        bytes32 id = _register(terms, false);
        vm.warp(START + 9);
        vm.assertFalse(datasets.permitsTraining(id));
        vm.warp(START + 10);
        vm.assertTrue(datasets.permitsTraining(id));
        vm.warp(UNTIL - 1);
        vm.assertTrue(datasets.permitsTraining(id));
        vm.warp(UNTIL);
        vm.assertFalse(datasets.permitsTraining(id));
    }

    function test_BySig_WorksInTheLastSecondOfTheDeadline() public {
        IDatasetRegistry.Registration memory registration = _registration(_terms(), false);
        bytes memory signed = _signed(this.registrationHash(registration, START + 5));
        vm.warp(START + 5);
        bytes32 id = datasets.registerBySig(registration, START + 5, signed);
        vm.assertEq(datasets.ownerOf(id), owner);
        IDatasetRegistry.Narrowing memory narrowing = IDatasetRegistry.Narrowing(1, 0, 0);
        datasets.narrowBySig(id, narrowing, START + 5, _signed(this.narrowingHash(id, narrowing, START + 5)));
        vm.assertEq(datasets.dataset(id).purposes, 0xfe);
    }

    // Narrow

    function test_Narrow_AddsToWhatWasNarrowedBefore() public {
        bytes32 id = _single();
        _narrow(id, 1, 1, 0);
        _narrow(id, 2, 2, 0);
        vm.assertEq(datasets.dataset(id).purposes, 0xfc);
        vm.assertEq(datasets.dataset(id).jurisdictions, type(uint256).max - 3);
        _narrow(id, 3 | 4, 3 | 4, 0);
        vm.assertEq(datasets.dataset(id).purposes, 0xf8);
        vm.assertEq(datasets.dataset(id).jurisdictions, type(uint256).max - 7);
    }

    /// The first narrowing of a purpose sets its end; asking again does not move it.
    function test_Narrow_AgainKeepsTheEndOfTheFirst() public {
        IDatasetRegistry.Terms memory terms = _terms();
        terms.noticeSeconds = 5 days;
        bytes32 id = _register(terms, false);
        _narrow(id, 1, 0, 0);
        uint40 end = START + 5 days;
        vm.assertEq(datasets.serveEnd(id, 0, START), end);
        vm.warp(START + 1 days);
        _narrow(id, 3, 0, 0);
        vm.assertEq(datasets.serveEnd(id, 0, START), end);
        vm.assertEq(datasets.serveEnd(id, 1, START), end + 1 days);
        vm.assertEq(datasets.serveEnd(id, 2, START), UNTIL);
    }

    function test_Narrow_MovesTheEndOnlyForwards() public {
        bytes32 id = _single();
        _narrow(id, 0, 0, START + 10);
        vm.assertEq(datasets.trainEnd(id), START + 10);
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetNothingNarrowed.selector, id));
        _narrow(id, 0, 0, START + 11);
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetNothingNarrowed.selector, id));
        _narrow(id, 0, 0, START + 10);
        _narrow(id, 1, 0, START + 11);
        vm.assertEq(datasets.trainEnd(id), START + 10);
        vm.warp(START + 9);
        _narrow(id, 2, 0, 0);
        vm.warp(START + 10);
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetEnded.selector, id, START + 10));
        _narrow(id, 4, 0, 0);
    }

    function test_Narrow_ToFewerPlacesAlone() public {
        bytes32 id = _single();
        _narrow(id, 0, 4, 0);
        vm.assertEq(datasets.dataset(id).jurisdictions, type(uint256).max - 4);
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetNothingNarrowed.selector, id));
        _narrow(id, 0, 4, 0);
    }

    function test_Narrow_ToThePastEndsNow() public {
        bytes32 id = _single();
        _narrow(id, 0, 0, 1);
        vm.assertEq(datasets.trainEnd(id), START);
    }

    // Withdraw

    /// Notice is for what was promised: it never makes a consent last longer than it would have.
    function test_Withdraw_NeverEndsLaterThanTheTermsOrANarrowing() public {
        IDatasetRegistry.Terms memory terms = _terms();
        terms.noticeSeconds = 5 days;
        bytes32 byTerms = _register(terms, false);
        bytes32 byNarrowing = _register(terms, false);
        _narrow(byNarrowing, 0, 0, START + 6 days);
        vm.warp(START + 2 days);
        _withdraw(byNarrowing);
        vm.assertEq(datasets.trainEnd(byNarrowing), START + 6 days);
        vm.warp(UNTIL - 1 days);
        _withdraw(byTerms);
        vm.assertEq(datasets.trainEnd(byTerms), UNTIL);
    }

    function test_Withdraw_AfterTheEndMovesNothing() public {
        bytes32 id = _single();
        vm.warp(UNTIL + 1 days);
        _withdraw(id);
        vm.assertEq(datasets.trainEnd(id), UNTIL);
        vm.assertFalse(datasets.permitsTraining(id));
    }

    function test_ServeEnds_AreThoseOfEachPurpose() public {
        bytes32 id = _single();
        _narrow(id, 2, 0, 0);
        uint40[] memory ends = datasets.serveEnds(id, type(uint32).max, START);
        vm.assertEq(ends.length, 32);
        for (uint8 purpose = 0; purpose < 32; ++purpose) vm.assertEq(ends[purpose], datasets.serveEnd(id, purpose, START));
        vm.assertEq(ends[0], UNTIL);
        vm.assertEq(ends[1], START);
        vm.assertEq(ends[7], UNTIL);
        vm.assertEq(ends[8], 0);
        vm.assertEq(datasets.serveEnds(id, 1, START)[7], 0);
        vm.assertEq(datasets.serveEnd(id, 32, START), 0);
    }

    /// Times have 40 bits: a sunset beyond them is never, not soon.
    function test_ServeEnd_OfASunsetAtTheEndOfTime() public {
        IDatasetRegistry.Terms memory terms = _with(IDatasetRegistry.WithdrawalPolicy.Sunset);
        terms.validUntil = NEVER - 1 - 5 days;
        vm.assertEq(datasets.serveEnd(_register(terms, false), 0, START), NEVER - 1);
        terms.validUntil = NEVER - 5 days;
        vm.assertEq(datasets.serveEnd(_register(terms, false), 0, START), NEVER);
        terms.validUntil = NEVER - 1;
        vm.assertEq(datasets.serveEnd(_register(terms, false), 0, START), NEVER);
    }

    function test_ServeEnd_OfTheThirtySecondPurpose() public {
        IDatasetRegistry.Terms memory terms = _terms();
        terms.purposes = 1 << 31;
        bytes32 id = _register(terms, false);
        vm.assertEq(datasets.serveEnd(id, 31, START), UNTIL);
        vm.assertEq(datasets.serveEnds(id, 1 << 31, START)[31], UNTIL);
        vm.assertEq(datasets.serveEnd(id, 30, START), 0);
        _narrow(id, 1 << 31, 0, 0);
        vm.assertEq(datasets.serveEnd(id, 31, START), START);
    }

    // Pools

    function test_AnnounceShareTable_NeedsTheDigestOfItsData() public {
        bytes32 id = _register(_terms(), true);
        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetTableInvalid.selector, bytes32("root"), uint128(1)));
        datasets.announceShareTable(id, IDatasetRegistry.ShareTable("root", 1, _epoch() + 1, bytes32(0)));
    }

    function test_AnnounceShareTable_MayLeadByAThousandEpochs() public {
        bytes32 id = _register(_terms(), true);
        _announce(id, "first", type(uint128).max, _epoch() + 1);
        _announce(id, "second", 5, _epoch() + 1000);
        vm.assertEq(datasets.shareTables(id), 2);
        vm.assertEq(_root(id, _epoch()), 0);
        vm.assertEq(_root(id, _epoch() + 1), "first");
        vm.assertEq(_totalShares(id, _epoch() + 999), type(uint128).max);
        vm.assertEq(_root(id, _epoch() + 1000), "second");
        vm.assertEq(_totalShares(id, _epoch() + 1000), 5);
    }

    function test_AnnounceShareTableBySig_WorksInTheLastSecondOfTheDeadline() public {
        bytes32 id = _register(_terms(), true);
        IDatasetRegistry.ShareTable memory table = IDatasetRegistry.ShareTable("root", 1, _epoch() + 1, "digest");
        bytes memory signed = _signed(this.announcementHash(id, table, START + 5));
        vm.warp(START + 5);
        datasets.announceShareTableBySig(id, table, START + 5, signed);
        vm.assertEq(datasets.shareTables(id), 1);
    }

    function test_AnnounceShareTable_MayBeForTheNextEpochUntilItBegins() public {
        bytes32 id = _register(_terms(), true);
        uint64 next = _epoch() + 1;
        vm.warp(uint256(next) * EPOCH - 1);
        _announce(id, "root", 1, next);
        vm.warp(uint256(next) * EPOCH);
        vm.assertEq(_root(id, next), "root");
    }

    function test_ProveExit_RevertWhen_ThereIsNoSuchPool() public {
        bytes32 single = _single();
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetNotPool.selector, single));
        datasets.proveExit(single, owner, 0, 5, new bytes32[](0));
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetUnknown.selector, bytes32("none")));
        datasets.proveExit("none", owner, 0, 5, new bytes32[](0));
    }

    function test_PermitsTraining_OfAPoolOnceATableIsInForce() public {
        bytes32 id = _register(_terms(), true);
        vm.assertFalse(datasets.permitsTraining(id));
        _announce(id, "root", 1, _epoch() + 1);
        vm.assertFalse(datasets.permitsTraining(id));
        _nextEpoch();
        vm.assertTrue(datasets.permitsTraining(id));
    }

    function test_ServeEnd_OfAPoolThatKeepsWhatIsTrainedIsNeverUntilSomebodyLeaves() public {
        address account = vm.addr(0xACC);
        bytes32 id = _register(_with(IDatasetRegistry.WithdrawalPolicy.KeepTrained), true);
        _announce(id, _leaf(account, 5), 5, _epoch() + 1);
        vm.assertEq(datasets.serveEnd(id, 0, START), NEVER);
        vm.assertEq(datasets.serveEnds(id, 1, START)[0], NEVER);
        vm.warp(START + 1);
        vm.prank(account);
        datasets.withdrawFromPool(id);
        vm.assertTrue(datasets.proveExit(id, account, 0, 5, new bytes32[](0)));
        vm.assertEq(datasets.serveEnd(id, 0, START), START + 1 + 10 days);
        vm.assertEq(datasets.serveEnd(id, 0, START + 1), NEVER);
    }

    /// An exit counts for what was registered up to that second, not for what came after.
    function test_ProveExit_ReachesWhatWasRegisteredBeforeIt() public {
        address account = vm.addr(0xACC);
        bytes32 id = _register(_terms(), true);
        _announce(id, _leaf(account, 5), 5, _epoch() + 1);
        vm.assertFalse(datasets.proveExit(id, account, 0, 5, new bytes32[](0)));
        vm.prank(account);
        datasets.withdrawFromPool(id);
        vm.assertFalse(datasets.proveExit(id, account, 1, 5, new bytes32[](0)));
        vm.assertFalse(datasets.proveExit(id, account, 0, 4, new bytes32[](0)));
        vm.assertTrue(datasets.proveExit(id, account, 0, 5, new bytes32[](0)));
        vm.assertEq(datasets.serveEnd(id, 0, START - 1), START + 10 days);
        vm.assertEq(datasets.serveEnd(id, 0, START), UNTIL);
        vm.assertEq(datasets.serveEnd(id, 0, START + 1), UNTIL);
        vm.warp(START + 5);
        vm.assertTrue(datasets.proveExit(id, account, 0, 5, new bytes32[](0)));
        vm.assertEq(datasets.serveEnd(id, 0, START + 1), UNTIL);
        vm.assertEq(datasets.serveEnd(_single(), 0, START - 1), UNTIL);
    }

    /// The library takes calldata.
    function registrationHash(IDatasetRegistry.Registration calldata registration, uint256 deadline) external pure returns (bytes32) {
        return Messages.hashRegisterDataset(registration, deadline);
    }

    function announcementHash(bytes32 id, IDatasetRegistry.ShareTable calldata table, uint256 deadline) external pure returns (bytes32) {
        return Messages.hashAnnounceShareTable(id, table, deadline);
    }

    function narrowingHash(bytes32 id, IDatasetRegistry.Narrowing calldata narrowing, uint256 deadline) external pure returns (bytes32) {
        return Messages.hashNarrowDataset(id, narrowing, deadline);
    }

    function _expectRefused(IDatasetRegistry.Terms memory terms, string memory field) private {
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetTermsInvalid.selector, field));
        datasets.storeTerms(terms);
    }

    function _signed(bytes32 structHash) private view returns (bytes memory) {
        return _sign(OWNER_KEY, _digest("DatasetRegistry", address(datasets), structHash));
    }
}
