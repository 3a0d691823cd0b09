// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {IInferenceEscrow} from "../../contracts/interfaces/IInferenceEscrow.sol";
import {Messages} from "../../contracts/libraries/Messages.sol";
import {Drafts} from "./support/Drafts.sol";
import {EscrowFixture} from "./support/EscrowFixture.sol";
import {WalletDouble} from "./support/MarketDoubles.sol";

/// Batches: what is charged, what is skipped, where the money goes.
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

    // Batches

    /// I4: bad rows between good ones change nothing but themselves.
    function testFuzz_Settle_BadRowsHurtNobodyElse(uint256 badAt, uint8 fault) public {
        uint256 count = 5;
        badAt = _bound(badAt, 0, count - 1);
        Drafts.Row[] memory rows = new Drafts.Row[](count);
        bytes32[] memory ids = new bytes32[](count);
        for (uint256 i = 0; i < count; ++i) {
            IInferenceEscrow.Account memory account = _accountOf(vm.addr(100 + i), collector);
            ids[i] = _fund(account, 1e6);
            rows[i] = _rowOf(account, 100 + i, 0, 1e6, _parts(uint128(1000 + i), 7));
        }
        if (fault % 5 == 0) rows[badAt].from = 1;
        if (fault % 5 == 1) rows[badAt].vs = 0;
        if (fault % 5 == 2) rows[badAt].parts[1].amount = 1e6;
        if (fault % 5 == 3) rows[badAt].thawSeconds = 0;
        if (fault % 5 == 4) rows[badAt].key = address(9);
        uint128 gross = _settle(_batch(rows));
        uint256 expected = 0;
        for (uint256 i = 0; i < count; ++i) {
            vm.assertEq(escrow.balance(ids[i]).charged, i == badAt ? 0 : 1007 + i);
            expected += escrow.balance(ids[i]).charged;
        }
        vm.assertEq(gross, expected);
    }

    /// I4.
    function test_Settle_AnExecutedBatchIsANoOp() public {
        Drafts.Batch memory batch = _batch(_row(PAYER_KEY, 0, 10, _parts(5)));
        vm.assertEq(_settle(batch), 5);
        bytes32 before = keccak256(abi.encode(escrow.balance(accountId), escrow.credit(provider), _income(MODEL)));
        batch.rows[0] = _row(PAYER_KEY, 5, 10, _parts(5));
        vm.recordLogs();
        vm.assertEq(_settle(batch), 0);
        vm.assertEq(vm.getRecordedLogs().length, 0);
        vm.assertEq(keccak256(abi.encode(escrow.balance(accountId), escrow.credit(provider), _income(MODEL))), before);
    }

    /// I4: rows of different accounts may come in any order.
    function test_Settle_OrderMattersOnlyWithinOneAccount() public {
        IInferenceEscrow.Account memory other = _accountOf(granted, collector);
        _fund(other, AMOUNT);
        bytes32[2] memory outcomes;
        for (uint256 order = 0; order < 2; ++order) {
            uint256 snapshot = vm.snapshotState();
            Drafts.Row[] memory rows = new Drafts.Row[](2);
            rows[order] = _row(PAYER_KEY, 0, 10, _parts(3, 4));
            rows[1 - order] = _rowOf(other, GRANTED_KEY, 0, 10, _parts(9));
            _settle(_batch(rows));
            outcomes[order] = keccak256(
                abi.encode(escrow.balance(accountId), escrow.balance(escrow.accountIdOf(other)), escrow.credit(provider), _income(MODEL))
            );
            vm.revertToState(snapshot);
        }
        vm.assertEq(outcomes[0], outcomes[1]);
    }

    function test_Settle_AnyoneRelaysWhatTheCollectorSigned() public {
        Drafts.Batch memory batch = _batch(_row(PAYER_KEY, 0, 10, _parts(5)));
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowNotCollector.selector, address(this), collector));
        escrow.settleBatch(Drafts.encode(batch), "");
        bytes memory signature = _sign(COLLECTOR_KEY, _batchDigest(batch));
        vm.assertEq(escrow.settleBatch(Drafts.encode(batch), signature), 5);
    }

    function testFuzz_Settle_RevertWhen_TheRelayedBatchWasChanged(uint256 field) public {
        Drafts.Batch memory batch = _batch(_row(PAYER_KEY, 0, 10, _parts(5)));
        bytes memory signature = _sign(COLLECTOR_KEY, _batchDigest(batch));
        field = _bound(field, 0, 4);
        if (field == 0) batch.batchId = bytes32(uint256(batch.batchId) + 1);
        if (field == 1) batch.receiptsRoot = bytes32(uint256(batch.receiptsRoot) + 1);
        if (field == 2) batch.lanes[0].provider = address(this);
        if (field == 3) batch.rows[0].parts[0].amount = 6;
        if (field == 4) batch.rows = new Drafts.Row[](0);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowSignatureInvalid.selector, collector));
        escrow.settleBatch(Drafts.encode(batch), signature);
    }

    function test_Settle_AsksAContractCollector() public {
        collector = address(new WalletDouble(vm.addr(COLLECTOR_KEY)));
        _fund(_account(), AMOUNT);
        Drafts.Batch memory batch = _batch(_row(PAYER_KEY, 0, 10, _parts(5)));
        bytes memory signature = _sign(COLLECTOR_KEY, _batchDigest(batch));
        WalletDouble(collector).setWilling(false);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowSignatureInvalid.selector, collector));
        escrow.settleBatch(Drafts.encode(batch), signature);
        WalletDouble(collector).setWilling(true);
        vm.assertEq(escrow.settleBatch(Drafts.encode(batch), signature), 5);
    }

    function test_Settle_AnotherCollectorCannotChargeTheAccount() public {
        Drafts.Batch memory batch = _batch(_row(PAYER_KEY, 0, 10, _parts(5)));
        batch.collector = address(this);
        vm.assertEq(_settle(batch), 0);
        vm.assertEq(escrow.balance(accountId).charged, 0);
    }

    function test_Settle_RevertWhen_Malformed() public {
        Drafts.Batch memory batch = _batch(_row(PAYER_KEY, 0, 10, _parts(5)));
        batch.receiptsRoot = 0;
        _settleReverts(batch, abi.encodeWithSelector(IInferenceEscrow.EscrowReceiptsRootMissing.selector, batch.batchId));
        batch.receiptsRoot = ROOT;
        batch.rows[0].parts[0].lane = 2;
        _settleReverts(batch, abi.encodeWithSelector(IInferenceEscrow.EscrowLaneUnknown.selector, 2, 2));
        batch.rows[0].parts = new Drafts.Part[](65);
        _settleReverts(batch, abi.encodeWithSelector(IInferenceEscrow.EscrowBatchTooLarge.selector, 65, 64));
        batch.rows = new Drafts.Row[](513);
        _settleReverts(batch, abi.encodeWithSelector(IInferenceEscrow.EscrowBatchTooLarge.selector, 513, 512));
        batch.lanes = new IInferenceEscrow.Lane[](65);
        _settleReverts(batch, abi.encodeWithSelector(IInferenceEscrow.EscrowBatchTooLarge.selector, 65, 64));
    }

    /// Cut anywhere within a row.
    function testFuzz_Settle_RevertWhen_RowsAreMalformed(uint256 length, bool byGranted) public {
        Drafts.Row memory row = _row(byGranted ? GRANTED_KEY : PAYER_KEY, 0, 10, _parts(3, 4));
        IInferenceEscrow.Batch memory batch = Drafts.encode(_batch(row));
        bytes memory good = batch.rows;
        vm.assertEq(good.length, byGranted ? 221 : 201);
        length = _bound(length, 1, good.length - 1);
        batch.rows = new bytes(length);
        for (uint256 i = 0; i < length; ++i) batch.rows[i] = good[i];
        _encodedReverts(batch, abi.encodeWithSelector(IInferenceEscrow.EscrowRowMalformed.selector, 0));
        batch.rows = bytes.concat(good, batch.rows);
        _encodedReverts(batch, abi.encodeWithSelector(IInferenceEscrow.EscrowRowMalformed.selector, good.length));
    }

    /// Whatever a byte of rows says, it moves no money but what was signed.
    function testFuzz_Settle_AChangedByteChargesNothingElse(uint256 at, uint8 value) public {
        IInferenceEscrow.Batch memory batch = Drafts.encode(_batch(_row(PAYER_KEY, 0, 10, _parts(3, 4))));
        at = _bound(at, 0, batch.rows.length - 1);
        vm.assume(batch.rows[at] != bytes1(value));
        batch.rows[at] = bytes1(value);
        vm.prank(collector);
        try escrow.settleBatch(batch, "") returns (uint128 gross) {
            // The parts are the collector's statement: a single changed one stays within the signed ceiling.
            bool isPart = at >= 179;
            vm.assertTrue(isPart ? gross <= 10 : gross == 0);
            vm.assertEq(escrow.balance(accountId).charged, gross);
        } catch {
            vm.assertEq(escrow.balance(accountId).charged, 0);
        }
    }

    function test_Settle_TakesAFullBatch() public {
        Drafts.Row[] memory rows = new Drafts.Row[](512);
        for (uint128 i = 0; i < 512; ++i) {
            rows[i] = _row(PAYER_KEY, i, 512, _parts(1));
        }
        Drafts.Batch memory batch = _batch(rows);
        IInferenceEscrow.Lane[] memory lanes = new IInferenceEscrow.Lane[](64);
        for (uint256 i = 0; i < 64; ++i) {
            lanes[i] = _lane(MODEL, provider);
        }
        batch.lanes = lanes;
        vm.assertEq(_settle(batch), 512);
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

    function _settleReverts(Drafts.Batch memory batch, bytes memory reason) private {
        _encodedReverts(Drafts.encode(batch), reason);
    }

    function _encodedReverts(IInferenceEscrow.Batch memory batch, bytes memory reason) private {
        vm.expectRevert(reason);
        vm.prank(collector);
        escrow.settleBatch(batch, "");
    }

    function _batchDigest(Drafts.Batch memory batch) private view returns (bytes32) {
        return _digest(
            keccak256(
                abi.encode(
                    keccak256("SettleBatch(address collector,bytes32 batchId,bytes32 lanesHash,bytes32 rowsHash,bytes32 receiptsRoot)"),
                    batch.collector,
                    batch.batchId,
                    keccak256(abi.encode(batch.lanes)),
                    keccak256(Drafts.encode(batch.rows)),
                    batch.receiptsRoot
                )
            )
        );
    }
}
