// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IDatasetRegistry} from "../../contracts/interfaces/IDatasetRegistry.sol";
import {IModelRegistry} from "../../contracts/interfaces/IModelRegistry.sol";
import {LineageTest} from "./support/LineageTest.sol";

/// Serving to the second, and lineages in which a dataset is not the first entry.
contract ModelBoundariesTest is LineageTest {
    function test_IsServable_FromTheFirstSecondOfTheTermsToTheLast() public {
        bytes32 dataset = _single();
        bytes32 id = _modelOf(dataset);
        _servableAt(id, START - 1 days - 1, IModelRegistry.Reason.NotYetValid, dataset);
        _servableAt(id, START - 1 days, IModelRegistry.Reason.Servable, 0);
        _servableAt(id, UNTIL - 1, IModelRegistry.Reason.Servable, 0);
        _servableAt(id, UNTIL, IModelRegistry.Reason.ConsentEnded, dataset);
    }

    function test_IsServable_FromTheVerySecondInWhichASuspensionEnds() public {
        bytes32 id = _modelOf(_single());
        vm.prank(timelock);
        models.suspend(id, START + 10);
        _servableAt(id, START + 9, IModelRegistry.Reason.Suspended, id);
        _servableAt(id, START + 10, IModelRegistry.Reason.Servable, 0);
    }

    /// 255 asks for everywhere; 254 is a place like any other.
    function test_IsServable_InTheFirstAndTheLastPlace() public {
        IDatasetRegistry.Terms memory terms = _terms();
        terms.jurisdictions = 1 | (1 << 254);
        bytes32 dataset = _register(terms, false);
        bytes32 id = _modelOf(dataset);
        _servableIn(id, 0, IModelRegistry.Reason.Servable, 0);
        _servableIn(id, 254, IModelRegistry.Reason.Servable, 0);
        _servableIn(id, 1, IModelRegistry.Reason.JurisdictionNotGranted, dataset);
        _servableIn(id, 253, IModelRegistry.Reason.JurisdictionNotGranted, dataset);
        _servableIn(id, 255, IModelRegistry.Reason.JurisdictionNotGranted, dataset);
    }

    /// Everywhere is more than every place that can be named.
    function test_IsServable_NowhereInParticularNeedsEveryPlace() public {
        IDatasetRegistry.Terms memory terms = _terms();
        terms.jurisdictions = type(uint256).max - 1;
        bytes32 dataset = _register(terms, false);
        bytes32 id = _modelOf(dataset);
        _servableIn(id, 255, IModelRegistry.Reason.JurisdictionNotGranted, dataset);
        _servableIn(id, 254, IModelRegistry.Reason.Servable, 0);
    }

    /// Other flags are no consent to derivatives.
    function test_Register_RevertWhen_TheTermsHaveEveryFlagButThatOfDerivatives() public {
        IDatasetRegistry.Terms memory terms = _terms();
        terms.flags = 5;
        bytes32 dataset = _register(terms, false);
        bytes32 parent = _modelOf(dataset);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelDerivativesNotAllowed.selector, parent, dataset));
        _child(parent);
    }

    /// Without data no consent ends it, but what the author did not ask for is not granted either.
    function test_SettlementTerms_OfAModelWithoutDataNameItsPurposesOnly() public {
        bytes32 id = _register(_draft(new IModelRegistry.DatasetShare[](0), _none()));
        for (uint8 purpose = 0; purpose < 33; ++purpose) {
            (, uint40 endsAt) = models.settlementTerms(id, purpose);
            vm.assertEq(endsAt, purpose < 4 ? NEVER : 0);
        }
    }

    /// What comes before the dataset in the list of payees is an author.
    function test_Lineage_OfADatasetThatIsNotTheFirstEntry() public {
        bytes32 dataset = _single();
        bytes32 free = _register(_draft(new IModelRegistry.DatasetShare[](0), _none()));
        bytes32 bound = _modelOf(dataset);
        bytes32 child = _register(_draft(new IModelRegistry.DatasetShare[](0), _ids(free, bound)));
        vm.assertEq(models.payeeAt(child, 0).id, free);
        vm.assertFalse(models.payeeAt(child, 0).isDataset);
        vm.assertEq(models.payeeAt(child, 1).id, dataset);
        vm.assertEq(models.trainedAt(child, 0), 0);
        vm.assertEq(models.trainedAt(child, 1), START);
        vm.assertEq(models.trainedAt(child, 2), 0);
        vm.assertEq(models.trainedAt(child, models.payees(child).length), 0);
        vm.assertEq(models.serveEnd(child, 0), UNTIL);
        _withdraw(dataset);
        _servableAt(child, START, IModelRegistry.Reason.ConsentEnded, dataset);
        models.sync(child);
        vm.assertEq(models.serveEnd(child, 0), START);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelTrainingNotPermitted.selector, dataset));
        _child(child);
    }

    function test_Payees_AreThoseOfEachIndex() public {
        bytes32 dataset = _single();
        bytes32 id = _modelOf(dataset);
        IModelRegistry.Payee[] memory list = models.payees(id);
        vm.assertEq(list.length, 2);
        for (uint256 i = 0; i < 2; ++i) vm.assertEq(keccak256(abi.encode(list[i])), keccak256(abi.encode(models.payeeAt(id, i))));
        vm.assertEq(list[0].id, dataset);
        vm.assertEq(list[0].ppm, 50_000);
        vm.assertTrue(list[0].isDataset);
        vm.assertEq(list[1].id, id);
        vm.assertEq(list[1].ppm, 100_000);
        vm.assertFalse(list[1].isDataset);
    }

    /// A later second of training, or an equal share, changes nothing of what the first path says.
    function test_Lineage_OfADatasetByTwoPathsIsAsOldAsTheOlder() public {
        bytes32 dataset = _single();
        bytes32 older = _modelOf(dataset);
        vm.warp(START + 5);
        bytes32 child = _register(_draft(_shares(dataset, 50_000), _ids(older)));
        vm.assertEq(models.trainedAt(child, 0), START);
        vm.assertEq(models.payeeAt(child, 0).ppm, 50_000);
        vm.assertEq(models.model(child).payeesPpm, 170_000);
    }

    /// They are no payees, as they ask for nothing: only their number counts.
    function test_Register_TakesThirtyTwoParentsAndNotOneMore() public {
        bytes32[] memory parents = new bytes32[](33);
        for (uint256 i = 0; i < 33; ++i) parents[i] = _register(_free());
        IModelRegistry.Registration memory child = _free();
        child.parents = parents;
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelTooManyPayees.selector, uint256(33), uint256(32)));
        _register(child);
        child.parents = new bytes32[](32);
        for (uint256 i = 0; i < 32; ++i) child.parents[i] = parents[i];
        vm.assertEq(models.model(_register(child)).payeesPpm, 0);
    }

    function test_Sync_OfWhatIsUpToDateDoesNothing() public {
        bytes32 dataset = _single();
        bytes32 id = _modelOf(dataset);
        vm.recordLogs();
        models.sync(id);
        vm.assertEq(vm.getRecordedLogs().length, 0);
        _withdraw(dataset);
        vm.recordLogs();
        models.sync(id);
        vm.assertEq(vm.getRecordedLogs().length, 4);
        models.sync(id);
        vm.assertEq(vm.getRecordedLogs().length, 0);
    }

    /// Six ends lie in a word: the last of one word and the first of the next keep apart, and so does the very last.
    function test_SettlementTerms_OfPurposesAtTheEdgesOfAWord() public {
        IDatasetRegistry.Terms memory terms = _terms();
        terms.purposes = type(uint32).max;
        bytes32 dataset = _register(terms, false);
        IModelRegistry.Registration memory registration = _draft(_shares(dataset, 50_000), _none());
        registration.purposes = (1 << 0) | (1 << 5) | (1 << 6) | (1 << 29) | (1 << 30) | (1 << 31);
        bytes32 id = _register(registration);
        _narrow(dataset, (1 << 5) | (1 << 31), 0, 0);
        models.sync(id);
        for (uint8 purpose = 0; purpose < 34; ++purpose) {
            bool has = purpose < 32 && (registration.purposes >> purpose) & 1 == 1;
            bool isNarrowed = purpose == 5 || purpose == 31;
            (, uint40 endsAt) = models.settlementTerms(id, purpose);
            vm.assertEq(endsAt, has ? (isNarrowed ? START : UNTIL) : 0);
        }
    }

    /// Of nobody's data, and for nothing.
    function _free() private returns (IModelRegistry.Registration memory registration) {
        registration = _draft(new IModelRegistry.DatasetShare[](0), _none());
        (registration.authorPpm, registration.derivativePpm) = (0, 0);
    }

    function _servableAt(bytes32 id, uint40 at, IModelRegistry.Reason expected, bytes32 expectedBecause) private view {
        (bool servable, IModelRegistry.Reason reason, bytes32 because) = models.isServable(id, 0, 255, at);
        vm.assertEq(uint256(reason), uint256(expected));
        vm.assertEq(servable, expected == IModelRegistry.Reason.Servable);
        vm.assertEq(because, expectedBecause);
    }

    function _servableIn(bytes32 id, uint8 jurisdiction, IModelRegistry.Reason expected, bytes32 expectedBecause) private view {
        (, IModelRegistry.Reason reason, bytes32 because) = models.isServable(id, 0, jurisdiction, START);
        vm.assertEq(uint256(reason), uint256(expected));
        vm.assertEq(because, expectedBecause);
    }
}
