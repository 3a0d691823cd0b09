// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {X402Router} from "../../contracts/X402Router.sol";
import {IInferenceEscrow} from "../../contracts/interfaces/IInferenceEscrow.sol";
import {IX402Router} from "../../contracts/interfaces/IX402Router.sol";
import {Guarded} from "../../contracts/libraries/Guarded.sol";
import {Messages} from "../../contracts/libraries/Messages.sol";
import {Drafts} from "./support/Drafts.sol";
import {EscrowFixture} from "./support/EscrowFixture.sol";
import {WalletDouble} from "./support/MarketDoubles.sol";
import {ReentrantDollar, RouterActs, RouterMaker} from "./support/RouterFixture.sol";

contract X402RouterTest is EscrowFixture, RouterActs {
    uint256 internal constant HOUSE_KEY = 0x402;
    uint256 internal constant STRANGER_KEY = 0xBAD;
    bytes32 internal constant NONCE = keccak256("payment");

    X402Router internal router;
    address internal stranger = vm.addr(STRANGER_KEY);

    function setUp() public override {
        super.setUp();
        router = new X402Router(escrow, collector, vm.addr(HOUSE_KEY));
        token.mint(payer, 100e6);
    }

    // Arrival and sweep

    function test_Constructor_GrantsTheKeyOfTheHouseAccountForGood() public view {
        IInferenceEscrow.Account memory house = router.houseAccount();
        vm.assertEq(house.payer, address(router));
        vm.assertEq(house.collector, collector);
        vm.assertEq(uint256(house.thawSeconds), 2 * uint256(MAX_AGE));
        vm.assertEq(router.ACCOUNT_ID(), escrow.accountIdOf(house));
        IInferenceEscrow.Key memory key = escrow.key(router.ACCOUNT_ID(), vm.addr(HOUSE_KEY));
        vm.assertEq(uint256(key.cap), type(uint80).max);
        vm.assertEq(uint256(key.notAfter), type(uint40).max);
        vm.assertEq(uint256(key.nonce), 1);
        vm.assertEq(address(router.TOKEN()), address(token));
    }

    function test_Constructor_RevertWhen_NobodyCollects() public {
        vm.expectRevert(abi.encodeWithSelector(IX402Router.RouterKeyInvalid.selector, address(0)));
        new X402Router(escrow, address(0), vm.addr(HOUSE_KEY));
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowKeyInvalid.selector, address(0)));
        new X402Router(escrow, collector, address(0));
    }

    function test_Constructor_RevertWhen_TheRouterCollectsForItself() public {
        RouterMaker maker = new RouterMaker();
        vm.expectRevert(abi.encodeWithSelector(IX402Router.RouterKeyInvalid.selector, maker.first()));
        maker.makeFirst(escrow, vm.addr(HOUSE_KEY));
    }

    function test_Sweep_TheSameTotalAgainMovesAndSaysNothing() public {
        token.mint(address(router), 7);
        bytes memory signature = _sign(HOUSE_KEY, _sweepDigest(router, 7));
        vm.assertEq(_sweep(7, signature), 7);
        vm.recordLogs();
        vm.assertEq(_sweep(7, signature), 0);
        vm.assertEq(vm.getRecordedLogs().length, 0);
    }

    function testFuzz_Sweep_TotalsAreCumulativeAndARepeatMovesNothing(uint64 first, uint64 second) public {
        first = uint64(_bound(first, 1, token.MAX_MINT()));
        second = uint64(_bound(second, first, first + token.MAX_MINT()));
        token.mint(address(router), first);
        if (second > first) token.mint(address(router), second - first);
        bytes memory firstSignature = _sign(HOUSE_KEY, _sweepDigest(router, first));
        vm.assertEq(_sweep(first, firstSignature), first);
        vm.assertEq(_sweep(second, _sign(COLLECTOR_KEY, _sweepDigest(router, second))), second - first);
        vm.assertEq(_sweep(first, firstSignature), 0);
        vm.assertEq(uint256(router.swept()), second);
    }

    function test_Sweep_ByCollectorAndKeyThemselves() public {
        token.mint(address(router), 3);
        vm.prank(collector);
        vm.assertEq(router.sweep(1, ""), 1);
        vm.prank(vm.addr(HOUSE_KEY));
        vm.assertEq(router.sweep(3, ""), 2);
    }

    function test_Sweep_RevertWhen_NobodyOfTheCollectorAsked() public {
        token.mint(address(router), 5);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IX402Router.RouterNotCollector.selector, stranger, collector, vm.addr(HOUSE_KEY)));
        router.sweep(5, "");
        _sweepRefused(_sign(STRANGER_KEY, _sweepDigest(router, 5)));
        _sweepRefused(_sign(HOUSE_KEY, _sweepDigest(router, 4)));
        _sweepRefused(hex"00");
    }

    function test_Sweep_RevertWhen_SignedForAnotherChainOrRouterOrWithHighS() public {
        token.mint(address(router), 5);
        bytes32 elsewhere = MessageHashUtils.toTypedDataHash(_routerDomain(address(router), 1), Messages.hashSweep(5));
        _sweepRefused(_sign(HOUSE_KEY, elsewhere));
        X402Router other = new X402Router(escrow, collector, vm.addr(HOUSE_KEY));
        _sweepRefused(_sign(HOUSE_KEY, _sweepDigest(other, 5)));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(HOUSE_KEY, _sweepDigest(router, 5));
        uint256 order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        _sweepRefused(abi.encodePacked(r, order - uint256(s), v == 27 ? uint8(28) : uint8(27)));
    }

    function test_Sweep_RevertWhen_LessIsHeld() public {
        token.mint(address(router), 5);
        vm.prank(collector);
        vm.expectRevert(abi.encodeWithSelector(IX402Router.RouterBalanceShort.selector, 6, 5));
        router.sweep(6, "");
    }

    function test_Sweep_MoneySettlesByTheKeysVouchers() public {
        _pay(10e6, NONCE);
        _sweep(10e6, _sign(HOUSE_KEY, _sweepDigest(router, 10e6)));
        Drafts.Batch memory batch = _batch(_rowOf(router.houseAccount(), HOUSE_KEY, 0, 1e6, _parts(1e6)));
        vm.assertEq(_settle(batch), 1e6);
        vm.assertEq(escrow.balance(router.ACCOUNT_ID()).charged, 1e6);
    }

    function test_HouseAccount_NobodyThawsIt() public {
        _pay(10e6, NONCE);
        _sweep(10e6, _sign(HOUSE_KEY, _sweepDigest(router, 10e6)));
        IInferenceEscrow.Account memory house = router.houseAccount();
        address[3] memory askers = [collector, vm.addr(HOUSE_KEY), payer];
        for (uint256 i = 0; i < askers.length; ++i) {
            vm.prank(askers[i]);
            vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowNotPayer.selector, askers[i], address(router)));
            escrow.startThaw(house, 1);
        }
    }

    // Refund

    function testFuzz_Refund_PaysThePayerOnceAtMostTheValue(uint64 value, uint64 amount, bool relayed) public {
        value = uint64(_bound(value, 1, 100e6));
        amount = uint64(_bound(amount, 1, value));
        (IX402Router.Authorization memory paid, bytes memory signature) = _pay(value, NONCE);
        uint256 before = token.balanceOf(payer);
        vm.expectEmit(address(router));
        emit IX402Router.Refunded(payer, NONCE, amount);
        if (!relayed) vm.prank(collector);
        router.refund(paid, amount, signature, relayed ? _sign(HOUSE_KEY, _refundDigest(router, payer, NONCE, amount)) : bytes(""));
        vm.assertEq(token.balanceOf(payer), before + amount);
        vm.assertEq(token.balanceOf(address(router)), value - amount);
        vm.assertEq(uint256(router.refunded(payer, NONCE)), amount);

        vm.expectRevert(abi.encodeWithSelector(IX402Router.RouterAlreadyRefunded.selector, payer, NONCE, amount));
        vm.prank(collector);
        router.refund(paid, 1, signature, "");
    }

    function test_Refund_WhoSubmittedTheAuthorizationDoesNotMatter() public {
        IX402Router.Authorization memory paid = _authorization(payer, 7, NONCE);
        bytes memory signature = _signPayment(PAYER_KEY, token, address(router), paid);
        vm.prank(stranger);
        token.transferWithAuthorization(paid.from, address(router), paid.value, paid.validAfter, paid.validBefore, paid.nonce, signature);
        vm.prank(collector);
        router.refund(paid, 7, signature, "");
        vm.assertEq(token.balanceOf(payer), 100e6);
    }

    function test_Refund_RevertWhen_TheAuthorizationWasNotExecuted() public {
        token.mint(address(router), 7);
        IX402Router.Authorization memory unpaid = _authorization(payer, 7, NONCE);
        bytes memory signature = _signPayment(PAYER_KEY, token, address(router), unpaid);
        vm.prank(collector);
        vm.expectRevert(abi.encodeWithSelector(IX402Router.RouterAuthorizationUnused.selector, payer, NONCE));
        router.refund(unpaid, 7, signature, "");
    }

    function testFuzz_Refund_RevertWhen_AnythingDiffersFromWhatThePayerSigned(uint8 which) public {
        (IX402Router.Authorization memory paid, bytes memory signature) = _pay(7, NONCE);
        token.mint(address(router), 100);
        which = uint8(_bound(which, 0, 5));
        if (which == 0) paid.from = stranger;
        if (which == 1) paid.value = 8;
        if (which == 2) paid.validAfter = 1;
        if (which == 3) paid.validBefore -= 1;
        if (which == 4) paid.nonce = keccak256("another payment");
        if (which == 5) signature = _signPayment(PAYER_KEY, token, stranger, paid);
        vm.prank(collector);
        vm.expectRevert(abi.encodeWithSelector(IX402Router.RouterAuthorizationForged.selector, paid.from, paid.nonce));
        router.refund(paid, 1, signature, "");
    }

    function test_Refund_RevertWhen_SignedForAnotherChain() public {
        (IX402Router.Authorization memory paid, bytes memory signature) = _pay(7, NONCE);
        vm.chainId(1337);
        vm.prank(collector);
        vm.expectRevert(abi.encodeWithSelector(IX402Router.RouterAuthorizationForged.selector, payer, NONCE));
        router.refund(paid, 7, signature, "");
    }

    function test_Refund_OfTheLeastAndOfAllThatIsHeld() public {
        (IX402Router.Authorization memory first, bytes memory firstSignature) = _pay(7, NONCE);
        vm.prank(collector);
        router.refund(first, 1, firstSignature, "");
        _sweep(6, _sign(HOUSE_KEY, _sweepDigest(router, 6)));
        (IX402Router.Authorization memory second, bytes memory secondSignature) = _pay(9, keccak256("second"));
        vm.prank(collector);
        router.refund(second, 9, secondSignature, "");
        vm.assertEq(token.balanceOf(payer), 100e6 - 6);
        vm.assertEq(token.balanceOf(address(router)), 0);
    }

    function test_Refund_RevertWhen_TooMuchOrNothing() public {
        (IX402Router.Authorization memory paid, bytes memory signature) = _pay(7, NONCE);
        token.mint(address(router), 100);
        uint128[2] memory amounts = [uint128(8), 0];
        for (uint256 i = 0; i < amounts.length; ++i) {
            vm.prank(collector);
            vm.expectRevert(abi.encodeWithSelector(IX402Router.RouterRefundInvalid.selector, amounts[i], 7));
            router.refund(paid, amounts[i], signature, "");
        }
    }

    function test_Refund_RevertWhen_TheMoneyWasSwept() public {
        (IX402Router.Authorization memory paid, bytes memory signature) = _pay(7, NONCE);
        _sweep(7, _sign(HOUSE_KEY, _sweepDigest(router, 7)));
        vm.prank(collector);
        vm.expectRevert(abi.encodeWithSelector(IX402Router.RouterBalanceShort.selector, 7, 0));
        router.refund(paid, 7, signature, "");
    }

    function test_Refund_RevertWhen_ThePayerOrAStrangerAsks() public {
        (IX402Router.Authorization memory paid, bytes memory signature) = _pay(7, NONCE);
        address[2] memory askers = [payer, stranger];
        for (uint256 i = 0; i < askers.length; ++i) {
            vm.prank(askers[i]);
            vm.expectRevert(abi.encodeWithSelector(IX402Router.RouterNotCollector.selector, askers[i], collector, vm.addr(HOUSE_KEY)));
            router.refund(paid, 7, signature, "");
        }
        bytes memory forged = _sign(STRANGER_KEY, _refundDigest(router, payer, NONCE, 7));
        vm.expectRevert(abi.encodeWithSelector(IX402Router.RouterSignatureInvalid.selector, collector, vm.addr(HOUSE_KEY)));
        router.refund(paid, 7, signature, forged);
        bytes memory forLess = _sign(HOUSE_KEY, _refundDigest(router, payer, NONCE, 6));
        vm.expectRevert(abi.encodeWithSelector(IX402Router.RouterSignatureInvalid.selector, collector, vm.addr(HOUSE_KEY)));
        router.refund(paid, 7, signature, forLess);
    }

    /// The token keeps one bit for both, so the collector's service looks at the transfer before it signs (TRUST.md).
    function test_Refund_TakesACancelledNonceForAnExecutedOne() public {
        IX402Router.Authorization memory unpaid = _authorization(payer, 7, NONCE);
        bytes memory signature = _signPayment(PAYER_KEY, token, address(router), unpaid);
        token.cancelAuthorization(payer, NONCE, _sign(PAYER_KEY, _cancelDigest(token, payer, NONCE)));
        vm.prank(collector);
        vm.expectRevert(abi.encodeWithSelector(IX402Router.RouterBalanceShort.selector, 7, 0));
        router.refund(unpaid, 7, signature, "");
        token.mint(address(router), 7);
        vm.prank(collector);
        router.refund(unpaid, 7, signature, "");
        vm.assertEq(token.balanceOf(payer), 100e6 + 7);
    }

    function test_Refund_AContractThatPaidGetsItsMoneyBack() public {
        WalletDouble wallet = new WalletDouble(payer);
        token.mint(address(wallet), 7);
        IX402Router.Authorization memory paid = _authorization(address(wallet), 7, NONCE);
        bytes memory signature = _signPayment(PAYER_KEY, token, address(router), paid);
        _execute(token, address(router), paid, signature);
        vm.prank(collector);
        router.refund(paid, 7, signature, "");
        vm.assertEq(token.balanceOf(address(wallet)), 7);
    }

    // Reentrant

    /// Also whoever may ask for both asks for one at a time.
    function test_ReentrantToken_IsRefusedWhereTokensMove() public {
        ReentrantDollar odd = new ReentrantDollar();
        X402Router entered = new X402Router(_newEscrow(address(odd)), collector, vm.addr(HOUSE_KEY));
        odd.mint(address(entered), 100);
        IX402Router.Authorization memory paid = _authorization(payer, 7, NONCE);
        bytes memory signature = _sign(PAYER_KEY, _paymentDigest(odd.DOMAIN_SEPARATOR(), address(entered), paid));
        bytes memory sweeps = abi.encodeCall(entered.sweep, (3, _sign(HOUSE_KEY, _sweepDigest(entered, 3))));
        bytes memory refunds =
            abi.encodeCall(entered.refund, (paid, 7, signature, _sign(HOUSE_KEY, _refundDigest(entered, payer, NONCE, 7))));
        bytes[2] memory inner = [sweeps, refunds];
        for (uint256 i = 0; i < inner.length; ++i) {
            odd.aim(address(entered), inner[i]);
            vm.expectRevert(Guarded.GuardedReentered.selector);
            vm.prank(collector);
            entered.sweep(5, "");
            vm.expectRevert(Guarded.GuardedReentered.selector);
            vm.prank(collector);
            entered.refund(paid, 7, signature, "");
        }
        odd.aim(address(0), "");
        vm.prank(collector);
        entered.refund(paid, 7, signature, "");
        vm.assertEq(odd.balanceOf(payer), 7);
    }

    // Shared acts

    /// Executes an authorization, as anyone may, and checks that exactly its value arrived.
    function _pay(uint256 value, bytes32 nonce) private returns (IX402Router.Authorization memory paid, bytes memory signature) {
        paid = _authorization(payer, value, nonce);
        signature = _signPayment(PAYER_KEY, token, address(router), paid);
        uint256 before = token.balanceOf(address(router));
        _execute(token, address(router), paid, signature);
        vm.assertEq(token.balanceOf(address(router)), before + value);
    }

    /// Relays a sweep and checks that what left the router is in the house account.
    function _sweep(uint128 total, bytes memory signature) private returns (uint128 amount) {
        uint256 held = token.balanceOf(address(router));
        uint128 deposit = escrow.balance(router.ACCOUNT_ID()).deposit;
        vm.prank(stranger);
        amount = router.sweep(total, signature);
        vm.assertEq(token.balanceOf(address(router)), held - amount);
        vm.assertEq(escrow.balance(router.ACCOUNT_ID()).deposit, uint256(deposit) + amount);
        vm.assertEq(token.allowance(address(router), address(escrow)), 0);
    }

    function _sweepRefused(bytes memory signature) private {
        vm.expectRevert(abi.encodeWithSelector(IX402Router.RouterSignatureInvalid.selector, collector, vm.addr(HOUSE_KEY)));
        router.sweep(5, signature);
        vm.assertEq(token.balanceOf(address(router)), 5);
    }
}
