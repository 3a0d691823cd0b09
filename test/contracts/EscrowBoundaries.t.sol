// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {InferenceEscrow} from "../../contracts/InferenceEscrow.sol";
import {IDatasetRegistry} from "../../contracts/interfaces/IDatasetRegistry.sol";
import {IInferenceEscrow} from "../../contracts/interfaces/IInferenceEscrow.sol";
import {IModelRegistry} from "../../contracts/interfaces/IModelRegistry.sol";
import {Messages} from "../../contracts/libraries/Messages.sol";
import {TestDollar} from "../../contracts/TestDollar.sol";
import {Drafts} from "./support/Drafts.sol";
import {EscrowFixture} from "./support/EscrowFixture.sol";
import {LineageTest} from "./support/LineageTest.sol";
import {ParametersDouble} from "./support/MarketDoubles.sol";
import {SplitDollar} from "./support/SplitDollar.sol";

/// What `npm run mutate` found that no test held: bounds at their last unit, and what lies in one word with something else.
contract EscrowBoundariesTest is EscrowFixture {
    uint128 private constant AMOUNT = 1000e6;
    bytes32 private accountId;

    function setUp() public override {
        super.setUp();
        accountId = _fund(_account(), AMOUNT);
    }

    function test_Constructor_TakesTheShortestAndTheLongestWindow() public {
        vm.assertEq(_escrowWithin(1).MAX_SETTLEMENT_SECONDS(), 1);
        vm.assertEq(_escrowWithin(45 days).MAX_SETTLEMENT_SECONDS(), 45 days);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowAmountInvalid.selector, uint256(0)));
        _escrowWithin(0);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowThawTooLong.selector, uint32(45 days + 1), uint32(45 days)));
        _escrowWithin(45 days + 1);
    }

    function test_Settle_ACeilingIsForAllThatTheKeyEverSpends() public {
        _settle(_batch(_row(PAYER_KEY, 0, 10, _parts(10))));
        _settleSkips(_row(PAYER_KEY, 10, 10, _parts(1)), IInferenceEscrow.Skip.OverCeiling);
        _settleSkips(_row(PAYER_KEY, 10, 15, _parts(6)), IInferenceEscrow.Skip.OverCeiling);
        vm.assertEq(_settle(_batch(_row(PAYER_KEY, 10, 15, _parts(5)))), 5);
    }

    function test_Settle_AGrantedKeysCeilingIsForAllThatItEverSpends() public {
        _grant(AMOUNT, NOW + 1);
        _settle(_batch(_row(GRANTED_KEY, 0, 10, _parts(10))));
        _settleSkips(_row(GRANTED_KEY, 10, 15, _parts(6)), IInferenceEscrow.Skip.OverCeiling);
        vm.assertEq(_settle(_batch(_row(GRANTED_KEY, 10, 15, _parts(5)))), 5);
    }

    function test_Settle_ACapIsForAllThatTheKeyEverSpends() public {
        _grant(15, NOW + 1);
        _settle(_batch(_row(GRANTED_KEY, 0, 100, _parts(10))));
        _settleSkips(_row(GRANTED_KEY, 10, 100, _parts(6)), IInferenceEscrow.Skip.OverCap);
        vm.assertEq(_settle(_batch(_row(GRANTED_KEY, 10, 100, _parts(5)))), 5);
    }

    function test_Settle_SkipsAGrantedKeysRowThatTheDepositDoesNotCover() public {
        _grant(2 * AMOUNT, NOW + 1);
        _settleSkips(_row(GRANTED_KEY, 0, 2 * AMOUNT, _parts(AMOUNT + 1)), IInferenceEscrow.Skip.Unfunded);
        vm.assertEq(_settle(_batch(_row(GRANTED_KEY, 0, 2 * AMOUNT, _parts(AMOUNT)))), AMOUNT);
    }

    /// A person's signature goes to the token as v, r and s, which is all that the oldest tokens with EIP-3009 take.
    function test_DepositWithAuthorization_NeedsNoTokenThatTakesBytes() public {
        SplitDollar split = new SplitDollar();
        split.mint(payer, 5);
        InferenceEscrow other = _newEscrow(address(split));
        bytes32 nonce = other.depositNonce(other.accountIdOf(_account()), "salt");
        bytes32 structHash =
            keccak256(abi.encode(split.receiveTypeHash(), payer, address(other), 5, 0, NOW + 1, nonce));
        bytes memory signature = _sign(PAYER_KEY, MessageHashUtils.toTypedDataHash(split.domainSeparator(), structHash));
        bytes32 id = other.depositWithAuthorization(_account(), 5, 0, NOW + 1, "salt", signature);
        vm.assertEq(other.balance(id).deposit, 5);
    }

    /// Where ecrecover answers nothing, what lay in memory before must not be taken for its answer.
    function test_Settle_SkipsAGrantedKeysRowThatNobodySigned() public {
        _grant(20, NOW + 1);
        Drafts.Row memory row = _row(GRANTED_KEY, 0, 20, _parts(1));
        (row.r, row.vs) = (0, 0);
        _settleSkips(row, IInferenceEscrow.Skip.Unsigned);
        row = _row(PAYER_KEY, 0, 20, _parts(1));
        (row.r, row.vs) = (0, 0);
        _settleSkips(row, IInferenceEscrow.Skip.Unsigned);
    }

    function test_GrantKey_KeepsWhatTheKeyHasSpent() public {
        _grant(20, NOW + 1);
        _settle(_batch(_row(GRANTED_KEY, 0, 20, _parts(7))));
        _grant(40, NOW + 2);
        IInferenceEscrow.Key memory found = escrow.key(accountId, granted);
        vm.assertEq(found.spent, 7);
        vm.assertEq(found.cap, 40);
        vm.assertEq(found.notAfter, NOW + 2);
        _settleSkips(_row(GRANTED_KEY, 0, 40, _parts(1)), IInferenceEscrow.Skip.Stale);
    }

    function test_RevokeKey_KeepsEverythingElse() public {
        _grant(20, NOW + 1);
        _settle(_batch(_row(GRANTED_KEY, 0, 20, _parts(7))));
        vm.prank(payer);
        escrow.revokeKey(_account(), granted);
        IInferenceEscrow.Key memory found = escrow.key(accountId, granted);
        vm.assertEq(found.spent, 7);
        vm.assertEq(found.cap, 20);
        vm.assertEq(found.nonce, 1);
        vm.assertEq(found.revokedAt, NOW);
    }

    function test_Settle_EachCollectorHasItsOwnBatchIds() public {
        address other = vm.addr(0xC0C1);
        IInferenceEscrow.Account memory account = _accountOf(payer, other);
        _fund(account, AMOUNT);
        Drafts.Batch memory first = _batch(_row(PAYER_KEY, 0, 10, _parts(10)));
        _settle(first);
        Drafts.Batch memory second = _batch(_rowOf(account, PAYER_KEY, 0, 20, _parts(20)));
        (second.collector, second.batchId) = (other, first.batchId);
        vm.assertEq(_settle(second), 20);
    }

    function test_Settle_ARowWithoutCreditableLanesLeavesTheRowsAfterIt() public {
        Drafts.Row[] memory rows = new Drafts.Row[](2);
        rows[0] = _row(PAYER_KEY, 0, 10, _parts(0));
        rows[1] = _row(PAYER_KEY, 0, 10, _parts(10));
        vm.assertEq(_settle(_batch(rows)), 10);
    }

    function test_Settle_ALaneIsCreditedUpToTheLastSecondOfItsModel() public {
        catalog.set(MODEL, 1, PAYEES_PPM, NOW - 10);
        vm.assertEq(_settleServedAt(NOW - 10), 0);
        vm.assertEq(_settleServedAt(NOW - 9), 0);
        vm.assertEq(_settleServedAt(NOW - 11), 10);
    }

    function test_Settle_ALaneIsCreditedUpToTheLastSecondOfTheWindow() public {
        vm.assertEq(_settleServedAt(NOW + 1), 0);
        vm.assertEq(_settleServedAt(NOW - MAX_AGE - 1), 0);
        vm.assertEq(_settleServedAt(NOW), 10);
        vm.assertEq(_settleServedAt(NOW - MAX_AGE), 10);
    }

    function test_PayRoyalty_RevertWhen_MoreThanTheIncomeThoughDepositsWouldSuffice() public {
        _settle(_batch(_row(PAYER_KEY, 0, 100, _parts(100))));
        vm.startPrank(address(royalties));
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowAmountInvalid.selector, uint256(31)));
        escrow.payRoyalty(payer, 31);
        escrow.payRoyalty(payer, 30);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowAmountInvalid.selector, uint256(1)));
        escrow.payRoyalty(payer, 1);
        vm.stopPrank();
        vm.assertEq(token.balanceOf(payer), 30);
    }

    function test_Deposit_AcceptsTheShortestAndTheLongestThaw() public {
        IInferenceEscrow.Account memory account = _account();
        account.thawSeconds = 2 * uint32(MAX_AGE);
        _fund(account, 1);
        account.thawSeconds = 90 days;
        _fund(account, 1);
        account.thawSeconds = 90 days + 1;
        token.mint(address(this), 1);
        token.approve(address(escrow), 1);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowThawTooLong.selector, uint32(90 days + 1), uint32(90 days)));
        escrow.deposit(account, 1);
        account.thawSeconds = 2 * uint32(MAX_AGE) - 1;
        vm.expectRevert(
            abi.encodeWithSelector(IInferenceEscrow.EscrowThawTooShort.selector, 2 * uint32(MAX_AGE) - 1, 2 * uint32(MAX_AGE))
        );
        escrow.deposit(account, 1);
    }

    function test_StartThaw_TakesAllThatIsUnchargedAndNotAUnitMore() public {
        _settle(_batch(_row(PAYER_KEY, 0, 10, _parts(10))));
        vm.startPrank(payer);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowAmountInvalid.selector, uint256(AMOUNT - 9)));
        escrow.startThaw(_account(), AMOUNT - 9);
        escrow.startThaw(_account(), AMOUNT - 10);
        vm.stopPrank();
        vm.assertEq(escrow.balance(accountId).thawEndsAt, NOW + THAW);
        vm.warp(NOW + THAW - 1);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowStillThawing.selector, uint256(NOW + THAW - 1), uint256(NOW + THAW)));
        escrow.withdraw(_account(), payer);
        vm.warp(NOW + THAW);
        vm.assertEq(escrow.withdraw(_account(), payer), AMOUNT - 10);
        vm.assertEq(token.balanceOf(payer), AMOUNT - 10);
    }

    function test_SetCollectorFee_TakesTheHighestAndActsWhenTheWindowHasPassed() public {
        vm.startPrank(collector);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowFeeTooHigh.selector, uint32(100_001), uint32(100_000)));
        escrow.setCollectorFee(100_001);
        escrow.setCollectorFee(100_000);
        vm.stopPrank();
        vm.warp(NOW + MAX_AGE - 1);
        vm.assertEq(escrow.collectorFeePpm(collector), 0);
        vm.warp(NOW + MAX_AGE);
        vm.assertEq(escrow.collectorFeePpm(collector), 100_000);
    }

    function test_RevokeKey_AtItsVeryEndKeepsTheEnd() public {
        _grant(20, NOW + 5);
        vm.warp(NOW + 5);
        vm.prank(payer);
        escrow.revokeKey(_account(), granted);
        vm.assertEq(escrow.key(accountId, granted).revokedAt, NOW + 5);
    }

    function _escrowWithin(uint40 window) private returns (InferenceEscrow) {
        return new InferenceEscrow(address(token), address(catalog), address(catalog), address(parameters), window);
    }

    /// One lane, served at that time, and a row of 10 more of the payer's own key.
    function _settleServedAt(uint40 servedAt) private returns (uint128) {
        uint128 spent = escrow.balance(accountId).ownSpent;
        Drafts.Batch memory batch = _batch(_row(PAYER_KEY, spent, spent + 10, _parts(10)));
        batch.lanes[0].lastServedAt = servedAt;
        return _settle(batch);
    }
}

/// I7: what settlement costs does not depend on who shares in the income.
contract SettlementGasTest is LineageTest {
    uint256 private constant PAYER_KEY = 0xA11CE;
    uint128 private constant DEPOSIT = 1000e6;
    uint128 private constant AMOUNT = 1e6;
    /// The first batches of a model write what later ones find written.
    uint256 private constant WARM_UP = 2;

    InferenceEscrow private _escrow;
    IInferenceEscrow.Account private _account;
    uint128 private _spent;
    uint256 private _batches;

    function setUp() public override {
        super.setUp();
        ParametersDouble parameters = new ParametersDouble();
        parameters.set(20_000, address(0x7EA5));
        TestDollar token = new TestDollar();
        _escrow = new InferenceEscrow(address(token), address(datasets), address(models), address(parameters), 1 hours);
        _account = IInferenceEscrow.Account({payer: vm.addr(PAYER_KEY), collector: address(this), thawSeconds: 2 hours, salt: SALT});
        token.mint(address(this), DEPOSIT);
        token.approve(address(_escrow), DEPOSIT);
        _escrow.deposit(_account, DEPOSIT);
    }

    function test_Settle_CostsTheSameForOnePayeeAndForThirtyTwo() public {
        IDatasetRegistry.Terms memory free = _terms();
        free.royaltyPpm = 0;
        IModelRegistry.DatasetShare[] memory many = new IModelRegistry.DatasetShare[](31);
        for (uint256 i = 0; i < many.length; ++i) many[i] = IModelRegistry.DatasetShare(_register(free, false), 10_000);
        bytes32 ofMany = _register(_draft(many, _none()));
        bytes32 ofOne = _register(_draft(new IModelRegistry.DatasetShare[](0), _none()));
        vm.assertEq(models.payees(ofMany).length, 32);
        vm.assertEq(models.payees(ofOne).length, 1);
        uint256 one = _costOf(ofOne);
        uint256 all = _costOf(ofMany);
        vm.assertTrue(all * 100 <= one * 101, "no dearer for 32 payees than for one, but for 1 %");
    }

    function _costOf(bytes32 modelId) private returns (uint256 gas) {
        for (uint256 i = 0; i <= WARM_UP; ++i) {
            IInferenceEscrow.Batch memory batch = _batchOf(modelId);
            uint256 before = gasleft();
            uint128 gross = _escrow.settleBatch(batch, "");
            gas = before - gasleft();
            vm.assertEq(gross, AMOUNT);
        }
    }

    function _batchOf(bytes32 modelId) private returns (IInferenceEscrow.Batch memory) {
        Drafts.Row[] memory rows = new Drafts.Row[](1);
        Drafts.Row memory row = rows[0];
        (row.payer, row.key, row.thawSeconds, row.salt) = (_account.payer, _account.payer, _account.thawSeconds, _account.salt);
        row.from = _spent;
        row.ceiling = _spent += AMOUNT;
        row.parts = new Drafts.Part[](1);
        row.parts[0] = Drafts.Part({lane: 0, amount: AMOUNT});
        bytes32 voucher = Messages.hashVoucher(_escrow.accountIdOf(_account), row.key, row.ceiling, row.usageHead);
        (row.r, row.vs) = _signCompact(PAYER_KEY, _digest("InferenceEscrow", address(_escrow), voucher));
        IInferenceEscrow.Lane[] memory lanes = new IInferenceEscrow.Lane[](1);
        lanes[0] = IInferenceEscrow.Lane({modelId: modelId, provider: address(0x9001), purpose: 1, lastServedAt: uint40(block.timestamp)});
        return Drafts.encode(
            Drafts.Batch({collector: address(this), batchId: bytes32(++_batches), lanes: lanes, rows: rows, receiptsRoot: "receipts"})
        );
    }
}
