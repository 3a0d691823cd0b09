// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {CooperativeParameters} from "../../contracts/CooperativeParameters.sol";
import {ICooperativeParameters} from "../../contracts/interfaces/ICooperativeParameters.sol";
import {TestKit} from "./support/Vm.sol";

contract CooperativeParametersTest is TestKit {
    address private constant TREASURY = address(0x7EA);
    address private constant REGISTRAR = address(0x4E6);
    CooperativeParameters private _parameters;

    function setUp() public {
        string[] memory names = new string[](2);
        (names[0], names[1]) = ("research", "commercial-service");
        _parameters = new CooperativeParameters(address(this), 10_000, TREASURY, REGISTRAR, names);
    }

    function test_Constructor_SetsInitialValues() public view {
        vm.assertEq(_parameters.protocolFeePpm(), 10_000);
        vm.assertEq(_parameters.treasury(), TREASURY);
        vm.assertEq(_parameters.registrar(), REGISTRAR);
        vm.assertEq(_parameters.TIMELOCK(), address(this));
        vm.assertEq(_parameters.purposes(), 2);
        vm.assertEq(_parameters.purposeName(1), "commercial-service");
    }

    function testFuzz_Set_OnlyTimelock(address other) public {
        vm.assume(other != address(this));
        bytes memory refusal = abi.encodeWithSelector(ICooperativeParameters.ParametersNotTimelock.selector, other, address(this));
        vm.startPrank(other);
        vm.expectRevert(refusal);
        _parameters.setProtocolFee(1);
        vm.expectRevert(refusal);
        _parameters.setTreasury(other);
        vm.expectRevert(refusal);
        _parameters.setRegistrar(other);
        vm.expectRevert(refusal);
        _parameters.addPurpose("mine");
        vm.stopPrank();
    }

    function testFuzz_SetProtocolFee_NeverAboveItsBound(uint32 feePpm) public {
        if (feePpm > 50_000) vm.expectPartialRevert(ICooperativeParameters.ParametersFeeTooHigh.selector);
        _parameters.setProtocolFee(feePpm);
        vm.assertEq(_parameters.protocolFeePpm(), feePpm > 50_000 ? 10_000 : feePpm);
    }

    function test_SetAddresses_RevertWhen_Zero() public {
        vm.expectPartialRevert(ICooperativeParameters.ParametersAddressInvalid.selector);
        _parameters.setTreasury(address(0));
        vm.expectPartialRevert(ICooperativeParameters.ParametersAddressInvalid.selector);
        _parameters.setRegistrar(address(0));
    }

    function test_AddPurpose_AppendsUpToThirtyTwo() public {
        for (uint8 i = 2; i < 32; ++i) {
            vm.assertEq(_parameters.addPurpose(string(abi.encodePacked("purpose-", bytes1(65 + i)))), i);
        }
        vm.assertEq(_parameters.purposeName(0), "research");
        vm.expectRevert(abi.encodeWithSelector(ICooperativeParameters.ParametersPurposeInvalid.selector, uint8(32)));
        _parameters.addPurpose("one-too-many");
    }

    function test_AddPurpose_RevertWhen_EmptyTakenOrTooLong() public {
        vm.expectPartialRevert(ICooperativeParameters.ParametersNameInvalid.selector);
        _parameters.addPurpose("");
        vm.expectPartialRevert(ICooperativeParameters.ParametersNameInvalid.selector);
        _parameters.addPurpose("research");
        vm.expectPartialRevert(ICooperativeParameters.ParametersNameInvalid.selector);
        _parameters.addPurpose(string(new bytes(65)));
    }

    function test_PurposeName_RevertWhen_Unknown() public {
        vm.expectRevert(abi.encodeWithSelector(ICooperativeParameters.ParametersPurposeInvalid.selector, uint8(2)));
        _parameters.purposeName(2);
    }
}
