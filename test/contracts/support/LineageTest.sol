// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {ModelRegistry} from "../../../contracts/ModelRegistry.sol";
import {IModelRegistry} from "../../../contracts/interfaces/IModelRegistry.sol";
import {ConsentTest} from "./ConsentTest.sol";

/// A model registry beside the dataset registry, and short ways to register models.
abstract contract LineageTest is ConsentTest {
    uint256 internal constant AUTHOR_KEY = 0xA0704;

    ModelRegistry internal models;
    address internal author = vm.addr(AUTHOR_KEY);
    address internal timelock = vm.addr(0x71);
    address internal governor = vm.addr(0x60);
    uint256 private _digests;

    function setUp() public virtual override {
        super.setUp();
        models = new ModelRegistry(address(datasets), timelock, governor);
    }

    /// An author's 100,000 ppm, 20,000 ppm asked of derivatives, purposes 0 to 3.
    function _draft(IModelRegistry.DatasetShare[] memory shares, bytes32[] memory parents)
        internal
        returns (IModelRegistry.Registration memory)
    {
        return IModelRegistry.Registration({
            author: author,
            onnxDigest: keccak256(abi.encode(++_digests)),
            manifestDigest: "manifest",
            datasets: shares,
            parents: parents,
            purposes: 0x0f,
            authorPpm: 100_000,
            derivativePpm: 20_000
        });
    }

    function _register(IModelRegistry.Registration memory registration) internal returns (bytes32) {
        vm.prank(registration.author);
        return models.register(registration);
    }

    function _modelOf(bytes32 datasetId) internal returns (bytes32) {
        return _register(_draft(_shares(datasetId, 50_000), _none()));
    }

    function _child(bytes32 parent) internal returns (bytes32) {
        return _register(_draft(new IModelRegistry.DatasetShare[](0), _ids(parent)));
    }

    function _shares(bytes32 datasetId, uint32 ppm) internal pure returns (IModelRegistry.DatasetShare[] memory list) {
        list = new IModelRegistry.DatasetShare[](1);
        list[0] = IModelRegistry.DatasetShare(datasetId, ppm);
    }

    function _none() internal pure returns (bytes32[] memory) {
        return new bytes32[](0);
    }

    function _ids(bytes32 id) internal pure returns (bytes32[] memory list) {
        list = new bytes32[](1);
        list[0] = id;
    }

    function _ids(bytes32 a, bytes32 b) internal pure returns (bytes32[] memory list) {
        list = new bytes32[](2);
        (list[0], list[1]) = (a, b);
    }

    /// A pool whose table gives two accounts 3 and 4 of 7 shares, in force now.
    function _poolOf(address a, address b) internal returns (bytes32 id) {
        id = _register(_terms(), true);
        _announce(id, _pair(_leaf(a, 3), _leaf(b, 4)), 7, _epoch() + 1);
        _nextEpoch();
    }

    function _isServable(bytes32 id, uint8 purpose, uint8 jurisdiction, IModelRegistry.Reason expected, bytes32 expectedBecause) internal view {
        (bool servable, IModelRegistry.Reason reason, bytes32 because) = models.isServable(id, purpose, jurisdiction, uint40(block.timestamp));
        vm.assertEq(uint256(reason), uint256(expected));
        vm.assertEq(servable, expected == IModelRegistry.Reason.Servable);
        vm.assertEq(because, expectedBecause);
    }
}
