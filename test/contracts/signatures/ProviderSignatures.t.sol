// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {ProviderRegistry} from "../../../contracts/ProviderRegistry.sol";
import {TestDollar} from "../../../contracts/TestDollar.sol";
import {IProviderRegistry} from "../../../contracts/interfaces/IProviderRegistry.sol";
import {CatalogDouble, WalletDouble} from "../support/MarketDoubles.sol";
import {SignatureAttacks} from "../support/SignatureAttacks.sol";

contract ProviderSignaturesTest is SignatureAttacks {
    uint256 private constant REGISTER = 0;
    uint256 private constant SET_OFFER = 1;
    uint256 private constant END_OFFER = 2;
    uint256 private constant START_UNSTAKING = 3;
    uint256 private constant UNSTAKE = 4;

    uint256 private constant START = 1_800_000_000;
    uint256 private constant DEADLINE = START + 30 days;
    uint256 private constant KEY = 0x0B;
    uint128 private constant STAKE = 100e6;
    bytes32 private constant MODEL = keccak256("model");
    address private constant SESSION = address(0x5E);
    address private constant NEW_SESSION = address(0x5F);
    address private constant TO = address(0x70);

    TestDollar private token = new TestDollar();
    CatalogDouble private catalog = new CatalogDouble();
    ProviderRegistry private registry;
    address private operator = vm.addr(KEY);

    function setUp() public {
        vm.warp(START);
        catalog.set(MODEL, 1, 0, type(uint40).max);
        registry = new ProviderRegistry(address(token), address(catalog), STAKE, 1 days);
        token.mint(operator, 3 * STAKE);
        vm.startPrank(operator);
        token.approve(address(registry), 2 * STAKE);
        registry.register(SESSION, "x25519", "Northern GPUs");
        registry.stake(2 * STAKE);
        vm.stopPrank();
    }

    function _count() internal pure override returns (uint256) {
        return 5;
    }

    function _prepare(uint256 index) internal override returns (Act memory act) {
        act.verifier = address(registry);
        act.domain = "ProviderRegistry";
        act.key = KEY;
        act.refusal = IProviderRegistry.ProviderSignatureInvalid.selector;
        (act.deadline, act.expiry) = (DEADLINE, IProviderRegistry.ProviderSignatureExpired.selector);
        if (index == REGISTER) {
            act.name = "registerBySig";
            act.words = _words(
                "RegisterProvider(address operator,address sessionKey,bytes32 encryptionKey,string name,uint256 nonce,uint256 deadline)",
                abi.encode(operator, NEW_SESSION, bytes32("new"), keccak256("Southern GPUs"), registry.nonces(operator), DEADLINE)
            );
        } else if (index == SET_OFFER) {
            act.name = "setOfferBySig";
            act.words = _offerWords(registry.nonces(operator));
        } else if (index == END_OFFER) {
            vm.prank(operator);
            registry.setOffer(MODEL, 2, 5);
            act.name = "endOfferBySig";
            act.words = _words("EndOffer(address operator,bytes32 modelId,uint256 nonce,uint256 deadline)", abi.encode(operator, MODEL, registry.nonces(operator), DEADLINE));
        } else if (index == START_UNSTAKING) {
            act.name = "startUnstakingBySig";
            act.words = _words(
                "StartUnstaking(address operator,uint128 amount,uint256 nonce,uint256 deadline)", abi.encode(operator, STAKE, registry.nonces(operator), DEADLINE)
            );
        } else {
            vm.prank(operator);
            registry.startUnstaking(STAKE);
            vm.warp(block.timestamp + 1 days);
            act.name = "unstakeBySig";
            act.words = _words("Unstake(address operator,address to,uint256 nonce,uint256 deadline)", abi.encode(operator, TO, registry.nonces(operator), DEADLINE));
        }
    }

    function _offerWords(uint256 nonce) private view returns (bytes32[] memory) {
        return _words(
            "SetOffer(address operator,bytes32 modelId,uint8 unit,uint128 unitPrice,uint256 nonce,uint256 deadline)",
            abi.encode(operator, MODEL, 2, 5, nonce, DEADLINE)
        );
    }

    function _encode(uint256 index, bytes memory signature) internal view override returns (bytes memory) {
        if (index == REGISTER) {
            return abi.encodeCall(IProviderRegistry.registerBySig, (operator, NEW_SESSION, "new", "Southern GPUs", DEADLINE, signature));
        }
        if (index == SET_OFFER) return abi.encodeCall(IProviderRegistry.setOfferBySig, (operator, MODEL, 2, 5, DEADLINE, signature));
        if (index == END_OFFER) return abi.encodeCall(IProviderRegistry.endOfferBySig, (operator, MODEL, DEADLINE, signature));
        if (index == START_UNSTAKING) return abi.encodeCall(IProviderRegistry.startUnstakingBySig, (operator, STAKE, DEADLINE, signature));
        return abi.encodeCall(IProviderRegistry.unstakeBySig, (operator, TO, DEADLINE, signature));
    }

    function _state(uint256) internal view override returns (bytes32) {
        return keccak256(abi.encode(registry.provider(operator), registry.offer(operator, MODEL), token.balanceOf(TO), registry.nonces(operator)));
    }

    /// An old key must not come back, nor an old price, by an act that somebody held back: the next act has used its number.
    function test_SetOfferBySig_HeldBackDiesWithTheNextAct() public {
        Act memory act = _prepare(SET_OFFER);
        bytes memory heldBack = _signWith(KEY, act);
        registry.startUnstakingBySig(operator, STAKE, DEADLINE, _signWith(KEY, _prepare(START_UNSTAKING)));
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.ProviderSignatureInvalid.selector, operator));
        registry.setOfferBySig(operator, MODEL, 2, 5, DEADLINE, heldBack);
        act.words = _offerWords(registry.nonces(operator));
        registry.setOfferBySig(operator, MODEL, 2, 5, DEADLINE, _signWith(KEY, act));
        vm.assertEq(registry.offer(operator, MODEL).unitPrice, 5);
    }

    /// The operator's own transaction is a next act like any other, whichever of them it is.
    function test_SetOfferBySig_HeldBackDiesWithADirectActToo() public {
        bytes[5] memory acts = [
            abi.encodeCall(IProviderRegistry.register, (NEW_SESSION, "new", "Southern GPUs")),
            abi.encodeCall(IProviderRegistry.setOffer, (MODEL, 2, 50)),
            abi.encodeCall(IProviderRegistry.endOffer, (MODEL)),
            abi.encodeCall(IProviderRegistry.startUnstaking, (STAKE)),
            abi.encodeCall(IProviderRegistry.unstake, (TO))
        ];
        vm.startPrank(operator);
        registry.setOffer(MODEL, 2, 50);
        registry.startUnstaking(1);
        vm.stopPrank();
        vm.warp(START + 1 days);
        for (uint256 i = 0; i < acts.length; ++i) {
            uint256 before = vm.snapshotState();
            bytes memory heldBack = _signWith(KEY, _prepare(SET_OFFER));
            vm.prank(operator);
            (bool ok,) = address(registry).call(acts[i]);
            vm.assertTrue(ok, "the direct act");
            vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.ProviderSignatureInvalid.selector, operator));
            registry.setOfferBySig(operator, MODEL, 2, 5, DEADLINE, heldBack);
            vm.revertToState(before);
            vm.warp(START + 1 days);
        }
    }

    // Staking is signed for the token (EIP-3009).

    function test_StakeWithAuthorization_BecomesTheOperatorsStakeWhoeverRelaysIt() public {
        bytes memory signature = _authorize(KEY, operator, address(registry), STAKE);
        vm.prank(address(0xBAD));
        registry.stakeWithAuthorization(operator, STAKE, 0, DEADLINE, "nonce", signature);
        vm.assertEq(registry.provider(operator).stake, 3 * STAKE);
        vm.assertEq(token.balanceOf(address(registry)), 3 * STAKE);
    }

    function test_StakeWithAuthorization_RevertWhen_MutatedExpiredReplayedOrForAnother() public {
        bytes memory signature = _authorize(KEY, operator, address(registry), STAKE);
        _expectNoStake(operator, STAKE - 1, DEADLINE, signature);
        _expectNoStake(operator, STAKE, DEADLINE - 1, signature);
        _expectNoStake(operator, STAKE, DEADLINE, _authorize(0xBAD, operator, address(registry), STAKE));
        _expectNoStake(operator, STAKE, DEADLINE, _authorize(KEY, operator, address(0xBAD), STAKE));
        _expectNoStake(vm.addr(0xBAD), STAKE, DEADLINE, signature);
        vm.warp(DEADLINE + 1);
        _expectNoStake(operator, STAKE, DEADLINE, signature);
        vm.warp(START);
        registry.stakeWithAuthorization(operator, STAKE, 0, DEADLINE, "nonce", signature);
        token.mint(operator, STAKE);
        _expectNoStake(operator, STAKE, DEADLINE, signature);
    }

    function test_StakeWithAuthorization_TakesAContractWalletWhileItIsWilling() public {
        vm.etch(operator, address(new WalletDouble(vm.addr(0x3A11E7))).code);
        bytes memory signature = _authorize(0x3A11E7, operator, address(registry), STAKE);
        _expectNoStake(operator, STAKE, DEADLINE, signature);
        WalletDouble(operator).setWilling(true);
        registry.stakeWithAuthorization(operator, STAKE, 0, DEADLINE, "nonce", signature);
        vm.assertEq(registry.provider(operator).stake, 3 * STAKE);
    }

    function test_ActsBySig_RevertWhen_NeverRegistered() public {
        Act memory act = _prepare(START_UNSTAKING);
        address nobody = vm.addr(0x0C);
        (act.words[1], act.words[3]) = (bytes32(uint256(uint160(nobody))), bytes32(0));
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.ProviderUnknown.selector, nobody));
        registry.startUnstakingBySig(nobody, STAKE, DEADLINE, _signWith(0x0C, act));
    }

    function _expectNoStake(address from, uint128 amount, uint256 validBefore, bytes memory signature) private {
        uint128 before = registry.provider(operator).stake;
        vm.expectRevert();
        registry.stakeWithAuthorization(from, amount, 0, validBefore, "nonce", signature);
        vm.assertEq(registry.provider(operator).stake, before);
    }

    function _authorize(uint256 key, address from, address to, uint256 value) private view returns (bytes memory) {
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256(
                    "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
                ),
                from,
                to,
                value,
                0,
                DEADLINE,
                bytes32("nonce")
            )
        );
        return _sign(key, keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), structHash)));
    }
}
