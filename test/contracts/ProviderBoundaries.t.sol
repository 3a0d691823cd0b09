// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IProviderRegistry} from "../../contracts/interfaces/IProviderRegistry.sol";
import {Guarded} from "../../contracts/libraries/Guarded.sol";
import {Messages} from "../../contracts/libraries/Messages.sol";
import {ProviderRegistry} from "../../contracts/ProviderRegistry.sol";
import {TestDollar} from "../../contracts/TestDollar.sol";
import {CatalogDouble} from "./support/MarketDoubles.sol";
import {BlockingToken, FalseToken, LyingToken, MintableToken, ReentrantToken} from "./support/OddTokens.sol";
import {SplitDollar} from "./support/SplitDollar.sol";
import {TestKit} from "./support/Vm.sol";

/// What each act by signature does (that it is refused to others is shown elsewhere), and delays and stakes at their last unit.
contract ProviderBoundariesTest is TestKit {
    uint256 private constant START = 1_800_000_000;
    uint256 private constant KEY = 0x0B;
    uint128 private constant MIN_STAKE = 100e6;
    bytes32 private constant MODEL = "model";

    TestDollar private _token = new TestDollar();
    CatalogDouble private _catalog = new CatalogDouble();
    ProviderRegistry private _registry;
    address private _operator = vm.addr(KEY);

    function setUp() public {
        vm.warp(START);
        _catalog.set(MODEL, 1, 0, type(uint40).max);
        _registry = new ProviderRegistry(address(_token), address(_catalog), MIN_STAKE, 1 days);
        _token.mint(_operator, 3 * MIN_STAKE);
        vm.prank(_operator);
        _token.approve(address(_registry), 3 * MIN_STAKE);
    }

    function test_RegisterBySig_RegistersTheSigner() public {
        string memory name = string(new bytes(64));
        bytes32 structHash = this.registrationHash(name);
        _registry.registerBySig(_operator, address(5), "x25519", name, START, _signed(structHash));
        IProviderRegistry.Provider memory found = _registry.provider(_operator);
        vm.assertEq(found.sessionKey, address(5));
        vm.assertEq(found.encryptionKey, "x25519");
        vm.assertEq(found.name, name);
        vm.assertEq(_registry.operatorOf(address(5)), _operator);
    }

    function test_UnstakingBySig_GivesTheStakeBackInTheLastSecondOfTheDelay() public {
        _register();
        _stake(2 * MIN_STAKE);
        _registry.startUnstakingBySig(
            _operator, MIN_STAKE, START, _signed(Messages.hashStartUnstaking(_operator, MIN_STAKE, 1, START))
        );
        IProviderRegistry.Provider memory found = _registry.provider(_operator);
        vm.assertEq(found.stake, MIN_STAKE);
        vm.assertEq(found.unstaking, MIN_STAKE);
        vm.assertEq(found.unstakeAt, START + 1 days);
        bytes memory signature = _signed(Messages.hashUnstake(_operator, address(7), 2, START + 1 days));
        vm.warp(START + 1 days - 1);
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.ProviderStillUnstaking.selector, START + 1 days - 1, START + 1 days));
        _registry.unstakeBySig(_operator, address(7), START + 1 days, signature);
        vm.warp(START + 1 days);
        vm.assertEq(_registry.unstakeBySig(_operator, address(7), START + 1 days, signature), MIN_STAKE);
        vm.assertEq(_token.balanceOf(address(7)), MIN_STAKE);
        vm.assertEq(_registry.provider(_operator).unstaking, 0);
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.ProviderNothingUnstaking.selector, _operator));
        vm.prank(_operator);
        _registry.unstake(address(7));
    }

    /// A person's signature goes to the token as v, r and s, which is all that the oldest tokens with EIP-3009 take.
    function test_StakeWithAuthorization_NeedsNoTokenThatTakesBytes() public {
        SplitDollar split = new SplitDollar();
        split.mint(_operator, 5);
        _registry = new ProviderRegistry(address(split), address(_catalog), MIN_STAKE, 1 days);
        _register();
        bytes32 structHash = keccak256(
            abi.encode(split.receiveTypeHash(), _operator, address(_registry), 5, 0, START + 1, bytes32("nonce"))
        );
        bytes memory signature = _sign(KEY, keccak256(abi.encodePacked(hex"1901", split.domainSeparator(), structHash)));
        _registry.stakeWithAuthorization(_operator, 5, 0, START + 1, "nonce", signature);
        vm.assertEq(_registry.provider(_operator).stake, 5);
    }

    function test_StakeWithAuthorization_RevertWhen_TheOperatorIsUnknown() public {
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.ProviderUnknown.selector, _operator));
        _registry.stakeWithAuthorization(_operator, 5, 0, START + 1, "nonce", new bytes(65));
    }

    // Odd tokens; one that takes a fee, and one that returns nothing, are in ProviderRegistry.t.sol

    function test_FalseAndLyingTokens_StakeNothing() public {
        MintableToken odd = new FalseToken();
        _open(odd);
        vm.startPrank(_operator);
        vm.expectRevert(abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, address(odd)));
        _registry.stake(5);
        vm.stopPrank();
        odd = new LyingToken();
        _open(odd);
        odd.mint(address(_registry), 5);
        vm.startPrank(_operator);
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.ProviderTokenShortfall.selector, 0, 5));
        _registry.stake(5);
        vm.stopPrank();
        vm.assertEq(_registry.provider(_operator).stake, 0);
    }

    function test_BlockingToken_ABlockedOperatorTakesItsStakeElsewhere() public {
        MintableToken odd = new BlockingToken();
        _open(odd);
        _stake(5);
        odd.setBlocked(_operator, true);
        vm.startPrank(_operator);
        _registry.startUnstaking(5);
        vm.warp(START + 1 days);
        vm.expectRevert(abi.encodeWithSelector(MintableToken.Blocked.selector, _operator));
        _registry.unstake(_operator);
        _registry.unstake(address(7));
        vm.stopPrank();
        vm.assertEq(odd.balanceOf(address(7)), 5);
    }

    function test_ReentrantToken_IsRefusedWhereStakeMoves() public {
        ReentrantToken odd = new ReentrantToken();
        _open(odd);
        _stake(3);
        vm.prank(_operator);
        _registry.startUnstaking(2);
        vm.warp(START + 1 days);
        bytes[4] memory inner = [
            abi.encodeCall(IProviderRegistry.stake, (1)),
            abi.encodeCall(IProviderRegistry.stakeWithAuthorization, (_operator, 1, 0, 0, bytes32(0), "")),
            abi.encodeCall(IProviderRegistry.unstake, (address(7))),
            abi.encodeCall(IProviderRegistry.unstakeBySig, (_operator, address(7), START + 1 days, ""))
        ];
        for (uint256 i = 0; i < inner.length; ++i) {
            odd.aim(address(_registry), inner[i]);
            vm.startPrank(_operator);
            vm.expectRevert(Guarded.GuardedReentered.selector);
            _registry.unstake(address(7));
            vm.expectRevert(Guarded.GuardedReentered.selector);
            _registry.stake(1);
            vm.stopPrank();
        }
        vm.assertEq(_registry.provider(_operator).unstaking, 2);
        vm.assertEq(odd.balanceOf(address(_registry)), 3);
    }

    function test_OffersBySig_BeginAndEnd() public {
        _register();
        _stake(MIN_STAKE);
        _registry.setOfferBySig(_operator, MODEL, 3, 1, START, _signed(Messages.hashSetOffer(_operator, MODEL, 3, 1, 1, START)));
        IProviderRegistry.Offer memory found = _registry.offer(_operator, MODEL);
        vm.assertTrue(found.active);
        vm.assertEq(found.unit, 3);
        vm.assertEq(found.unitPrice, 1);
        _registry.endOfferBySig(_operator, MODEL, START, _signed(Messages.hashEndOffer(_operator, MODEL, 2, START)));
        vm.assertFalse(_registry.offer(_operator, MODEL).active);
        vm.assertEq(_registry.offer(_operator, MODEL).unitPrice, 0);
    }

    function test_SetOffer_TakesTheLeastStakeAndNotAUnitLess() public {
        _register();
        _stake(MIN_STAKE - 1);
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.ProviderStakeTooLow.selector, MIN_STAKE - 1, MIN_STAKE));
        vm.prank(_operator);
        _registry.setOffer(MODEL, 1, 1);
        _stake(1);
        vm.startPrank(_operator);
        _registry.setOffer(MODEL, 1, 1);
        vm.assertTrue(_registry.offer(_operator, MODEL).active);
        _registry.startUnstaking(1);
        vm.assertFalse(_registry.offer(_operator, MODEL).active);
        _registry.startUnstaking(MIN_STAKE - 1);
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.ProviderStakeTooLow.selector, uint256(0), uint256(1)));
        _registry.startUnstaking(1);
        vm.stopPrank();
        vm.assertEq(_registry.provider(_operator).unstaking, MIN_STAKE);
    }

    /// The library takes calldata.
    function registrationHash(string calldata name) external view returns (bytes32) {
        return Messages.hashRegisterProvider(_operator, address(5), "x25519", name, 0, START);
    }

    /// A registry that takes this token, of which the operator has five.
    function _open(MintableToken odd) private {
        _registry = new ProviderRegistry(address(odd), address(_catalog), MIN_STAKE, 1 days);
        _register();
        odd.mint(_operator, 5);
        vm.prank(_operator);
        odd.approve(address(_registry), 5);
    }

    function _register() private {
        vm.prank(_operator);
        _registry.register(address(5), "x25519", "Northern GPUs");
    }

    function _stake(uint128 amount) private {
        vm.prank(_operator);
        _registry.stake(amount);
    }

    function _signed(bytes32 structHash) private view returns (bytes memory) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Granary ProviderRegistry"),
                keccak256("1"),
                block.chainid,
                address(_registry)
            )
        );
        return _sign(KEY, keccak256(abi.encodePacked(hex"1901", domain, structHash)));
    }
}
