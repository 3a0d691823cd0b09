// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {IInferenceEscrow} from "../../contracts/interfaces/IInferenceEscrow.sol";
import {Messages} from "../../contracts/libraries/Messages.sol";
import {Drafts} from "./support/Drafts.sol";
import {EscrowFixture} from "./support/EscrowFixture.sol";
import {WalletDouble} from "./support/MarketDoubles.sol";

/// Rows: what is charged, what is skipped, where the money goes; whole batches are in InferenceEscrowBatches.t.sol.
contract InferenceEscrowSettleTest is EscrowFixture {
    uint128 internal constant AMOUNT = 10e6;
    uint256 internal constant HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;
    uint256 internal constant ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;

    bytes32 internal accountId;

    function setUp() public override {
        super.setUp();
        accountId = _fund(_account(), AMOUNT);
    }

    // The split

    /// I3: every unit of a lane's gross becomes exactly one credit or income.
    function testFuzz_Settle_ConservesEveryUnit(uint64 first, uint64 second, uint32 payeesPpm, uint32 protocolPpm, uint32 collectorPpm) public {
        first = uint64(_bound(first, 0, AMOUNT / 2));
        second = uint64(_bound(second, first == 0 ? 1 : 0, AMOUNT / 2));
        payeesPpm = uint32(_bound(payeesPpm, 0, 850_000));
        collectorPpm = uint32(_bound(collectorPpm, 0, 100_000));
        catalog.set(MODEL, 1, payeesPpm, type(uint40).max);
        parameters.set(protocolPpm, treasury);
        vm.prank(collector);
        escrow.setCollectorFee(collectorPpm);
        vm.warp(block.timestamp + MAX_AGE);

        uint128 gross = _settle(_batch(_row(PAYER_KEY, 0, AMOUNT, _parts(first, second))));
        vm.assertEq(gross, uint256(first) + second);
        vm.assertEq(escrow.balance(accountId).charged, gross);
        uint256 protocol = protocolPpm > 50_000 ? 50_000 : protocolPpm;
        vm.assertEq(escrow.credit(treasury), first * protocol / 1e6 + second * protocol / 1e6);
        vm.assertEq(escrow.credit(collector), uint256(first) * collectorPpm / 1e6 + uint256(second) * collectorPpm / 1e6);
        vm.assertEq(_income(MODEL), uint256(first) * payeesPpm / 1e6);
        vm.assertEq(escrow.credit(provider) + escrow.credit(treasury) + escrow.credit(collector) + _income(MODEL), gross);
    }

    function test_Settle_EmitsLaneAndBatch() public {
        Drafts.Batch memory batch = _batch(_row(PAYER_KEY, 0, 1e6, _parts(1e6)));
        vm.expectEmit(address(escrow));
        emit IInferenceEscrow.LaneSettled(batch.batchId, MODEL, provider, 1e6, 20_000, 0, 300_000);
        vm.expectEmit(address(escrow));
        emit IInferenceEscrow.BatchSettled(collector, batch.batchId, ROOT, royalties.currentEpoch(), 1e6);
        _settle(batch);
    }

    /// docs/TRUST.md: a raise reaches what was served before it and is settled after; it is the provider's part that shrinks.
    function test_Settle_TakesTheProtocolFeeOfItsOwnTimeNotOfTheService() public {
        Drafts.Batch memory batch = _batch(_row(PAYER_KEY, 0, 1e6, _parts(1e6)));
        parameters.set(50_000, treasury);
        vm.warp(NOW + MAX_AGE);
        _settle(batch);
        vm.assertEq(escrow.credit(treasury), 50_000);
        vm.assertEq(_income(MODEL), 300_000);
        vm.assertEq(escrow.credit(provider), 650_000);
        vm.assertEq(escrow.balance(accountId).charged, 1e6);
    }

    /// I3 at its smallest: a single unit is nobody's to keep.
    function test_Settle_CreditsASingleUnitOfEachPart() public {
        catalog.set(MODEL, 1, 20_000, type(uint40).max);
        vm.prank(collector);
        escrow.setCollectorFee(20_000);
        vm.warp(NOW + MAX_AGE);
        _settle(_batch(_row(PAYER_KEY, 0, 50, _parts(50))));
        vm.assertEq(escrow.credit(treasury), 1);
        vm.assertEq(escrow.credit(collector), 1);
        vm.assertEq(escrow.credit(provider), 47);
        vm.assertEq(_income(MODEL), 1);
        vm.prank(address(royalties));
        escrow.payRoyalty(payer, 1);
        vm.assertEq(token.balanceOf(payer), 1);
        vm.assertEq(escrow.claimCreditFor(treasury), 1);
        vm.assertEq(token.balanceOf(treasury), 1);
    }

    function test_Settle_GivesEachLaneItsProvider() public {
        Drafts.Batch memory batch = _batch(_row(PAYER_KEY, 0, 3e6, _parts(1e6, 2e6)));
        batch.lanes[1].provider = address(0x9002);
        _settle(batch);
        vm.assertEq(escrow.credit(provider), 680_000);
        vm.assertEq(escrow.credit(address(0x9002)), 1_960_000);
    }

    // Keys and ceilings

    function testFuzz_Settle_ChargesKeysApart(uint64 own, uint64 byKey) public {
        own = uint64(_bound(own, 1, AMOUNT / 2));
        byKey = uint64(_bound(byKey, 1, AMOUNT / 2));
        _grant(AMOUNT, NOW + 1);
        Drafts.Row[] memory rows = new Drafts.Row[](2);
        rows[0] = _row(PAYER_KEY, 0, own, _parts(own));
        rows[1] = _row(GRANTED_KEY, 0, byKey, _parts(byKey));
        _settle(_batch(rows));
        vm.assertEq(escrow.balance(accountId).ownSpent, own);
        vm.assertEq(escrow.key(accountId, granted).spent, byKey);
        vm.assertEq(escrow.balance(accountId).charged, uint256(own) + byKey);
    }

    function test_Settle_AppliesRowsOfOneKeyInOrder() public {
        Drafts.Row[] memory rows = new Drafts.Row[](3);
        rows[0] = _row(PAYER_KEY, 0, 10, _parts(4));
        rows[1] = _row(PAYER_KEY, 0, 10, _parts(4));
        rows[2] = _row(PAYER_KEY, 4, 10, _parts(6));
        vm.assertEq(_settle(_batch(rows)), 10);
    }

    function testFuzz_Settle_SkipsOverCeiling(uint64 ceiling, uint64 amount) public {
        amount = uint64(_bound(amount, 1, AMOUNT));
        ceiling = uint64(_bound(ceiling, 0, amount - 1));
        _settleSkips(_row(PAYER_KEY, 0, ceiling, _parts(amount)), IInferenceEscrow.Skip.OverCeiling);
    }

    function testFuzz_Settle_SkipsOverCap(uint64 cap, uint64 amount) public {
        amount = uint64(_bound(amount, 1, AMOUNT));
        cap = uint64(_bound(cap, 0, amount - 1));
        _grant(cap, NOW + 1);
        _settleSkips(_row(GRANTED_KEY, 0, amount, _parts(amount)), IInferenceEscrow.Skip.OverCap);
    }

    function testFuzz_Settle_SkipsUnfunded(uint80 amount) public {
        amount = uint80(_bound(amount, AMOUNT + 1, type(uint80).max));
        _settleSkips(_row(PAYER_KEY, 0, type(uint128).max, _parts(amount)), IInferenceEscrow.Skip.Unfunded);
    }

    function testFuzz_Settle_SkipsStale(uint80 from) public {
        _settle(_batch(_row(PAYER_KEY, 0, 5, _parts(5))));
        vm.assume(from != 5);
        _settleSkips(_row(PAYER_KEY, from, type(uint128).max, _parts(1)), IInferenceEscrow.Skip.Stale);
        _grant(AMOUNT, NOW);
        _settleSkips(_row(GRANTED_KEY, 5, AMOUNT, _parts(1)), IInferenceEscrow.Skip.Stale);
    }

    function test_Settle_ExpiryLeavesTheThawToCollect() public {
        _grant(AMOUNT, NOW + 100);
        vm.warp(NOW + 100 + THAW);
        vm.assertEq(_settle(_batch(_row(GRANTED_KEY, 0, 10, _parts(5)))), 5);
        vm.warp(NOW + 101 + THAW);
        _settleSkips(_row(GRANTED_KEY, 5, 10, _parts(5)), IInferenceEscrow.Skip.KeyEnded);
    }

    function test_Settle_RevocationLeavesTheThawToCollect() public {
        _grant(AMOUNT, type(uint40).max);
        vm.prank(payer);
        escrow.revokeKey(_account(), granted);
        vm.warp(NOW + THAW);
        vm.assertEq(_settle(_batch(_row(GRANTED_KEY, 0, 10, _parts(5)))), 5);
        vm.warp(NOW + THAW + 1);
        _settleSkips(_row(GRANTED_KEY, 5, 10, _parts(5)), IInferenceEscrow.Skip.KeyEnded);
    }

    function test_Settle_SkipsAKeyThatNobodyGranted() public {
        _settleSkips(_row(GRANTED_KEY, 0, 10, _parts(5)), IInferenceEscrow.Skip.KeyEnded);
    }

    function test_Settle_ChargesWhatIsThawingUntilItIsWithdrawn() public {
        vm.prank(payer);
        escrow.startThaw(_account(), AMOUNT);
        vm.warp(NOW + THAW);
        _settle(_batch(_row(PAYER_KEY, 0, AMOUNT, _parts(AMOUNT - 1))));
        vm.assertEq(escrow.withdraw(_account(), payer), 1);
        _settleSkips(_row(PAYER_KEY, AMOUNT - 1, AMOUNT, _parts(1)), IInferenceEscrow.Skip.Unfunded);
    }

    // Signatures

    /// I14: the voucher binds account, key, ceiling and usage head.
    function testFuzz_Settle_SkipsAChangedVoucher(uint256 field) public {
        Drafts.Row memory row = _row(PAYER_KEY, 0, 100, _parts(5));
        field = _bound(field, 0, 4);
        if (field == 0) row.ceiling = 101;
        if (field == 1) row.usageHead = 0;
        if (field == 2) row.r = bytes32(uint256(row.r) ^ 1);
        if (field == 3) row.vs = bytes32(uint256(row.vs) ^ (1 << 255));
        if (field == 4) {
            IInferenceEscrow.Account memory other = _account();
            other.salt = 0;
            _fund(other, AMOUNT);
            row.salt = 0;
        }
        _settleSkips(row, IInferenceEscrow.Skip.Unsigned);
    }

    function testFuzz_Settle_SkipsAForgedVoucher(uint256 forger, bytes32 r, bytes32 vs) public {
        forger = _bound(forger, 1, type(uint128).max);
        vm.assume(forger != PAYER_KEY);
        Drafts.Row memory row = _row(forger, 0, 100, _parts(5));
        row.key = payer;
        _settleSkips(row, IInferenceEscrow.Skip.Unsigned);
        (row.r, row.vs) = (r, vs);
        _settleSkips(row, IInferenceEscrow.Skip.Unsigned);
    }

    function test_Settle_SkipsAVoucherOfAnotherChainOrContract() public {
        bytes32[2] memory domains = [_domain(address(escrow), 1), _domain(address(token), block.chainid)];
        for (uint256 i = 0; i < domains.length; ++i) {
            Drafts.Row memory row = _row(PAYER_KEY, 0, 100, _parts(5));
            bytes32 digest = MessageHashUtils.toTypedDataHash(domains[i], Messages.hashVoucher(accountId, payer, 100, row.usageHead));
            (row.r, row.vs) = _signCompact(PAYER_KEY, digest);
            _settleSkips(row, IInferenceEscrow.Skip.Unsigned);
        }
    }

    function test_Settle_SkipsAfterTheChainForks() public {
        Drafts.Row memory row = _row(PAYER_KEY, 0, 100, _parts(5));
        vm.chainId(2);
        Drafts.Batch memory batch = _batch(row);
        vm.expectEmit(address(escrow));
        emit IInferenceEscrow.RowSkipped(batch.batchId, 0, IInferenceEscrow.Skip.Unfunded);
        vm.assertEq(_settle(batch), 0);
    }

    /// The same signature with the other s: EIP-2098 has no room for it, and a set top bit only flips v.
    function test_Settle_HasNoMalleableTwin() public {
        Drafts.Row memory row = _row(PAYER_KEY, 0, 100, _parts(5));
        uint256 s = uint256(row.vs) & (type(uint256).max >> 1);
        vm.assertLe(s, HALF_ORDER, "signer made a low s");
        uint256 parity = (uint256(row.vs) >> 255) ^ 1;
        row.vs = bytes32((ORDER - s) | (parity << 255));
        _settleSkips(row, IInferenceEscrow.Skip.Unsigned);
    }

    function test_Settle_SkipsTheZeroKey() public {
        Drafts.Row memory row = _row(PAYER_KEY, 0, 100, _parts(5));
        row.key = address(0);
        (row.r, row.vs) = (bytes32(0), bytes32(0));
        _settleSkips(row, IInferenceEscrow.Skip.KeyEnded);
        row.payer = address(0);
        _settleSkips(row, IInferenceEscrow.Skip.Unfunded);
    }

    function test_Settle_AContractPayerSpendsThroughAGrantedKeyOnly() public {
        WalletDouble wallet = new WalletDouble(vm.addr(PAYER_KEY));
        payer = address(wallet);
        accountId = _fund(_account(), AMOUNT);
        Drafts.Row memory row = _row(PAYER_KEY, 0, 100, _parts(5));
        row.key = payer;
        _settleSkips(row, IInferenceEscrow.Skip.Unsigned);
        _grant(AMOUNT, NOW);
        vm.assertEq(_settle(_batch(_row(GRANTED_KEY, 0, 100, _parts(5)))), 5);
    }

    // Lanes

    /// I11: what was served at or after the model's end for its purpose, too long ago or in the future, is refused.
    function testFuzz_Settle_RefusesLanesOutOfTime(uint40 endsAt, uint40 servedAt) public {
        endsAt = uint40(_bound(endsAt, NOW - 2 * MAX_AGE, NOW + 10));
        servedAt = uint40(_bound(servedAt, NOW - 2 * MAX_AGE, NOW + 10));
        catalog.set(MODEL, 1, PAYEES_PPM, endsAt);
        Drafts.Batch memory batch = _batch(_row(PAYER_KEY, 0, 10, _parts(3, 7)));
        batch.lanes[0].lastServedAt = servedAt;
        bool good = servedAt <= NOW && NOW - servedAt <= MAX_AGE && servedAt < endsAt;
        if (!good) {
            vm.expectEmit(address(escrow));
            emit IInferenceEscrow.LaneRefused(batch.batchId, 0);
        }
        vm.assertEq(_settle(batch), good ? 10 : 7);
        vm.assertEq(escrow.balance(accountId).ownSpent, good ? 10 : 7);
        vm.assertEq(_income(MODEL), good ? 3 * PAYEES_PPM / 1e6 : 0);
    }

    function test_Settle_SkipsARowWhoseLanesAreAllRefused() public {
        Drafts.Batch memory batch = _batch(_row(PAYER_KEY, 0, 10, _parts(3)));
        batch.lanes[0].modelId = keccak256("unknown");
        vm.expectEmit(address(escrow));
        emit IInferenceEscrow.LaneRefused(batch.batchId, 0);
        vm.expectEmit(address(escrow));
        emit IInferenceEscrow.RowSkipped(batch.batchId, 0, IInferenceEscrow.Skip.LaneRefused);
        vm.assertEq(_settle(batch), 0);
    }

    function test_Settle_RefusesAPurposeThatIsNotGrantedAndALaneOfNobody() public {
        Drafts.Batch memory batch = _batch(_row(PAYER_KEY, 0, 10, _parts(3, 7)));
        batch.lanes[0].purpose = 2;
        batch.lanes[1].provider = address(0);
        vm.assertEq(_settle(batch), 0);
        vm.assertEq(escrow.credit(address(0)), 0);
    }

    /// Only the creditable parts must fit ceiling, cap and deposit.
    function test_Settle_RefusedPartsCountNowhere() public {
        Drafts.Batch memory batch = _batch(_row(PAYER_KEY, 0, 7, _parts(type(uint80).max, 7)));
        batch.lanes[0].purpose = 2;
        vm.assertEq(_settle(batch), 7);
    }

    function test_Settle_SkipsARowWithoutParts() public {
        _settleSkips(_row(PAYER_KEY, 0, 10, new Drafts.Part[](0)), IInferenceEscrow.Skip.LaneRefused);
        _settleSkips(_row(PAYER_KEY, 0, 10, _parts(0)), IInferenceEscrow.Skip.LaneRefused);
    }

    // Collector's fee

    function testFuzz_SetCollectorFee_RaisesLateAndLowersAtOnce(uint32 first, uint32 second) public {
        first = uint32(_bound(first, 0, 100_000));
        second = uint32(_bound(second, 0, 100_000));
        vm.startPrank(collector);
        escrow.setCollectorFee(first);
        vm.assertEq(escrow.collectorFeePpm(collector), 0);
        vm.warp(NOW + MAX_AGE - 1);
        vm.assertEq(escrow.collectorFeePpm(collector), 0);
        vm.warp(NOW + MAX_AGE);
        vm.assertEq(escrow.collectorFeePpm(collector), first);
        escrow.setCollectorFee(second);
        vm.assertEq(escrow.collectorFeePpm(collector), second < first ? second : first);
        vm.warp(NOW + 2 * MAX_AGE);
        vm.assertEq(escrow.collectorFeePpm(collector), second);
        vm.stopPrank();
    }

    function test_SetCollectorFee_TellsWhenItActs() public {
        vm.startPrank(collector);
        vm.expectEmit(address(escrow));
        emit IInferenceEscrow.CollectorFeeSet(collector, 100, NOW + MAX_AGE);
        escrow.setCollectorFee(100);
        vm.warp(NOW + MAX_AGE);
        vm.expectEmit(address(escrow));
        emit IInferenceEscrow.CollectorFeeSet(collector, 100, NOW + MAX_AGE);
        escrow.setCollectorFee(100);
        vm.expectEmit(address(escrow));
        emit IInferenceEscrow.CollectorFeeSet(collector, 99, NOW + MAX_AGE);
        escrow.setCollectorFee(99);
        vm.stopPrank();
    }

    function test_SetCollectorFee_LoweringForgetsAPendingRaise() public {
        vm.startPrank(collector);
        escrow.setCollectorFee(100_000);
        escrow.setCollectorFee(0);
        vm.warp(NOW + MAX_AGE);
        vm.assertEq(escrow.collectorFeePpm(collector), 0);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowFeeTooHigh.selector, 100_001, 100_000));
        escrow.setCollectorFee(100_001);
        vm.stopPrank();
    }

    // Private

    function _income(bytes32 modelId) private view returns (uint256) {
        return royalties.income(modelId, royalties.currentEpoch());
    }
}
