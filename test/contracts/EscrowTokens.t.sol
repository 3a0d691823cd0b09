// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {RoyaltyLedger} from "../../contracts/RoyaltyLedger.sol";
import {IInferenceEscrow} from "../../contracts/interfaces/IInferenceEscrow.sol";
import {Guarded} from "../../contracts/libraries/Guarded.sol";
import {Drafts} from "./support/Drafts.sol";
import {EscrowFixture} from "./support/EscrowFixture.sol";
import {
    BlockingToken, FalseToken, FeeToken, LyingToken, MintableToken, ReentrantToken, SilentToken, TurningToken
} from "./support/OddTokens.sol";

/// Tokens that do not behave: refused when they come in, harmless to everybody else when they go out (I1, I8).
contract EscrowTokensTest is EscrowFixture {
    uint128 internal constant AMOUNT = 10e6;
    uint128 internal constant CHARGED = 4e6;
    address internal constant ELSEWHERE = address(0xCAFE);

    // No return value

    function test_SilentToken_GoesInAndOut() public {
        MintableToken odd = new SilentToken();
        _open(odd);
        _depositAll(odd);
        _earn();
        escrow.withdraw(_account(), payer);
        vm.assertEq(odd.balanceOf(payer), AMOUNT - CHARGED);
        _claimEverything(odd);
        vm.assertEq(odd.balanceOf(address(escrow)), 0);
        vm.assertEq(escrow.owed(), 0);
    }

    // False

    function test_FalseToken_IsRefusedAtTheDeposit() public {
        MintableToken odd = new FalseToken();
        _open(odd);
        vm.expectRevert(abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, address(odd)));
        escrow.deposit(_account(), AMOUNT);
        vm.assertEq(escrow.owed(), 0);
    }

    /// Nothing is paid, so nothing is taken off the books; once the token obeys again, all is there.
    function test_FalseToken_LeavesEveryClaimAsItWas() public {
        TurningToken odd = new TurningToken();
        _open(odd);
        _depositAll(odd);
        _earn();
        odd.turn(true);
        bytes memory reason = abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, address(odd));
        bytes32 before = _books();
        vm.expectRevert(reason);
        escrow.withdraw(_account(), payer);
        vm.expectRevert(reason);
        escrow.claimCreditFor(provider);
        vm.expectRevert(reason);
        vm.prank(address(royalties));
        escrow.payRoyalty(payer, 1);
        vm.assertEq(_books(), before);
        odd.turn(false);
        escrow.withdraw(_account(), payer);
        vm.assertEq(odd.balanceOf(payer), AMOUNT - CHARGED);
        _claimEverything(odd);
        vm.assertEq(escrow.owed(), 0);
    }

    /// True, but no money: what arrived is measured, whatever the token says.
    function test_LyingToken_IsRefusedAtEveryDeposit() public {
        LyingToken odd = new LyingToken();
        _open(odd);
        bytes memory reason = abi.encodeWithSelector(IInferenceEscrow.EscrowTokenShortfall.selector, 0, AMOUNT);
        vm.expectRevert(reason);
        escrow.deposit(_account(), AMOUNT);
        vm.expectRevert(reason);
        escrow.depositWithAuthorization(_account(), AMOUNT, 0, type(uint256).max, bytes32(0), new bytes(65));
        odd.mint(payer, AMOUNT);
        vm.startPrank(payer);
        odd.approve(address(escrow), AMOUNT);
        vm.expectRevert(reason);
        escrow.depositWithPermit(_account(), AMOUNT, 0, 0, 0, 0);
        vm.stopPrank();
        vm.assertEq(escrow.owed(), 0);
    }

    /// What others have deposited must not pass for what arrives now.
    function test_TurningToken_IsRefusedThoughTheEscrowHoldsAsMuch() public {
        TurningToken odd = new TurningToken();
        _open(odd);
        _depositAll(odd);
        odd.turn(true);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowTokenShortfall.selector, 0, AMOUNT));
        escrow.deposit(_account(), AMOUNT);
        vm.assertEq(escrow.owed(), AMOUNT);
    }

    // Fee on transfer

    function test_FeeToken_IsRefusedAtTheDeposit() public {
        MintableToken odd = new FeeToken();
        _open(odd);
        odd.mint(address(this), AMOUNT);
        odd.approve(address(escrow), AMOUNT);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowTokenShortfall.selector, AMOUNT * 99 / 100, AMOUNT));
        escrow.deposit(_account(), AMOUNT);
        vm.assertEq(odd.balanceOf(address(this)), AMOUNT);
    }

    // Blocklisted recipients

    function test_BlockingToken_ABlockedPayerHurtsOnlyItself() public {
        BlockingToken odd = new BlockingToken();
        _open(odd);
        _depositAll(odd);
        _earn();
        odd.setBlocked(payer, true);
        bytes32 before = _books();
        vm.expectRevert(abi.encodeWithSelector(MintableToken.Blocked.selector, payer));
        escrow.withdraw(_account(), payer);
        vm.assertEq(_books(), before);
        _claimEverything(odd);
        uint256 held = odd.balanceOf(ELSEWHERE);
        vm.prank(payer);
        escrow.withdraw(_account(), ELSEWHERE);
        vm.assertEq(odd.balanceOf(ELSEWHERE), held + AMOUNT - CHARGED);
    }

    /// All of it was charged while it thawed: the token is not asked to move nothing.
    function test_BlockingToken_WithdrawingNothingAsksNobody() public {
        BlockingToken odd = new BlockingToken();
        _open(odd);
        _depositAll(odd);
        _earn();
        _settle(_batch(_row(PAYER_KEY, CHARGED, AMOUNT, _parts(AMOUNT - CHARGED))));
        odd.setBlocked(payer, true);
        vm.assertEq(escrow.withdraw(_account(), payer), 0);
        vm.assertEq(escrow.balance(escrow.accountIdOf(_account())).thawing, 0);
    }

    /// Batches move no tokens, so a blocked provider, collector or treasury stops none; its credit waits, or goes elsewhere.
    function test_BlockingToken_ABlockedCreditorHurtsOnlyItself() public {
        BlockingToken odd = new BlockingToken();
        _open(odd);
        _depositAll(odd);
        odd.setBlocked(provider, true);
        odd.setBlocked(treasury, true);
        odd.setBlocked(collector, true);
        _earn();
        uint128 due = escrow.credit(provider);
        vm.expectRevert(abi.encodeWithSelector(MintableToken.Blocked.selector, provider));
        escrow.claimCreditFor(provider);
        vm.assertEq(escrow.credit(provider), due);
        vm.prank(provider);
        escrow.claimCredit(ELSEWHERE);
        vm.assertEq(odd.balanceOf(ELSEWHERE), due);
        escrow.withdraw(_account(), payer);
        vm.assertEq(odd.balanceOf(payer), AMOUNT - CHARGED);
    }

    function test_BlockingToken_ABlockedPayeeHurtsOnlyItself() public {
        BlockingToken odd = new BlockingToken();
        _open(odd);
        _depositAll(odd);
        _earn();
        odd.setBlocked(payer, true);
        bytes32 before = _books();
        vm.startPrank(address(royalties));
        vm.expectRevert(abi.encodeWithSelector(MintableToken.Blocked.selector, payer));
        escrow.payRoyalty(payer, 5);
        vm.assertEq(_books(), before);
        escrow.payRoyalty(ELSEWHERE, 5);
        vm.stopPrank();
        vm.assertEq(odd.balanceOf(ELSEWHERE), 5);
    }

    // Reentrant

    /// Whatever moves tokens is entered once at a time, from whatever moves tokens.
    function test_ReentrantToken_IsRefusedWhereTokensMove() public {
        ReentrantToken odd = new ReentrantToken();
        _open(odd);
        _depositAll(odd);
        _earn();
        odd.mint(address(this), AMOUNT);
        odd.approve(address(escrow), AMOUNT);
        odd.mint(payer, 1);
        vm.prank(payer);
        odd.approve(address(escrow), 1);
        bytes[] memory inner = _guarded();
        bytes32 before = _books();
        for (uint256 i = 0; i < inner.length; ++i) {
            odd.aim(address(escrow), inner[i]);
            vm.expectRevert(Guarded.GuardedReentered.selector);
            escrow.withdraw(_account(), payer);
            vm.expectRevert(Guarded.GuardedReentered.selector);
            escrow.deposit(_account(), 1);
            vm.expectRevert(Guarded.GuardedReentered.selector);
            vm.prank(payer);
            escrow.depositWithPermit(_account(), 1, 0, 0, 0, 0);
            vm.expectRevert(Guarded.GuardedReentered.selector);
            escrow.claimCreditFor(provider);
            vm.expectRevert(Guarded.GuardedReentered.selector);
            vm.prank(address(royalties));
            escrow.payRoyalty(payer, 1);
        }
        vm.assertEq(_books(), before);
    }

    /// `settleBatch` moves no token, so the lock does not cover it: in the middle of a payout it charges what it would charge after it.
    function test_ReentrantToken_MaySettleInAPayout() public {
        ReentrantToken odd = new ReentrantToken();
        _open(odd);
        _depositAll(odd);
        _earn();
        Drafts.Batch memory batch = _batch(_row(PAYER_KEY, CHARGED, AMOUNT, _parts(1)));
        batch.collector = address(odd);
        IInferenceEscrow.Account memory account = _accountOf(payer, address(odd));
        batch.rows[0] = _rowOf(account, PAYER_KEY, 0, 10, _parts(3));
        odd.mint(address(this), 10);
        odd.approve(address(escrow), 10);
        bytes32 accountId = escrow.deposit(account, 10);
        odd.aim(address(escrow), abi.encodeCall(IInferenceEscrow.settleBatch, (Drafts.encode(batch), "")));
        escrow.withdraw(_account(), payer);
        vm.assertEq(escrow.balance(accountId).charged, 3);
        vm.assertEq(odd.balanceOf(payer), AMOUNT - CHARGED);
        vm.assertEq(odd.balanceOf(address(escrow)), escrow.owed());
    }

    // Private

    function _open(MintableToken odd) private {
        escrow = _newEscrow(address(odd));
        royalties = RoyaltyLedger(escrow.ROYALTIES());
    }

    function _depositAll(MintableToken odd) private {
        odd.mint(address(this), AMOUNT);
        odd.approve(address(escrow), AMOUNT);
        escrow.deposit(_account(), AMOUNT);
    }

    /// Charges a part and thaws the rest.
    function _earn() private {
        _settle(_batch(_row(PAYER_KEY, 0, CHARGED, _parts(CHARGED))));
        vm.prank(payer);
        escrow.startThaw(_account(), AMOUNT - CHARGED);
        vm.warp(block.timestamp + THAW);
    }

    function _claimEverything(MintableToken odd) private {
        uint128 due = escrow.credit(provider);
        escrow.claimCreditFor(provider);
        vm.assertEq(odd.balanceOf(provider), due);
        escrow.claimCreditFor(treasury);
        vm.prank(address(royalties));
        escrow.payRoyalty(ELSEWHERE, CHARGED * PAYEES_PPM / 1e6);
    }

    function _guarded() private view returns (bytes[] memory calls) {
        calls = new bytes[](8);
        calls[0] = abi.encodeCall(IInferenceEscrow.withdraw, (_account(), payer));
        calls[1] = abi.encodeCall(IInferenceEscrow.withdrawBySig, (_account(), payer, 0, type(uint256).max, ""));
        calls[2] = abi.encodeCall(IInferenceEscrow.deposit, (_account(), 1));
        calls[3] = abi.encodeCall(IInferenceEscrow.depositWithAuthorization, (_account(), 1, 0, 0, bytes32(0), ""));
        calls[4] = abi.encodeCall(IInferenceEscrow.depositWithPermit, (_account(), 1, 0, 0, 0, 0));
        calls[5] = abi.encodeCall(IInferenceEscrow.claimCredit, (payer));
        calls[6] = abi.encodeCall(IInferenceEscrow.claimCreditBySig, (provider, payer, 0, type(uint256).max, ""));
        calls[7] = abi.encodeCall(IInferenceEscrow.payRoyalty, (payer, 1));
    }

    function _books() private view returns (bytes32) {
        bytes32 accountId = escrow.accountIdOf(_account());
        return keccak256(abi.encode(escrow.balance(accountId), escrow.credit(provider), escrow.credit(treasury), escrow.owed()));
    }
}
