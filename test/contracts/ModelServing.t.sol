// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IDatasetRegistry} from "../../contracts/interfaces/IDatasetRegistry.sol";
import {IModelRegistry} from "../../contracts/interfaces/IModelRegistry.sol";
import {LineageTest} from "./support/LineageTest.sol";

/// What a registered model may serve as its lineage changes: ends that are synced, the answer for a request, suspension.
contract ModelServingTest is LineageTest {
    address private stranger = vm.addr(0x5774);

    // ---------------------------------------------------------------- sync

    function test_Sync_LowersOnlyTheNarrowedPurpose() public {
        bytes32 dataset = _single();
        bytes32 id = _modelOf(dataset);
        _narrow(dataset, 4, 0, 0);
        vm.assertEq(models.serveEnd(id, 2), UNTIL);
        vm.expectEmit();
        emit IModelRegistry.ModelSynced(id, 2, START);
        vm.prank(stranger);
        models.sync(id);
        vm.assertEq(models.serveEnd(id, 2), START);
        vm.assertEq(models.serveEnd(id, 1), UNTIL);
        _withdraw(dataset);
        models.sync(id);
        for (uint8 purpose = 0; purpose < 4; ++purpose) vm.assertEq(models.serveEnd(id, purpose), START);
        vm.recordLogs();
        models.sync(id);
        vm.assertEq(vm.getRecordedLogs().length, 0);
    }

    function test_Sync_RevertWhen_Unknown() public {
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelUnknown.selector, bytes32("none")));
        models.sync("none");
    }

    /// A child made after an exit still holds what its parent learned, and stops with it.
    function test_Sync_AChildInheritsTheRetrainClockOfItsParent() public {
        bytes32 pool = _poolOf(stranger, owner);
        bytes32 parent = _modelOf(pool);
        uint40 trained = uint40(block.timestamp);
        vm.warp(block.timestamp + 1 days);
        vm.prank(stranger);
        datasets.withdrawFromPool(pool);
        datasets.proveExit(pool, stranger, 0, 3, _proof(_leaf(owner, 4)));
        uint40 end = uint40(block.timestamp) + 10 days;
        vm.warp(block.timestamp + 1 hours);
        bytes32 child = _child(parent);
        bytes32 fresh = _modelOf(pool);
        bytes32 mixed = _register(_draft(_shares(pool, 50_000), _ids(parent)));
        models.sync(parent);
        vm.assertEq(models.serveEnd(parent, 0), end);
        vm.assertEq(models.serveEnd(child, 0), end);
        vm.assertEq(models.serveEnd(mixed, 0), end);
        vm.assertEq(models.serveEnd(fresh, 0), UNTIL);
        vm.assertEq(models.trainedAt(child, 0), trained);
    }

    /// I16. After sync the stored ends are the recomputed ones, and they never rise.
    function testFuzz_Sync_StoresTheLiveEndsWhichNeverRise(uint256 seed, uint8 policy) public {
        bytes32 one = _register(_with(IDatasetRegistry.WithdrawalPolicy(uint8(_bound(policy, 0, 2)))), false);
        bytes32 pool = _poolOf(stranger, owner);
        IModelRegistry.Registration memory registration = _draft(_shares(pool, 50_000), _ids(_modelOf(one)));
        bytes32 id = _register(registration);
        uint40 trained = uint40(block.timestamp);
        for (uint256 step = 0; step < 6; ++step) {
            seed = uint256(keccak256(abi.encode(seed)));
            _act(seed % 2 == 0 ? one : pool, seed >> 8);
            for (uint8 purpose = 0; purpose < 4; ++purpose) {
                uint40 before = models.serveEnd(id, purpose);
                models.sync(id);
                uint40 live = datasets.serveEnd(one, purpose, START);
                uint40 other = datasets.serveEnd(pool, purpose, trained);
                vm.assertEq(models.serveEnd(id, purpose), live < other ? live : other);
                vm.assertLe(models.serveEnd(id, purpose), before);
                (bool servable,,) = models.isServable(id, purpose, 255, uint40(block.timestamp));
                if (servable) vm.assertLe(block.timestamp + 1, models.serveEnd(id, purpose));
            }
        }
    }

    function _act(bytes32 datasetId, uint256 seed) private {
        uint256 what = seed % 5;
        if (what == 0) vm.warp(block.timestamp + _bound(seed >> 8, 1, 60 days));
        if (what == 1) {
            vm.prank(owner);
            try datasets.narrow(datasetId, IDatasetRegistry.Narrowing(uint32(seed >> 32), 0, 0)) {} catch {}
        }
        if (what == 2) {
            vm.prank(owner);
            try datasets.narrow(datasetId, IDatasetRegistry.Narrowing(0, 0, uint40(_bound(seed >> 8, START, UNTIL)))) {} catch {}
        }
        if (what == 3) _withdraw(datasetId);
        if (what == 4) {
            vm.prank(stranger);
            try datasets.withdrawFromPool(datasetId) {} catch {}
            try datasets.proveExit(datasetId, stranger, 0, 3, _proof(_leaf(owner, 4))) {} catch {}
        }
    }

    // ---------------------------------------------------------------- isServable

    function test_IsServable_NamesTheReasonAndTheDataset() public {
        IDatasetRegistry.Terms memory terms = _terms();
        terms.jurisdictions = 1 << 7;
        bytes32 local = _register(terms, false);
        bytes32 id = _modelOf(local);
        _isServable("none", 0, 7, IModelRegistry.Reason.UnknownModel, "none");
        _isServable(id, 4, 7, IModelRegistry.Reason.PurposeNotGranted, id);
        _isServable(id, 200, 7, IModelRegistry.Reason.PurposeNotGranted, id);
        _isServable(id, 0, 7, IModelRegistry.Reason.Servable, 0);
        _isServable(id, 0, 8, IModelRegistry.Reason.JurisdictionNotGranted, local);
        _isServable(id, 0, 255, IModelRegistry.Reason.JurisdictionNotGranted, local);
        (bool servable, IModelRegistry.Reason reason, bytes32 because) = models.isServable(id, 0, 7, START - 2 days);
        vm.assertFalse(servable);
        vm.assertTrue(reason == IModelRegistry.Reason.NotYetValid);
        vm.assertEq(because, local);
        _withdraw(local);
        _isServable(id, 0, 7, IModelRegistry.Reason.ConsentEnded, local);
    }

    function test_IsServable_SeesAWithdrawalWithoutSyncAndThroughDerivatives() public {
        bytes32 dataset = _single();
        bytes32 child = _child(_modelOf(dataset));
        _isServable(child, 0, 255, IModelRegistry.Reason.Servable, 0);
        _withdraw(dataset);
        _isServable(child, 0, 255, IModelRegistry.Reason.ConsentEnded, dataset);
        vm.assertEq(models.serveEnd(child, 0), UNTIL);
    }

    // ---------------------------------------------------------------- suspend

    function test_Suspend_StopsServingButNotSettlement() public {
        bytes32 id = _modelOf(_single());
        vm.prank(governor);
        models.suspend(id, START + 14 days);
        _isServable(id, 0, 255, IModelRegistry.Reason.Suspended, id);
        (, uint40 endsAt) = models.settlementTerms(id, 0);
        vm.assertEq(endsAt, UNTIL);
        vm.warp(START + 14 days);
        _isServable(id, 0, 255, IModelRegistry.Reason.Servable, 0);
    }

    function test_Suspend_OnlyTheTimelockShortens() public {
        bytes32 id = _modelOf(_single());
        vm.prank(timelock);
        models.suspend(id, START + 100 days);
        vm.prank(governor);
        models.suspend(id, START + 1 days);
        vm.assertEq(models.model(id).suspendedUntil, START + 100 days);
        vm.prank(timelock);
        models.suspend(id, 0);
        vm.assertEq(models.model(id).suspendedUntil, 0);
    }

    function test_Suspend_RevertWhen_NotGovernanceOrUnknown() public {
        bytes32 id = _modelOf(_single());
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelNotGovernance.selector, author));
        vm.prank(author);
        models.suspend(id, START + 1);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelUnknown.selector, bytes32("none")));
        vm.prank(timelock);
        models.suspend("none", START + 1);
    }
}
