// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {InferenceEscrow} from "../../../contracts/InferenceEscrow.sol";
import {RoyaltyLedger} from "../../../contracts/RoyaltyLedger.sol";
import {TestDollar} from "../../../contracts/TestDollar.sol";
import {IInferenceEscrow} from "../../../contracts/interfaces/IInferenceEscrow.sol";
import {Messages} from "../../../contracts/libraries/Messages.sol";
import {Drafts} from "./Drafts.sol";
import {CatalogDouble, ParametersDouble} from "./MarketDoubles.sol";
import {TestKit} from "./Vm.sol";

/// @title An escrow on doubles of the registries, and how to build, sign and settle batches.
abstract contract EscrowFixture is TestKit {
    uint40 internal constant NOW = 1_800_000_000;
    uint40 internal constant MAX_AGE = 1 hours;
    uint32 internal constant THAW = 2 hours;
    uint256 internal constant PAYER_KEY = 0xA11CE;
    uint256 internal constant GRANTED_KEY = 0xB0B;
    uint256 internal constant COLLECTOR_KEY = 0xC0C0;
    bytes32 internal constant MODEL = keccak256("model");
    bytes32 internal constant OTHER_MODEL = keccak256("other model");
    bytes32 internal constant ROOT = keccak256("receipts");
    uint32 internal constant PAYEES_PPM = 300_000;
    uint32 internal constant PROTOCOL_PPM = 20_000;

    TestDollar internal token;
    CatalogDouble internal catalog;
    ParametersDouble internal parameters;
    InferenceEscrow internal escrow;
    RoyaltyLedger internal royalties;
    address internal payer = vm.addr(PAYER_KEY);
    address internal granted = vm.addr(GRANTED_KEY);
    address internal collector = vm.addr(COLLECTOR_KEY);
    address internal provider = address(0x9001);
    address internal treasury = address(0x7EA5);
    uint256 private _batches;

    function setUp() public virtual {
        vm.warp(NOW);
        token = new TestDollar();
        catalog = new CatalogDouble();
        parameters = new ParametersDouble();
        parameters.set(PROTOCOL_PPM, treasury);
        catalog.set(MODEL, 1, PAYEES_PPM, type(uint40).max);
        catalog.set(OTHER_MODEL, 1, 0, type(uint40).max);
        escrow = _newEscrow(address(token));
        royalties = RoyaltyLedger(escrow.ROYALTIES());
    }

    function _newEscrow(address token_) internal returns (InferenceEscrow) {
        return new InferenceEscrow(token_, address(catalog), address(catalog), address(parameters), MAX_AGE);
    }

    // Accounts

    function _account() internal view returns (IInferenceEscrow.Account memory) {
        return _accountOf(payer, collector);
    }

    function _accountOf(address payer_, address collector_) internal pure returns (IInferenceEscrow.Account memory) {
        return IInferenceEscrow.Account({payer: payer_, collector: collector_, thawSeconds: THAW, salt: bytes32(uint256(7))});
    }

    /// Deposits and checks that exactly the amount arrived.
    function _fund(IInferenceEscrow.Account memory account, uint128 amount) internal returns (bytes32 accountId) {
        accountId = escrow.accountIdOf(account);
        uint256 held = token.balanceOf(address(escrow));
        uint256 owed = escrow.owed();
        uint128 before = escrow.balance(accountId).deposit;
        token.mint(address(this), amount);
        token.approve(address(escrow), amount);
        vm.assertEq(escrow.deposit(account, amount), accountId);
        vm.assertEq(token.balanceOf(address(escrow)), held + amount);
        vm.assertEq(escrow.owed(), owed + amount);
        vm.assertEq(escrow.balance(accountId).deposit, before + amount);
    }

    function _grant(uint128 cap, uint40 notAfter) internal {
        uint32 nonce = escrow.key(escrow.accountIdOf(_account()), granted).nonce + 1;
        vm.prank(payer);
        escrow.grantKey(_account(), granted, cap, notAfter, nonce);
    }

    // Batches

    function _digest(bytes32 structHash) internal view returns (bytes32) {
        return MessageHashUtils.toTypedDataHash(_domain(address(escrow), block.chainid), structHash);
    }

    function _domain(address verifier, uint256 chainId) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Granary InferenceEscrow"),
                keccak256("1"),
                chainId,
                verifier
            )
        );
    }

    function _parts(uint128 amount) internal pure returns (Drafts.Part[] memory parts) {
        parts = new Drafts.Part[](1);
        parts[0] = Drafts.Part({lane: 0, amount: amount});
    }

    function _parts(uint128 first, uint128 second) internal pure returns (Drafts.Part[] memory parts) {
        parts = new Drafts.Part[](2);
        parts[0] = Drafts.Part({lane: 0, amount: first});
        parts[1] = Drafts.Part({lane: 1, amount: second});
    }

    /// A row signed by `privateKey`, whose address is the row's key.
    function _row(uint256 privateKey, uint128 from, uint128 ceiling, Drafts.Part[] memory parts)
        internal
        view
        returns (Drafts.Row memory)
    {
        return _rowOf(_account(), privateKey, from, ceiling, parts);
    }

    function _rowOf(IInferenceEscrow.Account memory account, uint256 privateKey, uint128 from, uint128 ceiling, Drafts.Part[] memory parts)
        internal
        view
        returns (Drafts.Row memory row)
    {
        row.payer = account.payer;
        row.thawSeconds = account.thawSeconds;
        row.salt = account.salt;
        row.key = vm.addr(privateKey);
        row.from = from;
        row.ceiling = ceiling;
        row.usageHead = keccak256("head");
        row.parts = parts;
        bytes32 digest = _digest(Messages.hashVoucher(escrow.accountIdOf(account), row.key, ceiling, row.usageHead));
        (row.r, row.vs) = _signCompact(privateKey, digest);
    }

    function _lane(bytes32 modelId, address provider_) internal view returns (IInferenceEscrow.Lane memory) {
        return IInferenceEscrow.Lane({modelId: modelId, provider: provider_, purpose: 1, lastServedAt: uint40(block.timestamp)});
    }

    /// Lane 0 serves MODEL, lane 1 OTHER_MODEL.
    function _batch(Drafts.Row memory row) internal returns (Drafts.Batch memory) {
        Drafts.Row[] memory rows = new Drafts.Row[](1);
        rows[0] = row;
        return _batch(rows);
    }

    function _batch(Drafts.Row[] memory rows) internal returns (Drafts.Batch memory batch) {
        batch.collector = collector;
        batch.batchId = bytes32(++_batches);
        batch.lanes = new IInferenceEscrow.Lane[](2);
        batch.lanes[0] = _lane(MODEL, provider);
        batch.lanes[1] = _lane(OTHER_MODEL, provider);
        batch.rows = rows;
        batch.receiptsRoot = ROOT;
    }

    /// Settles as the collector and checks that what is owed stays the same, to the unit.
    function _settle(Drafts.Batch memory batch) internal returns (uint128 gross) {
        uint256 owed = escrow.owed();
        vm.prank(batch.collector);
        gross = escrow.settleBatch(Drafts.encode(batch), "");
        vm.assertEq(escrow.owed(), owed);
        vm.assertEq(escrow.batchRoot(batch.collector, batch.batchId), batch.receiptsRoot);
    }

    /// The row is skipped for `reason` and nothing is charged.
    function _settleSkips(Drafts.Row memory row, IInferenceEscrow.Skip reason) internal {
        bytes32 accountId = escrow.accountIdOf(
            IInferenceEscrow.Account({payer: row.payer, collector: collector, thawSeconds: row.thawSeconds, salt: row.salt})
        );
        IInferenceEscrow.Balance memory before = escrow.balance(accountId);
        Drafts.Batch memory batch = _batch(row);
        vm.expectEmit(address(escrow));
        emit IInferenceEscrow.RowSkipped(batch.batchId, 0, reason);
        vm.assertEq(_settle(batch), 0);
        vm.assertEq(keccak256(abi.encode(escrow.balance(accountId))), keccak256(abi.encode(before)));
    }
}
