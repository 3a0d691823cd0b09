// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {ProviderRegistry} from "../../contracts/ProviderRegistry.sol";
import {TestDollar} from "../../contracts/TestDollar.sol";
import {IProviderRegistry} from "../../contracts/interfaces/IProviderRegistry.sol";
import {CatalogDouble} from "./support/MarketDoubles.sol";
import {FeeToken, SilentToken} from "./support/OddTokens.sol";
import {TestKit} from "./support/Vm.sol";

contract ProviderRegistryTest is TestKit {
    uint128 internal constant MIN_STAKE = 100e6;
    uint40 internal constant UNSTAKE = 1 days;
    bytes32 internal constant MODEL = keccak256("model");
    bytes32 internal constant X25519 = keccak256("x25519");

    TestDollar internal token;
    CatalogDouble internal catalog;
    ProviderRegistry internal registry;
    address internal operator = address(0x0B);
    address internal sessionKey = address(0x5E);

    function setUp() public {
        vm.warp(1_800_000_000);
        token = new TestDollar();
        catalog = new CatalogDouble();
        catalog.set(MODEL, 1, 0, type(uint40).max);
        registry = new ProviderRegistry(address(token), address(catalog), MIN_STAKE, UNSTAKE);
    }

    function test_Register_StoresKeysAndName() public {
        _register();
        IProviderRegistry.Provider memory found = registry.provider(operator);
        vm.assertEq(found.sessionKey, sessionKey);
        vm.assertEq(found.encryptionKey, X25519);
        vm.assertEq(found.name, "Northern GPUs");
        vm.assertEq(registry.operatorOf(sessionKey), operator);
    }

    function test_Register_ChangesKeysAndKeepsTheOldOnesOwner() public {
        _register();
        vm.prank(operator);
        registry.register(address(0x5F), bytes32(uint256(2)), "New name");
        vm.assertEq(registry.provider(operator).sessionKey, address(0x5F));
        vm.assertEq(registry.operatorOf(address(0x5F)), operator);
        vm.assertEq(registry.operatorOf(sessionKey), operator);
    }

    function testFuzz_Register_RevertWhen_KeyTaken(address other) public {
        vm.assume(other != operator);
        _register();
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.ProviderKeyTaken.selector, sessionKey, operator));
        vm.prank(other);
        registry.register(sessionKey, X25519, "");
    }

    function test_Register_RevertWhen_KeyIsZeroOrNameTooLong() public {
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.ProviderKeyInvalid.selector, address(0)));
        registry.register(address(0), X25519, "");
        registry.register(sessionKey, X25519, string(new bytes(64)));
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.ProviderNameTooLong.selector, 65, 64));
        registry.register(sessionKey, X25519, string(new bytes(65)));
    }

    function testFuzz_Stake_ComesBackWholeAfterTheDelay(uint128 amount, uint128 part) public {
        amount = uint128(_bound(amount, 1, token.MAX_MINT()));
        part = uint128(_bound(part, 1, amount));
        _register();
        _stake(amount);
        vm.prank(operator);
        registry.startUnstaking(part);
        uint40 due = uint40(block.timestamp) + UNSTAKE;
        vm.warp(due - 1);
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.ProviderStillUnstaking.selector, due - 1, due));
        vm.prank(operator);
        registry.unstake(operator);
        vm.warp(due);
        vm.prank(operator);
        vm.assertEq(registry.unstake(address(0xCAFE)), part);
        vm.assertEq(token.balanceOf(address(0xCAFE)), part);
        vm.assertEq(registry.provider(operator).stake, amount - part);
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.ProviderNothingUnstaking.selector, operator));
        vm.prank(operator);
        registry.unstake(operator);
    }

    function test_StartUnstaking_RestartsTheClockForAll() public {
        _register();
        _stake(100);
        vm.startPrank(operator);
        registry.startUnstaking(40);
        vm.warp(block.timestamp + UNSTAKE - 1);
        registry.startUnstaking(60);
        vm.stopPrank();
        vm.assertEq(registry.provider(operator).unstaking, 100);
        vm.assertEq(registry.provider(operator).unstakeAt, block.timestamp + UNSTAKE);
    }

    function test_StartUnstaking_RevertWhen_MoreThanStaked() public {
        _register();
        _stake(10);
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.ProviderStakeTooLow.selector, 10, 11));
        vm.prank(operator);
        registry.startUnstaking(11);
    }

    function test_Stake_RevertWhen_UnregisteredOrShort() public {
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.ProviderUnknown.selector, operator));
        vm.prank(operator);
        registry.stake(1);

        FeeToken taking = new FeeToken();
        registry = new ProviderRegistry(address(taking), address(catalog), MIN_STAKE, UNSTAKE);
        _register();
        taking.mint(operator, 1_000);
        vm.startPrank(operator);
        taking.approve(address(registry), 1_000);
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.ProviderTokenShortfall.selector, 990, 1_000));
        registry.stake(1_000);
        vm.stopPrank();
    }

    function test_Stake_TakesATokenThatReturnsNothing() public {
        SilentToken silent = new SilentToken();
        registry = new ProviderRegistry(address(silent), address(catalog), MIN_STAKE, UNSTAKE);
        _register();
        silent.mint(operator, 5);
        vm.startPrank(operator);
        silent.approve(address(registry), 5);
        registry.stake(5);
        registry.startUnstaking(5);
        vm.warp(block.timestamp + UNSTAKE);
        registry.unstake(operator);
        vm.stopPrank();
        vm.assertEq(silent.balanceOf(operator), 5);
    }

    function testFuzz_SetOffer_NeedsStake(uint128 stake) public {
        stake = uint128(_bound(stake, 1, MIN_STAKE * 2));
        _register();
        _stake(stake);
        bool enough = stake >= MIN_STAKE;
        if (!enough) vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.ProviderStakeTooLow.selector, stake, MIN_STAKE));
        vm.prank(operator);
        registry.setOffer(MODEL, 2, 5);
        vm.assertTrue(registry.offer(operator, MODEL).active == enough);
    }

    function test_Offer_IsInactiveBelowMinStakeAndWhenEnded() public {
        _register();
        _stake(MIN_STAKE);
        vm.startPrank(operator);
        registry.setOffer(MODEL, 2, 5);
        vm.assertEq(registry.offer(operator, MODEL).unitPrice, 5);
        vm.assertEq(registry.offer(operator, MODEL).unit, 2);
        registry.startUnstaking(1);
        vm.assertFalse(registry.offer(operator, MODEL).active);
        registry.endOffer(MODEL);
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.ProviderModelUnknown.selector, MODEL));
        registry.endOffer(MODEL);
        vm.stopPrank();
    }

    function test_SetOffer_RevertWhen_ModelUnknownOrFree() public {
        _register();
        _stake(MIN_STAKE);
        vm.startPrank(operator);
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.ProviderPriceInvalid.selector, 0));
        registry.setOffer(MODEL, 1, 0);
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.ProviderModelUnknown.selector, bytes32(0)));
        registry.setOffer(bytes32(0), 1, 5);
        vm.stopPrank();
    }

    function test_Domain_IsNamedAfterTheRegistry() public view {
        (, string memory name, string memory version,,,,) = registry.eip712Domain();
        vm.assertEq(name, "Granary ProviderRegistry");
        vm.assertEq(version, "1");
    }

    function _register() private {
        vm.expectEmit(address(registry));
        emit IProviderRegistry.ProviderRegistered(operator, sessionKey, X25519, "Northern GPUs");
        vm.prank(operator);
        registry.register(sessionKey, X25519, "Northern GPUs");
    }

    function _stake(uint128 amount) private {
        uint256 held = token.balanceOf(address(registry));
        token.mint(operator, amount);
        vm.startPrank(operator);
        token.approve(address(registry), amount);
        registry.stake(amount);
        vm.stopPrank();
        vm.assertEq(token.balanceOf(address(registry)), held + amount);
        vm.assertEq(registry.provider(operator).stake, amount);
    }
}
