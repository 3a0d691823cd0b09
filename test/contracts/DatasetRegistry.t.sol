// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {DatasetRegistry} from "../../contracts/DatasetRegistry.sol";
import {IDatasetRegistry} from "../../contracts/interfaces/IDatasetRegistry.sol";
import {ConsentTest, Wallet} from "./support/ConsentTest.sol";

contract DatasetRegistryTest is ConsentTest {
    address private stranger = vm.addr(0x5774);

    // ---------------------------------------------------------------- terms

    function test_StoreTerms_GivesTheHashOfTheTermsAndIsIdempotent() public {
        IDatasetRegistry.Terms memory terms = _terms();
        bytes32 hash = datasets.storeTerms(terms);
        vm.assertEq(hash, keccak256(abi.encode(terms)));
        vm.prank(stranger);
        vm.assertEq(datasets.storeTerms(terms), hash);
        vm.assertEq(keccak256(abi.encode(datasets.terms(hash))), hash);
    }

    function test_StoreTerms_RevertWhen_AFieldIsInvalid() public {
        IDatasetRegistry.Terms memory terms = _terms();
        terms.validFrom = terms.validUntil;
        _refuseTerms(terms, "validUntil");
        terms = _terms();
        terms.prohibitions = terms.purposes;
        _refuseTerms(terms, "purposes");
        terms = _terms();
        terms.flags = 8;
        _refuseTerms(terms, "flags");
        terms = _terms();
        terms.noticeSeconds = 30 days + 1;
        _refuseTerms(terms, "noticeSeconds");
        terms = _terms();
        terms.flags = 1;
        terms.noticeSeconds = 1;
        _refuseTerms(terms, "noticeSeconds");
        terms = _terms();
        terms.royaltyPpm = 500_001;
        _refuseTerms(terms, "royaltyPpm");
        terms = _terms();
        terms.sunsetSeconds = 1;
        _refuseTerms(terms, "sunsetSeconds");
        terms = _with(IDatasetRegistry.WithdrawalPolicy.Sunset);
        terms.sunsetSeconds = 0;
        _refuseTerms(terms, "sunsetSeconds");
        terms.sunsetSeconds = 3650 days + 1;
        _refuseTerms(terms, "sunsetSeconds");
        terms = _terms();
        terms.retrainSeconds = 3650 days + 1;
        _refuseTerms(terms, "retrainSeconds");
        terms = _terms();
        terms.jurisdictions = 0;
        _refuseTerms(terms, "jurisdictions");
    }

    function _refuseTerms(IDatasetRegistry.Terms memory terms, string memory field) private {
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetTermsInvalid.selector, field));
        datasets.storeTerms(terms);
    }

    function test_Constructor_RevertWhen_EpochIsZero() public {
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetEpochInvalid.selector, uint40(0)));
        new DatasetRegistry(0);
    }

    // ---------------------------------------------------------------- register

    function test_Register_StoresWhatWasSaid() public {
        IDatasetRegistry.Terms memory terms = _terms();
        terms.prohibitions = 0x0f;
        IDatasetRegistry.Registration memory registration = _registration(terms, false);
        bytes32 id = keccak256(abi.encode(owner, registration.commitment, registration.salt));
        vm.expectEmit();
        emit IDatasetRegistry.DatasetRegistered(id, owner, registration.termsHash, registration.commitment, SALT, false, recovery);
        vm.prank(owner);
        vm.assertEq(datasets.register(registration), id);

        IDatasetRegistry.Dataset memory dataset = datasets.dataset(id);
        vm.assertEq(dataset.owner, owner);
        vm.assertEq(dataset.recovery, recovery);
        vm.assertEq(dataset.registeredAt, START);
        vm.assertEq(dataset.endsAt, UNTIL);
        vm.assertEq(dataset.purposes, 0xf0);
        vm.assertEq(dataset.jurisdictions, type(uint256).max);
        vm.assertFalse(dataset.withdrawn);
        vm.assertTrue(datasets.permitsTraining(id));
        vm.assertEq(datasets.serveEnd(id, 3, START), 0);
        vm.assertEq(datasets.serveEnd(id, 4, START), UNTIL);
        vm.assertEq(datasets.serveEnd(id, 40, START), 0);
    }

    function test_Register_RevertWhen_NotTheOwner() public {
        IDatasetRegistry.Registration memory registration = _registration(_terms(), false);
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetNotOwner.selector, stranger, owner));
        vm.prank(stranger);
        datasets.register(registration);
    }

    function test_Register_RevertWhen_TermsUnknownOrEndedOrTaken() public {
        IDatasetRegistry.Registration memory registration = _registration(_terms(), false);
        bytes32 termsHash = registration.termsHash;
        registration.termsHash = "none";
        vm.startPrank(owner);
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetTermsUnknown.selector, bytes32("none")));
        datasets.register(registration);
        registration.termsHash = termsHash;
        bytes32 id = datasets.register(registration);
        datasets.withdraw(id);
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetExists.selector, id));
        datasets.register(registration);
        vm.warp(UNTIL);
        registration.salt = "other";
        id = datasets.datasetIdOf(owner, registration.commitment, "other");
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetEnded.selector, id, UNTIL));
        datasets.register(registration);
    }

    function test_RegisterBySig_ByAnyRelayerUntilTheDeadline() public {
        IDatasetRegistry.Registration memory registration = _registration(_terms(), true);
        bytes memory signature = _sign(OWNER_KEY, _registerDigest(registration, START));
        vm.prank(stranger);
        bytes32 id = datasets.registerBySig(registration, START, signature);
        vm.assertEq(datasets.ownerOf(id), owner);
        vm.assertTrue(datasets.isPool(id));

        vm.warp(START + 1);
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetSignatureExpired.selector, uint256(START + 1), uint256(START)));
        datasets.registerBySig(registration, START, signature);
    }

    function testFuzz_RegisterBySig_RevertWhen_AnyFieldDiffersFromWhatWasSigned(uint8 field, bytes32 other) public {
        IDatasetRegistry.Registration memory registration = _registration(_terms(), false);
        uint256 deadline = START + 1 days;
        bytes memory signature = _sign(OWNER_KEY, _registerDigest(registration, deadline));
        field = uint8(_bound(field, 0, 5));
        if (field == 0) registration.commitment ^= other | bytes32(uint256(1));
        else if (field == 1) registration.termsHash ^= other | bytes32(uint256(1));
        else if (field == 2) registration.salt ^= other | bytes32(uint256(1));
        else if (field == 3) registration.isPool = true;
        else if (field == 4) registration.recovery = stranger;
        else deadline += 1 + uint256(other) % 1 days;
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetSignatureInvalid.selector, owner));
        datasets.registerBySig(registration, deadline, signature);
    }

    function test_RegisterBySig_AcceptsAContractWallet() public {
        Wallet wallet = new Wallet(owner);
        IDatasetRegistry.Registration memory registration = _registration(_terms(), false);
        registration.owner = address(wallet);
        bytes memory signature = _sign(OWNER_KEY, _registerDigest(registration, START));
        vm.assertEq(datasets.ownerOf(datasets.registerBySig(registration, START, signature)), address(wallet));
        signature = _sign(RECOVERY_KEY, _registerDigest(registration, START));
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetSignatureInvalid.selector, address(wallet)));
        datasets.registerBySig(registration, START, signature);
    }

    function test_RegisterBySig_RevertWhen_OwnerIsZero() public {
        IDatasetRegistry.Registration memory registration = _registration(_terms(), false);
        registration.owner = address(0);
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetSignatureInvalid.selector, address(0)));
        datasets.registerBySig(registration, START, new bytes(65));
    }

    // ---------------------------------------------------------------- narrow

    function test_Narrow_RemovesPurposesAtOnceForNewModelsAndAfterNoticeForOld() public {
        IDatasetRegistry.Terms memory terms = _terms();
        terms.noticeSeconds = 2 days;
        bytes32 id = _register(terms, false);
        _narrow(id, 0x103, 1, 0);
        vm.assertEq(datasets.dataset(id).purposes, 0xfc);
        vm.assertEq(datasets.dataset(id).jurisdictions, type(uint256).max - 1);
        vm.assertEq(datasets.serveEnd(id, 0, START), START + 2 days);
        vm.assertEq(datasets.serveEnd(id, 1, START), START + 2 days);
        vm.assertEq(datasets.serveEnd(id, 2, START), UNTIL);
        vm.assertEq(datasets.trainEnd(id), UNTIL);
    }

    function test_Narrow_TakesAnEndSoonerThanTheNoticeAsNowPlusNotice() public {
        IDatasetRegistry.Terms memory terms = _terms();
        terms.noticeSeconds = 2 days;
        bytes32 id = _register(terms, false);
        _narrow(id, 0, 0, START - 1 days);
        vm.assertEq(datasets.trainEnd(id), START + 2 days);
    }

    function test_Narrow_AppliesThePolicyToARemovedPurpose() public {
        bytes32 sunset = _register(_with(IDatasetRegistry.WithdrawalPolicy.Sunset), false);
        bytes32 kept = _register(_with(IDatasetRegistry.WithdrawalPolicy.KeepTrained), false);
        _narrow(sunset, 1, 0, 0);
        _narrow(kept, 1, 0, START + 1);
        vm.assertEq(datasets.serveEnd(sunset, 0, START), START + 5 days);
        vm.assertEq(datasets.serveEnd(sunset, 1, START), UNTIL + 5 days);
        vm.assertEq(datasets.serveEnd(kept, 0, START), NEVER);
        vm.assertEq(datasets.trainEnd(kept), START + 1);
    }

    function test_Narrow_RevertWhen_NothingIsLost() public {
        bytes32 id = _single();
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetNothingNarrowed.selector, id));
        _narrow(id, 0xff00, 0, UNTIL);
        _narrow(id, 1, 1, UNTIL - 1);
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetNothingNarrowed.selector, id));
        _narrow(id, 1, 1, UNTIL - 1);
    }

    function test_Narrow_RevertWhen_EndedOrUnknownOrNotTheOwner() public {
        bytes32 id = _single();
        IDatasetRegistry.Narrowing memory narrowing = IDatasetRegistry.Narrowing(1, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetNotOwner.selector, recovery, owner));
        vm.prank(recovery);
        datasets.narrow(id, narrowing);
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetUnknown.selector, bytes32("none")));
        datasets.narrow("none", narrowing);
        _withdraw(id);
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetEnded.selector, id, START));
        vm.prank(owner);
        datasets.narrow(id, narrowing);
    }

    function test_NarrowBySig_BindsEveryFieldAndExpires() public {
        bytes32 id = _single();
        IDatasetRegistry.Narrowing memory narrowing = IDatasetRegistry.Narrowing(1, 2, UNTIL - 1);
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256("NarrowDataset(bytes32 datasetId,uint32 removePurposes,uint256 removeJurisdictions,uint40 endsAt,uint256 deadline)"),
                id,
                narrowing.removePurposes,
                narrowing.removeJurisdictions,
                narrowing.endsAt,
                uint256(START)
            )
        );
        bytes memory signature = _sign(OWNER_KEY, _digest("DatasetRegistry", address(datasets), structHash));
        narrowing.removePurposes = 3;
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetSignatureInvalid.selector, owner));
        datasets.narrowBySig(id, narrowing, START, signature);
        narrowing.removePurposes = 1;
        datasets.narrowBySig(id, narrowing, START, signature);
        vm.assertEq(datasets.dataset(id).purposes, 0xfe);
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetNothingNarrowed.selector, id));
        datasets.narrowBySig(id, narrowing, START, signature);
        vm.warp(START + 1);
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetSignatureExpired.selector, uint256(START + 1), uint256(START)));
        datasets.narrowBySig(id, narrowing, START, signature);
    }

    // ---------------------------------------------------------------- withdraw

    function test_Withdraw_EndsAfterNoticeAndARepeatChangesNothing() public {
        IDatasetRegistry.Terms memory terms = _terms();
        terms.noticeSeconds = 3 days;
        bytes32 id = _register(terms, false);
        vm.expectEmit();
        emit IDatasetRegistry.DatasetWithdrawn(id, owner, START + 3 days);
        _withdraw(id);
        vm.assertTrue(datasets.permitsTraining(id));
        vm.warp(START + 3 days);
        vm.assertFalse(datasets.permitsTraining(id));
        vm.recordLogs();
        _withdraw(id);
        vm.prank(recovery);
        datasets.withdraw(id);
        vm.assertEq(vm.getRecordedLogs().length, 0);
        vm.assertEq(datasets.trainEnd(id), START + 3 days);
        vm.assertTrue(datasets.dataset(id).withdrawn);
        vm.assertEq(datasets.ownerOf(id), owner);
    }

    function test_Withdraw_PolicyDecidesHowLongTrainedModelsServe() public {
        bytes32 stop = _single();
        bytes32 sunset = _register(_with(IDatasetRegistry.WithdrawalPolicy.Sunset), false);
        bytes32 kept = _register(_with(IDatasetRegistry.WithdrawalPolicy.KeepTrained), false);
        _withdraw(stop);
        _withdraw(sunset);
        _withdraw(kept);
        vm.assertEq(datasets.serveEnd(stop, 0, START), START);
        vm.assertEq(datasets.serveEnd(sunset, 0, START), START + 5 days);
        vm.assertEq(datasets.serveEnd(kept, 0, START), NEVER);
    }

    function test_Withdraw_RevertWhen_NeitherOwnerNorRecovery() public {
        bytes32 id = _single();
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetNotOwner.selector, stranger, owner));
        vm.prank(stranger);
        datasets.withdraw(id);
        bytes memory signature = _sign(0x5774, _withdrawDigest(id));
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetNotOwner.selector, stranger, owner));
        datasets.withdrawBySig(id, stranger, signature);
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetSignatureInvalid.selector, owner));
        datasets.withdrawBySig(id, owner, signature);
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetUnknown.selector, bytes32("none")));
        datasets.withdraw("none");
    }

    function test_WithdrawBySig_WorksForAnAccountThatRunsCodeWithoutERC1271() public {
        bytes32 id = _single();
        vm.etch(owner, hex"00");
        datasets.withdrawBySig(id, owner, _sign(OWNER_KEY, _withdrawDigest(id)));
        vm.assertTrue(datasets.dataset(id).withdrawn);
    }

    /// I10. Whatever was done before, and however often, the rightful signer's withdrawal succeeds and no end rises.
    function testFuzz_Withdraw_NeverFailsForItsSigner(uint256 seed, uint8 policy, uint32 notice, bool isPool, uint8 way) public {
        IDatasetRegistry.Terms memory terms = _with(IDatasetRegistry.WithdrawalPolicy(uint8(_bound(policy, 0, 2))));
        terms.noticeSeconds = uint32(_bound(notice, 0, 30 days));
        if (seed % 5 == 0) terms.validUntil = NEVER;
        bytes32 id = _register(terms, isPool);
        for (uint256 step = 0; step < 6; ++step) {
            seed = uint256(keccak256(abi.encode(seed)));
            _act(id, seed);
        }
        uint40 before = datasets.trainEnd(id);
        bool ended = datasets.dataset(id).withdrawn;
        bool byOwner = way % 2 == 0;
        if (way % 4 < 2) {
            vm.prank(byOwner ? owner : recovery);
            datasets.withdraw(id);
        } else {
            datasets.withdrawBySig(id, byOwner ? owner : recovery, _sign(byOwner ? OWNER_KEY : RECOVERY_KEY, _withdrawDigest(id)));
        }
        vm.assertTrue(datasets.dataset(id).withdrawn);
        vm.assertLe(datasets.trainEnd(id), before);
        vm.assertLe(datasets.trainEnd(id), block.timestamp + terms.noticeSeconds);
        if (ended) vm.assertEq(datasets.trainEnd(id), before);
    }

    /// I13, I16. Nothing that anyone does raises an end, adds a purpose or a jurisdiction.
    function testFuzz_Ends_NeverRise(uint256 seed, uint8 policy, uint32 notice, bool isPool) public {
        IDatasetRegistry.Terms memory terms = _with(IDatasetRegistry.WithdrawalPolicy(uint8(_bound(policy, 0, 2))));
        terms.noticeSeconds = uint32(_bound(notice, 0, 30 days));
        bytes32 id = _register(terms, isPool);
        uint40 registeredAt = uint40(block.timestamp);
        for (uint256 step = 0; step < 8; ++step) {
            IDatasetRegistry.Dataset memory before = datasets.dataset(id);
            uint40[] memory ends = datasets.serveEnds(id, type(uint32).max, registeredAt);
            seed = uint256(keccak256(abi.encode(seed)));
            _act(id, seed);
            IDatasetRegistry.Dataset memory afterwards = datasets.dataset(id);
            uint40[] memory lowered = datasets.serveEnds(id, type(uint32).max, registeredAt);
            vm.assertLe(afterwards.endsAt, before.endsAt);
            vm.assertEq(afterwards.purposes & ~before.purposes, 0);
            vm.assertEq(afterwards.jurisdictions & ~before.jurisdictions, 0);
            for (uint8 purpose = 0; purpose < 32; ++purpose) {
                vm.assertLe(lowered[purpose], ends[purpose]);
                vm.assertEq(lowered[purpose], datasets.serveEnd(id, purpose, registeredAt));
                // What was lawful until now stays lawful: no end is set into the past.
                if (lowered[purpose] != ends[purpose]) vm.assertLe(block.timestamp, lowered[purpose]);
            }
        }
    }

    /// One thing that can happen to a dataset; refusals are part of the walk.
    function _act(bytes32 id, uint256 seed) private {
        uint256 what = seed % 7;
        if (what == 0) vm.warp(block.timestamp + _bound(seed >> 8, 1, 200 days));
        if (what == 1 || what == 2) {
            uint40 end = what == 1 ? uint40(0) : uint40(_bound(seed >> 8, START, UNTIL));
            vm.prank(owner);
            try datasets.narrow(id, IDatasetRegistry.Narrowing(uint32(seed >> 64), seed, end)) {} catch {}
        }
        if (what == 3) _withdraw(id);
        if (what == 4) {
            vm.prank(owner);
            try datasets.announceShareTable(id, IDatasetRegistry.ShareTable(_leaf(stranger, 1), 1, _epoch() + 1, "x")) {} catch {}
        }
        if (what == 5) {
            vm.prank(stranger);
            try datasets.withdrawFromPool(id) {} catch {}
        }
        if (what == 6) {
            try datasets.proveExit(id, stranger, 0, 1, new bytes32[](0)) {} catch {}
        }
    }

    // ---------------------------------------------------------------- pools

    function test_AnnounceShareTable_TakesEffectFromItsEpoch() public {
        bytes32 id = _register(_terms(), true);
        uint64 now_ = _epoch();
        vm.assertFalse(datasets.permitsTraining(id));
        _announce(id, "a", 10, now_ + 1);
        _announce(id, "b", 20, now_ + 4);
        vm.assertFalse(datasets.permitsTraining(id));
        vm.assertEq(datasets.shareTables(id), 2);
        vm.assertEq(_root(id, now_), bytes32(0));
        vm.assertEq(_root(id, now_ + 1), "a");
        vm.assertEq(_totalShares(id, now_ + 3), 10);
        vm.assertEq(_root(id, now_ + 4), "b");
        vm.assertEq(_totalShares(id, type(uint64).max), 20);
        _nextEpoch();
        vm.assertTrue(datasets.permitsTraining(id));
    }

    /// The table in force is the last one announced for the epoch or before.
    function testFuzz_ShareTableAt_FindsTheLastAtOrBefore(uint8 count, uint256 seed, uint64 asked) public {
        bytes32 id = _register(_terms(), true);
        uint64 from = _epoch();
        uint64[] memory starts = new uint64[](_bound(count, 0, 12));
        for (uint256 i = 0; i < starts.length; ++i) {
            from += uint64(_bound(uint256(keccak256(abi.encode(seed, i))), 1, 9));
            starts[i] = from;
            _announce(id, bytes32(i + 1), 1, from);
        }
        asked = uint64(_bound(asked, _epoch(), from + 3));
        uint256 expected = 0;
        for (uint256 i = 0; i < starts.length; ++i) if (starts[i] <= asked) expected = i + 1;
        vm.assertEq(_root(id, asked), bytes32(expected));
    }

    function test_AnnounceShareTable_RevertWhen_Invalid() public {
        bytes32 id = _register(_terms(), true);
        bytes32 single = _single();
        uint64 now_ = _epoch();
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetTableInvalid.selector, bytes32(0), uint128(1)));
        _announce(id, 0, 1, now_ + 1);
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetTableInvalid.selector, bytes32("a"), uint128(0)));
        _announce(id, "a", 0, now_ + 1);
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetTableEpochInvalid.selector, now_, now_ + 1, now_ + 1000));
        _announce(id, "a", 1, now_);
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetTableEpochInvalid.selector, now_ + 1001, now_ + 1, now_ + 1000));
        _announce(id, "a", 1, now_ + 1001);
        _announce(id, "a", 1, now_ + 2);
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetTableTaken.selector, id, now_ + 2));
        _announce(id, "b", 1, now_ + 2);
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetTableTaken.selector, id, now_ + 1));
        _announce(id, "b", 1, now_ + 1);
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetNotPool.selector, single));
        _announce(single, "a", 1, now_ + 1);
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetNotOwner.selector, stranger, owner));
        vm.prank(stranger);
        datasets.announceShareTable(id, IDatasetRegistry.ShareTable("c", 1, now_ + 9, "x"));
    }

    function test_WithdrawFromPool_NeedsNoProofAndKeepsTheFirstTime() public {
        bytes32 id = _register(_terms(), true);
        _withdraw(id);
        vm.prank(stranger);
        datasets.withdrawFromPool(id);
        vm.assertEq(datasets.leftPool(id, stranger), START);
        vm.warp(START + 5);
        bytes32 structHash = keccak256(abi.encode(keccak256("WithdrawFromPool(bytes32 poolId,address account)"), id, stranger));
        bytes memory signature = _sign(0x5774, _digest("DatasetRegistry", address(datasets), structHash));
        datasets.withdrawFromPoolBySig(id, stranger, signature);
        vm.assertEq(datasets.leftPool(id, stranger), START);
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetSignatureInvalid.selector, owner));
        datasets.withdrawFromPoolBySig(id, owner, signature);
    }

    function test_WithdrawFromPool_RevertWhen_NotAPool() public {
        bytes32 single = _single();
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetNotPool.selector, single));
        datasets.withdrawFromPool(single);
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetUnknown.selector, bytes32("none")));
        datasets.withdrawFromPool("none");
    }

    function test_ProveExit_FirstOneAfterAModelFixesItsEnd() public {
        bytes32 id = _register(_terms(), true);
        address second = vm.addr(0x2);
        _announce(id, _pair(_leaf(stranger, 3), _leaf(second, 4)), 7, _epoch() + 1);

        vm.assertFalse(datasets.proveExit(id, stranger, 0, 3, _proof(_leaf(second, 4))));
        _leave(id, stranger);
        vm.assertFalse(datasets.proveExit(id, stranger, 0, 4, _proof(_leaf(second, 4))));
        vm.assertFalse(datasets.proveExit(id, stranger, 1, 3, _proof(_leaf(second, 4))));
        vm.assertEq(datasets.serveEnd(id, 0, START - 1), UNTIL);

        vm.assertTrue(datasets.proveExit(id, stranger, 0, 3, _proof(_leaf(second, 4))));
        vm.assertEq(datasets.serveEnd(id, 0, START - 1), START + 10 days);
        vm.assertEq(datasets.serveEnd(id, 0, START), UNTIL);

        vm.warp(START + 1 days);
        vm.assertTrue(datasets.proveExit(id, stranger, 0, 3, _proof(_leaf(second, 4))));
        vm.assertEq(datasets.serveEnd(id, 0, START), UNTIL);
        _leave(id, second);
        vm.assertTrue(datasets.proveExit(id, second, 0, 4, _proof(_leaf(stranger, 3))));
        vm.assertEq(datasets.serveEnd(id, 0, START - 1), START + 10 days);
        vm.assertEq(datasets.serveEnd(id, 0, START), START + 11 days);
        vm.assertEq(datasets.serveEnd(id, 0, START + 1 days), UNTIL);
    }

    function _leave(bytes32 id, address account) private {
        vm.prank(account);
        datasets.withdrawFromPool(id);
    }

    // ---------------------------------------------------------------- gas
    // Not with --gas-stats: it runs each call as a transaction of its own, which then counts twice.

    function test_Register_CostsAtMost95k() public {
        IDatasetRegistry.Registration memory registration = _registration(_terms(), false);
        registration.recovery = address(0);
        vm.prank(owner);
        vm.assertLe(_gasOf(abi.encodeCall(IDatasetRegistry.register, (registration))), 95_000, "register");
    }

    function test_RegisterBySig_CostsAtMost125k() public {
        IDatasetRegistry.Registration memory registration = _registration(_terms(), false);
        bytes memory signature = _sign(OWNER_KEY, _registerDigest(registration, START));
        uint256 gas = _gasOf(abi.encodeCall(IDatasetRegistry.registerBySig, (registration, START, signature)));
        vm.assertLe(gas, 125_000, "registerBySig");
    }

    function _gasOf(bytes memory call) private returns (uint256 gas) {
        gas = 21_000;
        for (uint256 i = 0; i < call.length; ++i) gas += call[i] == 0 ? 4 : 16;
        uint256 left = gasleft();
        (bool ok,) = address(datasets).call(call);
        gas += left - gasleft();
        vm.assertTrue(ok);
    }

    // ---------------------------------------------------------------- digests

    function _registerDigest(IDatasetRegistry.Registration memory r, uint256 deadline) private view returns (bytes32) {
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256(
                    "RegisterDataset(address owner,bytes32 commitment,bytes32 termsHash,bytes32 salt,bool isPool,address recovery,uint256 deadline)"
                ),
                r.owner,
                r.commitment,
                r.termsHash,
                r.salt,
                r.isPool,
                r.recovery,
                deadline
            )
        );
        return _digest("DatasetRegistry", address(datasets), structHash);
    }

    function _withdrawDigest(bytes32 id) private view returns (bytes32) {
        return _digest("DatasetRegistry", address(datasets), keccak256(abi.encode(keccak256("WithdrawDataset(bytes32 datasetId)"), id)));
    }
}

/// Slots are cold at the start of a test, so the dataset is registered in setUp.
contract DatasetWithdrawalGasTest is ConsentTest {
    bytes32 private id;

    function setUp() public override {
        super.setUp();
        IDatasetRegistry.Terms memory terms = _terms();
        terms.noticeSeconds = 1 days;
        id = _register(terms, false);
    }

    function test_Withdraw_CostsAtMost55k() public {
        vm.prank(recovery);
        uint256 left = gasleft();
        datasets.withdraw(id);
        vm.assertLe(left - gasleft() + 21_000 + 36 * 16, 55_000, "withdraw");
    }
}
