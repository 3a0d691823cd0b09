// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {ERC3009} from "@openzeppelin/contracts/token/ERC20/extensions/draft-ERC3009.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {InferenceEscrow} from "../../contracts/InferenceEscrow.sol";
import {IInferenceEscrow} from "../../contracts/interfaces/IInferenceEscrow.sol";
import {Messages} from "../../contracts/libraries/Messages.sol";
import {EscrowFixture} from "./support/EscrowFixture.sol";
import {WalletDouble} from "./support/MarketDoubles.sol";
import {BlockingToken} from "./support/OddTokens.sol";

/// Deposits, thaws, withdrawals and credits; keys are in EscrowKeys.t.sol, batches in InferenceEscrowSettle.t.sol and InferenceEscrowBatches.t.sol,
/// misused signatures in EscrowSignatures.t.sol and EscrowVouchers.t.sol, odd tokens in EscrowTokens.t.sol.
contract InferenceEscrowTest is EscrowFixture {
    uint128 internal constant AMOUNT = 10e6;

    // Construction

    function test_Constructor_MakesTheLedgerThatTrustsIt() public view {
        vm.assertEq(address(royalties.ESCROW()), address(escrow));
        (, string memory name, string memory version,,,,) = escrow.eip712Domain();
        vm.assertEq(name, "Granary InferenceEscrow");
        vm.assertEq(version, "1");
    }

    function test_Constructor_RevertWhen_SettlementAgeLeavesNoThaw() public {
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowThawTooLong.selector, 45 days + 1, 45 days));
        new InferenceEscrow(address(token), address(catalog), address(catalog), address(parameters), 45 days + 1);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowAmountInvalid.selector, 0));
        new InferenceEscrow(address(token), address(catalog), address(catalog), address(parameters), 0);
        new InferenceEscrow(address(token), address(catalog), address(catalog), address(parameters), 45 days);
    }

    // Deposit

    function testFuzz_Deposit_AddsUpPerAccount(uint64 first, uint64 second) public {
        first = uint64(_bound(first, 1, token.MAX_MINT()));
        second = uint64(_bound(second, 1, token.MAX_MINT()));
        bytes32 accountId = _fund(_account(), first);
        _fund(_account(), second);
        IInferenceEscrow.Account memory other = _account();
        other.salt = bytes32(uint256(8));
        vm.assertEq(escrow.balance(escrow.accountIdOf(other)).deposit, 0);
        vm.assertEq(escrow.balance(accountId).deposit, uint256(first) + second);
    }

    function test_AccountId_IsTheDigestOfItsConfiguration() public view {
        IInferenceEscrow.Account memory account = _account();
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256("Account(address payer,address collector,address token,uint32 thawSeconds,bytes32 salt)"),
                payer,
                collector,
                address(token),
                THAW,
                account.salt
            )
        );
        vm.assertEq(escrow.accountIdOf(account), _digest(structHash));
    }

    function test_Deposit_EmitsTheConfiguration() public {
        token.mint(address(this), 1);
        token.approve(address(escrow), 1);
        bytes32 accountId = escrow.accountIdOf(_account());
        vm.expectEmit(address(escrow));
        emit IInferenceEscrow.Deposited(accountId, payer, collector, THAW, bytes32(uint256(7)), 1);
        escrow.deposit(_account(), 1);
    }

    function test_Deposit_RevertWhen_ThawOutOfBounds() public {
        token.mint(address(this), 1);
        token.approve(address(escrow), 1);
        IInferenceEscrow.Account memory account = _account();
        account.thawSeconds = 2 * uint32(MAX_AGE) - 1;
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowThawTooShort.selector, account.thawSeconds, 2 * MAX_AGE));
        escrow.deposit(account, 1);
        account.thawSeconds = 90 days + 1;
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowThawTooLong.selector, account.thawSeconds, 90 days));
        escrow.deposit(account, 1);
        account.thawSeconds = 90 days;
        escrow.deposit(account, 1);
    }

    function test_Deposit_RevertWhen_ZeroOrTooMuchOrNobodys() public {
        BlockingToken odd = new BlockingToken();
        escrow = _newEscrow(address(odd));
        odd.mint(address(this), type(uint128).max);
        odd.approve(address(escrow), type(uint256).max);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowAmountInvalid.selector, 0));
        escrow.deposit(_account(), 0);
        escrow.deposit(_account(), type(uint80).max);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowAmountInvalid.selector, 1));
        escrow.deposit(_account(), 1);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowKeyInvalid.selector, address(0)));
        escrow.deposit(_accountOf(address(0), collector), 1);
    }

    function testFuzz_DepositWithAuthorization_BindsTheMoneyToTheAccount(bytes32 salt, bytes32 otherSalt) public {
        IInferenceEscrow.Account memory account = _account();
        IInferenceEscrow.Account memory other = _account();
        other.salt = otherSalt;
        vm.assume(other.salt != account.salt);
        token.mint(payer, AMOUNT);
        bytes memory signature = _sign(PAYER_KEY, _authorization(account, salt));

        vm.expectRevert(ERC3009.ERC3009InvalidSignature.selector);
        escrow.depositWithAuthorization(other, AMOUNT, 0, type(uint256).max, salt, signature);
        vm.expectRevert(ERC3009.ERC3009InvalidSignature.selector);
        escrow.depositWithAuthorization(account, AMOUNT - 1, 0, type(uint256).max, salt, signature);
        escrow.depositWithAuthorization(account, AMOUNT, 0, type(uint256).max, salt, signature);
        vm.assertEq(escrow.balance(escrow.accountIdOf(account)).deposit, AMOUNT);
        vm.expectRevert();
        escrow.depositWithAuthorization(account, AMOUNT, 0, type(uint256).max, salt, signature);
    }

    function test_DepositWithAuthorization_AsksAContractPayer() public {
        payer = address(new WalletDouble(vm.addr(PAYER_KEY)));
        token.mint(payer, AMOUNT);
        bytes memory signature = _sign(PAYER_KEY, _authorization(_account(), bytes32(0)));
        bytes32 accountId = escrow.depositWithAuthorization(_account(), AMOUNT, 0, type(uint256).max, bytes32(0), signature);
        vm.assertEq(escrow.balance(accountId).deposit, AMOUNT);
    }

    function test_DepositWithPermit_WorksEvenIfThePermitWasUsedAhead() public {
        token.mint(payer, 2 * AMOUNT);
        (uint8 v, bytes32 r, bytes32 s) = _permit(0);
        vm.prank(payer);
        bytes32 accountId = escrow.depositWithPermit(_account(), AMOUNT, block.timestamp, v, r, s);
        (v, r, s) = _permit(1);
        token.permit(payer, address(escrow), AMOUNT, block.timestamp, v, r, s);
        vm.prank(payer);
        escrow.depositWithPermit(_account(), AMOUNT, block.timestamp, v, r, s);
        vm.assertEq(escrow.balance(accountId).deposit, 2 * AMOUNT);
    }

    function test_DepositWithPermit_RevertWhen_NotTheOwner() public {
        token.mint(payer, AMOUNT);
        (uint8 v, bytes32 r, bytes32 s) = _permit(0);
        vm.expectRevert();
        escrow.depositWithPermit(_account(), AMOUNT, block.timestamp, v, r, s);
    }

    // Thaw and withdraw

    function testFuzz_Withdraw_PaysOnlyWhatIsUncharged(uint64 charged, uint64 thawed) public {
        charged = uint64(_bound(charged, 1, AMOUNT));
        thawed = uint64(_bound(thawed, 1, AMOUNT));
        bytes32 accountId = _fund(_account(), AMOUNT);
        vm.prank(payer);
        escrow.startThaw(_account(), thawed);
        vm.warp(block.timestamp + THAW);
        _settle(_batch(_row(PAYER_KEY, 0, charged, _parts(charged))));

        uint128 due = thawed < AMOUNT - charged ? thawed : AMOUNT - charged;
        uint256 owed = escrow.owed();
        vm.expectEmit(address(escrow));
        emit IInferenceEscrow.Withdrawn(accountId, payer, due);
        vm.assertEq(escrow.withdraw(_account(), payer), due);
        vm.assertEq(token.balanceOf(payer), due);
        vm.assertEq(escrow.owed(), owed - due);
        vm.assertEq(escrow.balance(accountId).deposit, AMOUNT - due);
        vm.assertEq(escrow.balance(accountId).charged, charged);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowNothingThawing.selector, accountId));
        escrow.withdraw(_account(), payer);
    }

    function test_Withdraw_RevertWhen_StillThawing() public {
        _fund(_account(), AMOUNT);
        vm.prank(payer);
        escrow.startThaw(_account(), 1);
        vm.warp(NOW + THAW - 1);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowStillThawing.selector, NOW + THAW - 1, NOW + THAW));
        escrow.withdraw(_account(), payer);
        vm.warp(NOW + THAW);
        escrow.withdraw(_account(), payer);
    }

    function testFuzz_Withdraw_RevertWhen_AnyoneElseNamesTheRecipient(address caller, address to) public {
        vm.assume(caller != payer && to != payer);
        _fund(_account(), AMOUNT);
        _thawAll();
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowNotPayer.selector, caller, payer));
        vm.prank(caller);
        escrow.withdraw(_account(), to);
    }

    function test_StartThaw_RestartsTheClock() public {
        bytes32 accountId = _fund(_account(), AMOUNT);
        vm.startPrank(payer);
        escrow.startThaw(_account(), 1);
        vm.warp(NOW + THAW);
        vm.expectEmit(address(escrow));
        emit IInferenceEscrow.ThawStarted(accountId, AMOUNT, NOW + 2 * THAW);
        escrow.startThaw(_account(), AMOUNT);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowStillThawing.selector, NOW + THAW, NOW + 2 * THAW));
        escrow.withdraw(_account(), payer);
        vm.stopPrank();
    }

    function test_StartThaw_RevertWhen_NothingOrMoreThanUncharged() public {
        _fund(_account(), AMOUNT);
        _settle(_batch(_row(PAYER_KEY, 0, 4e6, _parts(4e6))));
        vm.startPrank(payer);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowAmountInvalid.selector, 0));
        escrow.startThaw(_account(), 0);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowAmountInvalid.selector, 6e6 + 1));
        escrow.startThaw(_account(), 6e6 + 1);
        escrow.startThaw(_account(), 6e6);
        vm.stopPrank();
    }

    function test_StartThawBySig_WorksOnceAndInTime() public {
        bytes32 accountId = _fund(_account(), AMOUNT);
        bytes memory signature = _sign(PAYER_KEY, _digest(Messages.hashStartThaw(accountId, 5, 77, NOW + 1)));
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowSignatureInvalid.selector, payer));
        escrow.startThawBySig(_account(), 6, 77, NOW + 1, signature);
        escrow.startThawBySig(_account(), 5, 77, NOW + 1, signature);
        vm.assertEq(escrow.balance(accountId).thawing, 5);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowNonceUsed.selector, accountId, 77));
        escrow.startThawBySig(_account(), 5, 77, NOW + 1, signature);

        signature = _sign(PAYER_KEY, _digest(Messages.hashStartThaw(accountId, 5, 78, NOW + 1)));
        vm.warp(NOW + 2);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowSignatureExpired.selector, NOW + 2, NOW + 1));
        escrow.startThawBySig(_account(), 5, 78, NOW + 1, signature);
    }

    function test_CancelThaw_LeavesNothingToWithdraw() public {
        bytes32 accountId = _fund(_account(), AMOUNT);
        _thawAll();
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowNotPayer.selector, address(this), payer));
        escrow.cancelThaw(_account());
        vm.prank(payer);
        escrow.cancelThaw(_account());
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowNothingThawing.selector, accountId));
        escrow.withdraw(_account(), payer);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowNothingThawing.selector, accountId));
        vm.prank(payer);
        escrow.cancelThaw(_account());
    }

    function test_CancelThaw_OfASingleUnit() public {
        bytes32 accountId = _fund(_account(), AMOUNT);
        vm.startPrank(payer);
        escrow.startThaw(_account(), 1);
        escrow.cancelThaw(_account());
        vm.stopPrank();
        vm.assertEq(escrow.balance(accountId).thawing, 0);
    }

    function test_StartThaw_RevertWhen_NotPayer() public {
        _fund(_account(), AMOUNT);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowNotPayer.selector, address(this), payer));
        escrow.startThaw(_account(), 1);
    }

    // Credits and royalties

    function test_ClaimCredit_PaysOnceAndOnlyItsOwner() public {
        _fund(_account(), AMOUNT);
        _settle(_batch(_row(PAYER_KEY, 0, AMOUNT, _parts(AMOUNT))));
        uint128 due = escrow.credit(provider);
        vm.assertEq(due, AMOUNT - AMOUNT * 32 / 100);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowNothingToClaim.selector, address(this)));
        escrow.claimCredit(address(this));
        vm.prank(provider);
        vm.assertEq(escrow.claimCredit(address(0xCAFE)), due);
        vm.assertEq(token.balanceOf(address(0xCAFE)), due);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowNothingToClaim.selector, provider));
        escrow.claimCreditFor(provider);
        escrow.claimCreditFor(treasury);
        vm.assertEq(token.balanceOf(treasury), AMOUNT * 2 / 100);
    }

    function testFuzz_PayRoyalty_IsBoundedByTheIncome(uint64 amount) public {
        _fund(_account(), AMOUNT);
        _settle(_batch(_row(PAYER_KEY, 0, AMOUNT, _parts(AMOUNT))));
        uint128 income = AMOUNT * 30 / 100;
        bool tooMuch = amount > income;
        if (tooMuch) vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowAmountInvalid.selector, amount));
        vm.prank(address(royalties));
        escrow.payRoyalty(address(0xCAFE), amount);
        vm.assertEq(token.balanceOf(address(0xCAFE)), tooMuch ? 0 : amount);
        vm.assertEq(escrow.owed(), tooMuch ? AMOUNT : AMOUNT - amount);
    }

    function testFuzz_PayRoyalty_RevertWhen_NotTheLedger(address caller) public {
        vm.assume(caller != address(royalties));
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowNotRoyaltyLedger.selector, caller));
        vm.prank(caller);
        escrow.payRoyalty(caller, 0);
    }

    // Private

    function _thawAll() private {
        vm.prank(payer);
        escrow.startThaw(_account(), AMOUNT);
        vm.warp(block.timestamp + THAW);
    }

    function _authorization(IInferenceEscrow.Account memory account, bytes32 salt) private view returns (bytes32) {
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256("ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"),
                account.payer,
                address(escrow),
                AMOUNT,
                0,
                type(uint256).max,
                escrow.depositNonce(escrow.accountIdOf(account), salt)
            )
        );
        return MessageHashUtils.toTypedDataHash(token.DOMAIN_SEPARATOR(), structHash);
    }

    function _permit(uint256 nonce) private view returns (uint8, bytes32, bytes32) {
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"),
                payer,
                address(escrow),
                AMOUNT,
                nonce,
                block.timestamp
            )
        );
        return vm.sign(PAYER_KEY, MessageHashUtils.toTypedDataHash(token.DOMAIN_SEPARATOR(), structHash));
    }
}
