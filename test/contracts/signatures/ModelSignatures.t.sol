// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IModelRegistry} from "../../../contracts/interfaces/IModelRegistry.sol";
import {LineageTest} from "../support/LineageTest.sol";
import {SignatureAttacks} from "../support/SignatureAttacks.sol";

contract ModelSignaturesTest is LineageTest, SignatureAttacks {
    uint256 private constant DEADLINE = START + 1 days;

    bytes private registration;
    bytes32 private modelId;

    function setUp() public override {
        super.setUp();
        IModelRegistry.Registration memory drafted = _draft(_shares(_single(), 60_000), _none());
        registration = abi.encode(drafted);
        modelId = models.modelIdOf(drafted);
    }

    function _count() internal pure override returns (uint256) {
        return 1;
    }

    function _prepare(uint256) internal view override returns (Act memory act) {
        act.name = "registerBySig";
        act.verifier = address(models);
        act.domain = "ModelRegistry";
        act.key = AUTHOR_KEY;
        act.words = _words("RegisterModel(bytes32 modelId,address author,uint256 deadline)", abi.encode(modelId, author, DEADLINE));
        act.refusal = IModelRegistry.ModelSignatureInvalid.selector;
        act.expiry = IModelRegistry.ModelSignatureExpired.selector;
        act.deadline = DEADLINE;
    }

    function _encode(uint256, bytes memory signature) internal view override returns (bytes memory) {
        return abi.encodeCall(
            IModelRegistry.registerBySig, (abi.decode(registration, (IModelRegistry.Registration)), DEADLINE, signature)
        );
    }

    function _state(uint256) internal view override returns (bytes32) {
        return keccak256(abi.encode(models.model(modelId)));
    }
}
