// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IInferenceEscrow} from "../../contracts/interfaces/IInferenceEscrow.sol";
import {Drafts} from "./support/Drafts.sol";
import {EscrowFixture} from "./support/EscrowFixture.sol";
import {WalletDouble} from "./support/MarketDoubles.sol";
import {Vm} from "./support/Vm.sol";

/// Batches as a whole: what one bad row does to the others, who brings them, how large and how malformed they may be.
contract InferenceEscrowBatchesTest is EscrowFixture {
    uint128 internal constant AMOUNT = 10e6;

    bytes32 internal accountId;

    function setUp() public override {
        super.setUp();
        accountId = _fund(_account(), AMOUNT);
    }

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

    /// Nor does a model without payees get an income of nothing.
    function test_Settle_TellsNothingOfALaneThatTookNothing() public {
        Drafts.Batch memory batch = _batch(_row(PAYER_KEY, 0, 10, _parts(0, 5)));
        vm.recordLogs();
        vm.assertEq(_settle(batch), 5);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 2);
        vm.assertEq(logs[0].topics[0], IInferenceEscrow.LaneSettled.selector);
        vm.assertEq(logs[1].topics[0], IInferenceEscrow.BatchSettled.selector);
    }

    function test_Settle_AnyoneRelaysWhatTheCollectorSigned() public {
        Drafts.Batch memory batch = _batch(_row(PAYER_KEY, 0, 10, _parts(5)));
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowNotCollector.selector, address(this), collector));
        escrow.settleBatch(Drafts.encode(batch), "");
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowSignatureInvalid.selector, collector));
        escrow.settleBatch(Drafts.encode(batch), hex"00");
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
