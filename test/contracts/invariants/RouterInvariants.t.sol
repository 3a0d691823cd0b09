// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {InferenceEscrow} from "../../../contracts/InferenceEscrow.sol";
import {TestDollar} from "../../../contracts/TestDollar.sol";
import {X402Router} from "../../../contracts/X402Router.sol";
import {IX402Router} from "../../../contracts/interfaces/IX402Router.sol";
import {CatalogDouble, ParametersDouble} from "../support/MarketDoubles.sol";
import {RouterActs} from "../support/RouterFixture.sol";
import {TestKit} from "../support/Vm.sol";

/// README.md says each in words.
contract RouterInvariantsTest is TestKit {
    TestDollar internal token;
    InferenceEscrow internal escrow;
    X402Router internal router;
    RouterHandler internal handler;

    function setUp() public {
        vm.warp(1_800_000_000);
        token = new TestDollar();
        CatalogDouble catalog = new CatalogDouble();
        escrow = new InferenceEscrow(address(token), address(catalog), address(catalog), address(new ParametersDouble()), 1 hours);
        handler = new RouterHandler(token, escrow);
        router = handler.router();
        _target(address(handler));
    }

    /// The handler reaches what the invariants speak of; otherwise they would say nothing.
    function test_Handler_PaysSweepsAndRefunds() public {
        for (uint256 i = 0; i < 40; ++i) {
            handler.pay(i, 1000 + i);
            if (i % 2 == 0) handler.refund(i, i);
            if (i % 3 == 0) handler.sweep(i * 100);
            if (i % 5 == 0) handler.cancel(i);
            handler.attack(i);
        }
        vm.assertTrue(handler.refundedSum() > 0 && router.swept() > 0 && handler.refusals() > 0 && handler.cancelled() > 0);
        invariant_RouterHoldsWhatWasNeitherSweptNorRefunded();
        invariant_RefundsGoToPayersOnceAtMostTheValue();
        invariant_WhatWasSweptIsInTheHouseAccount();
        invariant_NobodyElseMovesAnything();
    }

    function invariant_RouterHoldsWhatWasNeitherSweptNorRefunded() public view {
        uint256 left = handler.paidSum() + handler.donated() - handler.refundedSum() - router.swept();
        vm.assertEq(token.balanceOf(address(router)), left, "held = in - swept - refunded");
    }

    function invariant_RefundsGoToPayersOnceAtMostTheValue() public view {
        uint256 sum = 0;
        for (uint256 i = 0; i < handler.payments(); ++i) {
            (address from, uint256 value, bytes32 nonce) = handler.paymentAt(i);
            uint256 refunded = router.refunded(from, nonce);
            vm.assertLe(refunded, value, "refund <= value");
            sum += refunded;
        }
        vm.assertEq(sum, handler.refundedSum(), "only payments are refunded");
        for (uint256 i = 0; i < handler.PAYERS(); ++i) {
            address payer = handler.payerAt(i);
            vm.assertEq(token.balanceOf(payer), handler.fundedOf(payer) - handler.paidBy(payer) + handler.refundedTo(payer), "payer");
        }
    }

    function invariant_WhatWasSweptIsInTheHouseAccount() public view {
        vm.assertEq(escrow.balance(router.ACCOUNT_ID()).deposit, router.swept(), "deposit = swept");
        vm.assertEq(token.balanceOf(address(escrow)), router.swept(), "escrow holds it");
        vm.assertEq(token.allowance(address(router), address(escrow)), 0, "no allowance stays");
    }

    function invariant_NobodyElseMovesAnything() public view {
        vm.assertEq(handler.breaches(), 0, "an attack succeeded");
    }
}

/// @title Acts as payers, their front-runners, the collector and strangers, and keeps ghost sums.
/// @dev In this file because the runner finds only targets of the file that it runs.
contract RouterHandler is RouterActs {
    uint256 public constant PAYERS = 3;
    uint256 private constant COLLECTOR_KEY = 0xC0C0;
    uint256 private constant HOUSE_KEY = 0x402;
    uint256 private constant FIRST_PAYER = 0xA11CE;

    struct Payment {
        IX402Router.Authorization authorization;
        bytes signature;
        bool executed;
    }

    TestDollar private immutable TOKEN;
    X402Router public immutable router;
    Payment[] private _payments;
    uint256 private _nonces;

    uint256 public paidSum;
    uint256 public donated;
    uint256 public refundedSum;
    uint256 public cancelled;
    uint256 public refusals;
    uint256 public breaches;
    mapping(address payer => uint256) public fundedOf;
    mapping(address payer => uint256) public paidBy;
    mapping(address payer => uint256) public refundedTo;

    constructor(TestDollar token, InferenceEscrow escrow) {
        TOKEN = token;
        router = new X402Router(escrow, vm.addr(COLLECTOR_KEY), vm.addr(HOUSE_KEY));
        for (uint256 i = 0; i < PAYERS; ++i) {
            token.mint(payerAt(i), 1_000_000e6);
            fundedOf[payerAt(i)] = 1_000_000e6;
        }
    }

    /// Anyone submits a payer's authorization.
    function pay(uint256 who, uint256 value) external {
        (Payment storage payment, address payer) = _sign(who, _bound(value, 1, 1e6));
        _execute(TOKEN, address(router), payment.authorization, payment.signature);
        payment.executed = true;
        paidSum += payment.authorization.value;
        paidBy[payer] += payment.authorization.value;
    }

    function cancel(uint256 who) external {
        (Payment storage payment, address payer) = _sign(who, 100);
        bytes32 nonce = payment.authorization.nonce;
        TOKEN.cancelAuthorization(payer, nonce, _sign(_keyAt(who), _cancelDigest(TOKEN, payer, nonce)));
        ++cancelled;
    }

    function donate(uint256 amount) external {
        amount = _bound(amount, 1, 1e6);
        TOKEN.mint(address(router), amount);
        donated += amount;
    }

    /// Of what is there, or an old total again.
    function sweep(uint256 total) external {
        uint256 most = router.swept() + TOKEN.balanceOf(address(router));
        total = _bound(total, 0, most);
        uint128 before = router.swept();
        uint128 amount = router.sweep(uint128(total), _sign(HOUSE_KEY, _sweepDigest(router, uint128(total))));
        if (amount != (total > before ? total - before : 0)) ++breaches;
    }

    /// As the collector should: what was executed, once, and not more than is held.
    function refund(uint256 which, uint256 amount) external {
        if (_payments.length == 0) return;
        Payment storage payment = _payments[which % _payments.length];
        (address from, bytes32 nonce) = (payment.authorization.from, payment.authorization.nonce);
        uint256 held = TOKEN.balanceOf(address(router));
        if (!payment.executed || router.refunded(from, nonce) > 0 || held == 0) return;
        uint256 value = payment.authorization.value;
        amount = _bound(amount, 1, value < held ? value : held);
        bytes memory signature = _sign(COLLECTOR_KEY, _refundDigest(router, from, nonce, uint128(amount)));
        router.refund(payment.authorization, uint128(amount), payment.signature, signature);
        refundedSum += amount;
        refundedTo[from] += amount;
    }

    /// Nobody but the collector moves money; the collector none twice, none beyond the value, and none for what is unsigned or unused.
    function attack(uint256 seed) external {
        if (_payments.length == 0) return;
        Payment memory payment = _payments[seed % _payments.length];
        IX402Router.Authorization memory authorization = payment.authorization;
        (address from, bytes32 nonce) = (authorization.from, authorization.nonce);
        bytes memory forged = _sign(FIRST_PAYER, _refundDigest(router, from, nonce, 1));
        _expectRefused(abi.encodeCall(router.refund, (authorization, 1, payment.signature, forged)));
        _expectRefused(abi.encodeCall(router.refund, (authorization, 1, payment.signature, "")));
        _expectRefused(abi.encodeCall(router.sweep, (type(uint128).max, "")));
        _expectRefused(abi.encodeCall(router.sweep, (1, _sign(FIRST_PAYER, _sweepDigest(router, 1)))));
        uint128 beyond = uint128(authorization.value + 1);
        _expectRefused(abi.encodeCall(router.refund, (authorization, beyond, payment.signature, _byKey(from, nonce, beyond))));
        if (router.refunded(from, nonce) > 0) {
            _expectRefused(abi.encodeCall(router.refund, (authorization, 1, payment.signature, _byKey(from, nonce, 1))));
        }
        authorization.nonce = keccak256(abi.encode("never signed", seed));
        _expectRefused(abi.encodeCall(router.refund, (authorization, 1, payment.signature, _byKey(from, authorization.nonce, 1))));
    }

    function payments() external view returns (uint256) {
        return _payments.length;
    }

    function paymentAt(uint256 index) external view returns (address from, uint256 value, bytes32 nonce) {
        IX402Router.Authorization storage authorization = _payments[index].authorization;
        return (authorization.from, authorization.value, authorization.nonce);
    }

    function payerAt(uint256 who) public pure returns (address) {
        return vm.addr(_keyAt(who));
    }

    function _sign(uint256 who, uint256 value) private returns (Payment storage payment, address payer) {
        payer = payerAt(who);
        payment = _payments.push();
        payment.authorization = _authorization(payer, value, bytes32(++_nonces));
        payment.signature = _signPayment(_keyAt(who), TOKEN, address(router), payment.authorization);
    }

    function _byKey(address from, bytes32 nonce, uint128 amount) private view returns (bytes memory) {
        return _sign(HOUSE_KEY, _refundDigest(router, from, nonce, amount));
    }

    function _expectRefused(bytes memory call_) private {
        (bool done,) = address(router).call(call_);
        if (done) ++breaches;
        else ++refusals;
    }

    function _keyAt(uint256 who) private pure returns (uint256) {
        return FIRST_PAYER + (who % PAYERS);
    }
}
