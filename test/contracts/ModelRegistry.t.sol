// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IDatasetRegistry} from "../../contracts/interfaces/IDatasetRegistry.sol";
import {IModelRegistry} from "../../contracts/interfaces/IModelRegistry.sol";
import {Wallet} from "./support/ConsentTest.sol";
import {LineageTest} from "./support/LineageTest.sol";

contract ModelRegistryTest is LineageTest {
    address private stranger = vm.addr(0x5774);

    // ---------------------------------------------------------------- register

    function test_Register_StoresTheModelAndItsPayees() public {
        bytes32 dataset = _single();
        IModelRegistry.Registration memory registration = _draft(_shares(dataset, 60_000), _none());
        bytes32 id = _register(registration);
        vm.assertEq(id, keccak256(abi.encode(registration)));

        IModelRegistry.Model memory model = models.model(id);
        vm.assertEq(model.author, author);
        vm.assertEq(model.registeredAt, START);
        vm.assertEq(model.suspendedUntil, 0);
        vm.assertEq(model.purposes, 0x0f);
        vm.assertEq(model.payeesPpm, 160_000);
        vm.assertEq(model.derivativePpm, 20_000);
        vm.assertEq(model.onnxDigest, registration.onnxDigest);
        _hasPayee(id, 0, dataset, 60_000, true);
        _hasPayee(id, 1, id, 100_000, false);
        vm.assertEq(models.payees(id).length, 2);
        vm.assertEq(models.payeeAt(id, 2).id, bytes32(0));
        vm.assertEq(models.trainedAt(id, 0), START);
        vm.assertEq(models.trainedAt(id, 1), 0);
        (uint32 payeesPpm, uint40 endsAt) = models.settlementTerms(id, 3);
        vm.assertEq(payeesPpm, 160_000);
        vm.assertEq(endsAt, UNTIL);
        vm.assertEq(models.serveEnd(id, 4), 0);
        vm.assertEq(models.serveEnd(id, 40), 0);
    }

    function test_Register_WithoutDatasetsMayServeAnyPurposeForEver() public {
        IModelRegistry.Registration memory registration = _draft(new IModelRegistry.DatasetShare[](0), _none());
        registration.purposes = type(uint32).max;
        registration.authorPpm = 0;
        bytes32 id = _register(registration);
        for (uint8 purpose = 0; purpose < 32; ++purpose) vm.assertEq(models.serveEnd(id, purpose), NEVER);
        vm.assertEq(models.payees(id).length, 0);
        _isServable(id, 31, 255, IModelRegistry.Reason.Servable, 0);
    }

    /// A child owes its parent's datasets and ancestors what the parent owes, and the parent what it asks of derivatives.
    function test_Register_FlattensTheLineage() public {
        bytes32 first = _single();
        bytes32 second = _single();
        bytes32 grandparent = _modelOf(first);
        bytes32 parent = _register(_draft(_shares(second, 70_000), _ids(grandparent)));
        IModelRegistry.Registration memory registration = _draft(_shares(first, 55_000), _ids(parent, grandparent));
        registration.authorPpm = 0;
        bytes32 child = _register(registration);

        vm.assertEq(models.payees(child).length, 4);
        _hasPayee(child, 0, first, 55_000, true);
        _hasPayee(child, 1, second, 70_000, true);
        _hasPayee(child, 2, grandparent, 20_000, false);
        _hasPayee(child, 3, parent, 20_000, false);
        vm.assertEq(models.model(child).payeesPpm, 165_000);
    }

    function test_Register_PaysTheHighestShareOfEachPath() public {
        bytes32 dataset = _single();
        bytes32 parent = _register(_draft(_shares(dataset, 60_000), _none()));
        _hasPayee(_register(_draft(_shares(dataset, 55_000), _ids(parent))), 0, dataset, 60_000, true);
        _hasPayee(_register(_draft(_shares(dataset, 65_000), _ids(parent))), 0, dataset, 65_000, true);
    }

    function test_Register_AParentThatAsksNothingIsNoPayee() public {
        IModelRegistry.Registration memory registration = _draft(_shares(_single(), 50_000), _none());
        registration.derivativePpm = 0;
        bytes32 parent = _register(registration);
        bytes32 child = _child(parent);
        vm.assertEq(models.payees(child).length, 2);
        _hasPayee(child, 1, child, 100_000, false);
    }

    function test_Register_RevertWhen_ADatasetDoesNotPermitTraining() public {
        bytes32 withdrawn = _single();
        bytes32 tableless = _register(_terms(), true);
        IDatasetRegistry.Terms memory terms = _terms();
        terms.validFrom = START + 1;
        bytes32 early = _register(terms, false);
        bytes32 parent = _modelOf(withdrawn);
        _withdraw(withdrawn);
        _refuseTraining(withdrawn, _draft(_shares(withdrawn, 50_000), _none()));
        _refuseTraining(withdrawn, _draft(new IModelRegistry.DatasetShare[](0), _ids(parent)));
        _refuseTraining(tableless, _draft(_shares(tableless, 50_000), _none()));
        _refuseTraining(early, _draft(_shares(early, 50_000), _none()));
        _refuseTraining("none", _draft(_shares("none", 50_000), _none()));
    }

    function _refuseTraining(bytes32 datasetId, IModelRegistry.Registration memory registration) private {
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelTrainingNotPermitted.selector, datasetId));
        _register(registration);
    }

    function test_Register_RevertWhen_DerivativesAreNotAllowed() public {
        IDatasetRegistry.Terms memory terms = _terms();
        terms.flags = 0;
        bytes32 dataset = _register(terms, false);
        bytes32 parent = _modelOf(dataset);
        IModelRegistry.Registration memory registration = _draft(_shares(dataset, 50_000), _ids(parent));
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelDerivativesNotAllowed.selector, parent, dataset));
        _register(registration);
    }

    function test_Register_RevertWhen_AShareIsBelowTheTerms() public {
        bytes32 dataset = _single();
        IModelRegistry.Registration memory registration = _draft(_shares(dataset, 49_999), _none());
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelShareTooLow.selector, dataset, uint32(49_999), uint32(50_000)));
        _register(registration);
    }

    function test_Register_RevertWhen_PurposesExceedTheLineage() public {
        bytes32 dataset = _single();
        bytes32 parent = _modelOf(dataset);
        IModelRegistry.Registration memory registration = _draft(_shares(dataset, 50_000), _none());
        registration.purposes = 0x1ff;
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelPurposesTooWide.selector, uint32(0x1ff), uint32(0xff)));
        _register(registration);
        registration = _draft(new IModelRegistry.DatasetShare[](0), _ids(parent));
        registration.purposes = 0x10;
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelPurposesTooWide.selector, uint32(0x10), uint32(0x0f)));
        _register(registration);
        _narrow(dataset, 2, 0, 0);
        registration.purposes = 0x02;
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelPurposesTooWide.selector, uint32(0x02), uint32(0x0d)));
        _register(registration);
    }

    function test_Register_RevertWhen_SharesExceedTheBounds() public {
        bytes32 dataset = _single();
        IModelRegistry.Registration memory registration = _draft(_shares(dataset, 500_001), _none());
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelSharesTooHigh.selector, uint256(500_001), uint256(500_000)));
        _register(registration);
        registration = _draft(_shares(dataset, 500_000), _none());
        registration.authorPpm = 350_001;
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelSharesTooHigh.selector, uint256(1_000_001), uint256(1_000_000)));
        _register(registration);
        registration.authorPpm = 350_000;
        vm.assertEq(models.model(_register(registration)).payeesPpm, 850_000);
    }

    function test_Register_RevertWhen_AParentIsUnknownOrTwice() public {
        bytes32 dataset = _single();
        bytes32 parent = _modelOf(dataset);
        IModelRegistry.DatasetShare[] memory twice = new IModelRegistry.DatasetShare[](2);
        (twice[0], twice[1]) = (IModelRegistry.DatasetShare(dataset, 50_000), IModelRegistry.DatasetShare(dataset, 50_000));
        IModelRegistry.Registration memory registration = _draft(twice, _none());
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelDuplicateParent.selector, dataset));
        _register(registration);
        registration = _draft(new IModelRegistry.DatasetShare[](0), _ids(parent, parent));
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelDuplicateParent.selector, parent));
        _register(registration);
        registration.parents = _ids("none");
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelUnknown.selector, bytes32("none")));
        _register(registration);
    }

    function test_Register_TakesThirtyTwoPayeesAndNoMore() public {
        IDatasetRegistry.Terms memory terms = _terms();
        terms.royaltyPpm = 0;
        IModelRegistry.DatasetShare[] memory shares = new IModelRegistry.DatasetShare[](32);
        for (uint256 i = 0; i < 32; ++i) shares[i] = IModelRegistry.DatasetShare(_register(terms, false), 1000);
        IModelRegistry.Registration memory registration = _draft(shares, _none());
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelTooManyPayees.selector, uint256(33), uint256(32)));
        _register(registration);
        registration.authorPpm = 0;
        bytes32 id = _register(registration);
        vm.assertEq(models.payees(id).length, 32);
        vm.assertEq(models.model(id).payeesPpm, 32_000);
        models.sync(id);
        registration.datasets = new IModelRegistry.DatasetShare[](33);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelTooManyPayees.selector, uint256(33), uint256(32)));
        _register(registration);
        registration.datasets = new IModelRegistry.DatasetShare[](0);
        registration.parents = new bytes32[](33);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelTooManyPayees.selector, uint256(33), uint256(32)));
        _register(registration);
    }

    function test_Register_RevertWhen_NotTheAuthorOrTaken() public {
        IModelRegistry.Registration memory registration = _draft(_shares(_single(), 50_000), _none());
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelNotAuthor.selector, stranger, author));
        vm.prank(stranger);
        models.register(registration);
        bytes32 id = _register(registration);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelExists.selector, id));
        _register(registration);
    }

    function testFuzz_RegisterBySig_BindsTheWholeRegistration(uint8 field) public {
        bytes32 dataset = _single();
        IModelRegistry.Registration memory registration = _draft(_shares(dataset, 50_000), _none());
        uint256 deadline = START + 1 days;
        bytes memory signature = _sign(AUTHOR_KEY, _registerDigest(models.modelIdOf(registration), author, deadline));
        field = uint8(_bound(field, 0, 7));
        if (field == 0) registration.onnxDigest = "other";
        else if (field == 1) registration.manifestDigest = "other";
        else if (field == 2) registration.datasets[0].ppm += 1;
        else if (field == 3) registration.parents = _ids(_modelOf(dataset));
        else if (field == 4) registration.purposes = 1;
        else if (field == 5) registration.authorPpm += 1;
        else if (field == 6) registration.derivativePpm += 1;
        else deadline += 1;
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelSignatureInvalid.selector, author));
        models.registerBySig(registration, deadline, signature);
    }

    function test_RegisterBySig_ByAnyRelayerAlsoForAContractWallet() public {
        IModelRegistry.Registration memory registration = _draft(_shares(_single(), 50_000), _none());
        bytes memory signature = _sign(AUTHOR_KEY, _registerDigest(models.modelIdOf(registration), author, START));
        vm.assertEq(models.authorOf(models.registerBySig(registration, START, signature)), author);

        registration.author = address(new Wallet(author));
        signature = _sign(AUTHOR_KEY, _registerDigest(models.modelIdOf(registration), registration.author, START));
        vm.assertEq(models.authorOf(models.registerBySig(registration, START, signature)), registration.author);

        vm.warp(START + 1);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelSignatureExpired.selector, uint256(START + 1), uint256(START)));
        models.registerBySig(registration, START, signature);
    }

    /// I12. Whatever the parents and datasets are, a child has no purpose that one of them lacks.
    function testFuzz_Purposes_OnlyShrink(uint32 first, uint32 second, uint32 narrowed, uint32 parentAsks, uint32 childAsks) public {
        IDatasetRegistry.Terms memory terms = _terms();
        terms.purposes = first | 1;
        bytes32 one = _register(terms, false);
        terms.purposes = second | 1;
        bytes32 two = _register(terms, false);
        IModelRegistry.Registration memory registration = _draft(_shares(one, 50_000), _none());
        registration.purposes = parentAsks & (first | 1);
        bytes32 parent = _register(registration);
        vm.prank(owner);
        try datasets.narrow(two, IDatasetRegistry.Narrowing(narrowed, 0, 0)) {} catch {}

        uint32 granted = registration.purposes & datasets.dataset(two).purposes;
        registration = _draft(_shares(two, 50_000), _ids(parent));
        registration.purposes = childAsks;
        if (childAsks & ~granted != 0) {
            vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelPurposesTooWide.selector, childAsks, granted));
            _register(registration);
            registration.purposes &= granted;
        }
        bytes32 child = _register(registration);
        for (uint8 purpose = 0; purpose < 32; ++purpose) {
            bool has = (registration.purposes >> purpose) & 1 == 1;
            vm.assertEq(models.serveEnd(child, purpose), has ? UNTIL : 0);
            if (has) vm.assertTrue((granted >> purpose) & 1 == 1);
        }
    }

    // ---------------------------------------------------------------- shared

    function _hasPayee(bytes32 id, uint256 index, bytes32 payeeId, uint32 ppm, bool isDataset) private view {
        IModelRegistry.Payee memory payee = models.payeeAt(id, index);
        vm.assertEq(payee.id, payeeId);
        vm.assertEq(payee.ppm, ppm);
        vm.assertEq(payee.isDataset, isDataset);
    }

    function _registerDigest(bytes32 modelId, address signer, uint256 deadline) private view returns (bytes32) {
        bytes32 typeHash = keccak256("RegisterModel(bytes32 modelId,address author,uint256 deadline)");
        return _digest("ModelRegistry", address(models), keccak256(abi.encode(typeHash, modelId, signer, deadline)));
    }
}
