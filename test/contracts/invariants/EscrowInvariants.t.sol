// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {InferenceEscrow} from "../../../contracts/InferenceEscrow.sol";
import {TestDollar} from "../../../contracts/TestDollar.sol";
import {IInferenceEscrow} from "../../../contracts/interfaces/IInferenceEscrow.sol";
import {Messages} from "../../../contracts/libraries/Messages.sol";
import {Drafts} from "../support/Drafts.sol";
import {CatalogDouble, ParametersDouble} from "../support/MarketDoubles.sol";
import {TestKit} from "../support/Vm.sol";

/// README.md says each in words.
contract EscrowInvariantsTest is TestKit {
    InferenceEscrow internal escrow;
    TestDollar internal token;
    EscrowHandler internal handler;

    function setUp() public {
        vm.warp(1_800_000_000);
        token = new TestDollar();
        CatalogDouble catalog = new CatalogDouble();
        ParametersDouble parameters = new ParametersDouble();
        parameters.set(20_000, address(0x7EA5));
        escrow = new InferenceEscrow(address(token), address(catalog), address(catalog), address(parameters), 1 hours);
        handler = new EscrowHandler(escrow, token, catalog, parameters);
        catalog.set(handler.modelOf(0), 1, 300_000, type(uint40).max);
        catalog.set(handler.modelOf(1), 1, 123_457, type(uint40).max);
        _target(address(handler));
    }

    /// The handler's settlements really charge; otherwise the invariants would say nothing.
    function test_Handler_Settles() public {
        for (uint256 i = 0; i < 6; ++i) {
            handler.deposit(i, 999e6);
        }
        for (uint256 i = 0; i < 30; ++i) {
            handler.settle(uint256(keccak256(abi.encode(i))));
        }
        vm.assertTrue(handler.settled() > 100e6);
        vm.assertTrue(handler.royaltyIncome() > 1e6);
        invariant_I3_EveryUnitIsCredited();
    }

    function invariant_I1_EscrowIsSolvent() public view {
        uint256 uncharged = 0;
        for (uint256 i = 0; i < _accounts(); ++i) {
            IInferenceEscrow.Balance memory found = escrow.balance(escrow.accountIdOf(handler.account(i)));
            uncharged += found.deposit - found.charged;
        }
        vm.assertEq(escrow.owed(), uncharged + _credits() + handler.royaltyIncome() - handler.royaltiesPaid(), "owed is exact");
        vm.assertEq(token.balanceOf(address(escrow)), escrow.owed(), "held = owed");
    }

    function invariant_I2_ChargedNeverExceedsDeposit() public view {
        for (uint256 i = 0; i < _accounts(); ++i) {
            IInferenceEscrow.Balance memory found = escrow.balance(escrow.accountIdOf(handler.account(i)));
            vm.assertLe(found.charged, found.deposit, "charged <= deposit");
        }
        vm.assertFalse(handler.chargedFell());
    }

    function invariant_I2_KeysStayWithinCeilingAndCap() public view {
        for (uint256 i = 0; i < _accounts(); ++i) {
            bytes32 accountId = escrow.accountIdOf(handler.account(i));
            IInferenceEscrow.Balance memory found = escrow.balance(accountId);
            uint256 spent = found.ownSpent;
            vm.assertLe(found.ownSpent, handler.highestCeiling(accountId, handler.keyOf(i, 0)), "own <= ceiling");
            for (uint256 which = 1; which < handler.KEYS(); ++which) {
                address key = handler.keyOf(i, which);
                IInferenceEscrow.Key memory grant = escrow.key(accountId, key);
                vm.assertLe(grant.spent, handler.highestCeiling(accountId, key), "key <= ceiling");
                vm.assertLe(grant.spent, grant.cap, "key <= cap");
                spent += grant.spent;
            }
            vm.assertEq(spent, found.charged, "keys together = charged");
        }
    }

    function invariant_I3_EveryUnitIsCredited() public view {
        uint256 charged = 0;
        for (uint256 i = 0; i < _accounts(); ++i) {
            charged += escrow.balance(escrow.accountIdOf(handler.account(i))).charged;
        }
        vm.assertEq(charged, handler.settled(), "charged = gross");
        vm.assertEq(_credits() + handler.claimed() + handler.royaltyIncome(), handler.settled(), "credited = gross");
    }

    function invariant_I9_MoneyLeavesOnlyToItsOwners() public view {
        uint256 out = handler.withdrawn() + handler.claimed() + handler.royaltiesPaid();
        vm.assertEq(token.balanceOf(address(escrow)) + out, handler.deposited(), "in = held + out");
    }

    function _accounts() private view returns (uint256) {
        return handler.PAYERS() * handler.COLLECTORS();
    }

    function _credits() private view returns (uint256 sum) {
        for (uint256 i = 0; i < handler.creditors(); ++i) {
            sum += escrow.credit(handler.creditorOf(i));
        }
    }
}

/// @title Acts as everybody and keeps ghost sums.
/// @dev In this file because the runner finds only targets of the file that it runs.
contract EscrowHandler is TestKit {
    uint256 public constant PAYERS = 3;
    uint256 public constant COLLECTORS = 2;
    uint256 public constant KEYS = 3; // the payer's own and two granted ones
    uint256 public constant PROVIDERS = 2;
    uint32 private constant THAW = 2 hours;

    InferenceEscrow public immutable ESCROW;
    TestDollar public immutable TOKEN;
    CatalogDouble private immutable CATALOG;
    ParametersDouble private immutable PARAMETERS;
    bytes32 private immutable DOMAIN;

    uint256 public deposited;
    uint256 public withdrawn;
    uint256 public claimed;
    uint256 public royaltiesPaid;
    uint256 public settled;
    uint256 public royaltyIncome;
    bool public chargedFell;
    mapping(bytes32 accountId => uint256) public highestCharged;
    mapping(bytes32 accountId => mapping(address key => uint256)) public highestCeiling;
    mapping(string act => uint256 calls) public calls;
    uint256 private _batches;
    uint256 private _nonces;

    constructor(InferenceEscrow escrow, TestDollar token, CatalogDouble catalog, ParametersDouble parameters) {
        ESCROW = escrow;
        TOKEN = token;
        CATALOG = catalog;
        PARAMETERS = parameters;
        DOMAIN = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Granary InferenceEscrow"),
                keccak256("1"),
                block.chainid,
                address(escrow)
            )
        );
    }

    // Payers

    function deposit(uint256 who, uint64 amount) external counted("deposit") {
        amount = uint64(_bound(amount, 1, 1_000e6));
        TOKEN.mint(address(this), amount);
        TOKEN.approve(address(ESCROW), amount);
        ESCROW.deposit(account(who), amount);
        deposited += amount;
    }

    function startThaw(uint256 who, uint64 amount, bool bySignature) external counted("startThaw") {
        IInferenceEscrow.Balance memory found = ESCROW.balance(ESCROW.accountIdOf(account(who)));
        if (found.deposit == found.charged) return;
        amount = uint64(_bound(amount, 1, found.deposit - found.charged));
        if (bySignature) {
            bytes memory signature = _signAsPayer(who, Messages.hashStartThaw(_idOf(who), amount, ++_nonces, block.timestamp));
            ESCROW.startThawBySig(account(who), amount, _nonces, block.timestamp, signature);
            return;
        }
        vm.prank(account(who).payer);
        ESCROW.startThaw(account(who), amount);
    }

    function cancelThaw(uint256 who, bool bySignature) external counted("cancelThaw") {
        if (ESCROW.balance(_idOf(who)).thawing == 0) return;
        if (bySignature) {
            bytes memory signature = _signAsPayer(who, Messages.hashCancelThaw(_idOf(who), ++_nonces, block.timestamp));
            ESCROW.cancelThawBySig(account(who), _nonces, block.timestamp, signature);
            return;
        }
        vm.prank(account(who).payer);
        ESCROW.cancelThaw(account(who));
    }

    function withdraw(uint256 who, bool bySignature) external counted("withdraw") {
        IInferenceEscrow.Balance memory found = ESCROW.balance(ESCROW.accountIdOf(account(who)));
        if (found.thawing == 0) return;
        if (block.timestamp < found.thawEndsAt) vm.warp(found.thawEndsAt);
        address payer = account(who).payer;
        address to = bySignature ? address(0xE15E) : payer;
        uint256 before = TOKEN.balanceOf(to);
        if (bySignature) {
            bytes memory signature = _signAsPayer(who, Messages.hashWithdraw(_idOf(who), to, ++_nonces, block.timestamp));
            ESCROW.withdrawBySig(account(who), to, _nonces, block.timestamp, signature);
        } else {
            ESCROW.withdraw(account(who), payer);
        }
        withdrawn += TOKEN.balanceOf(to) - before;
    }

    function grantKey(uint256 who, uint256 which, uint64 cap, uint40 validSeconds) external counted("grantKey") {
        address key = keyOf(who, _bound(which, 1, KEYS - 1));
        IInferenceEscrow.Key memory found = ESCROW.key(ESCROW.accountIdOf(account(who)), key);
        if (found.revokedAt != 0) return;
        cap = uint64(_bound(cap, found.cap, found.cap + 100e6));
        uint40 notAfter = uint40(block.timestamp + _bound(validSeconds, 1, 1 days));
        if (notAfter < found.notAfter) notAfter = found.notAfter;
        vm.prank(account(who).payer);
        ESCROW.grantKey(account(who), key, cap, notAfter, found.nonce + 1);
    }

    function revokeKey(uint256 who, uint256 which, uint256 chance) external counted("revokeKey") {
        if (chance % 8 != 0) return;
        address key = keyOf(who, _bound(which, 1, KEYS - 1));
        vm.prank(account(who).payer);
        ESCROW.revokeKey(account(who), key);
    }

    // Collectors

    /// Rows of up to three keys; some are stale, over their ceiling, over their cap, unfunded, forged or of refused lanes.
    function settle(uint256 seed) external counted("settle") {
        _settle(seed, false);
    }

    function settleAgain(uint256 seed) external counted("settleAgain") {
        _settle(seed, true);
    }

    function setCollectorFee(uint256 collector, uint32 feePpm) external counted("setCollectorFee") {
        vm.prank(collectorOf(collector));
        ESCROW.setCollectorFee(uint32(_bound(feePpm, 0, 100_000)));
    }

    // Everybody else

    function claimCredit(uint256 which) external counted("claimCredit") {
        address owner = creditorOf(_bound(which, 0, creditors() - 1));
        if (ESCROW.credit(owner) == 0) return;
        uint256 before = TOKEN.balanceOf(owner);
        ESCROW.claimCreditFor(owner);
        claimed += TOKEN.balanceOf(owner) - before;
    }

    function payRoyalty(uint64 amount) external counted("payRoyalty") {
        if (royaltyIncome == royaltiesPaid) return;
        amount = uint64(_bound(amount, 1, royaltyIncome - royaltiesPaid));
        vm.prank(ESCROW.ROYALTIES());
        ESCROW.payRoyalty(address(0xBEEF), amount);
        royaltiesPaid += amount;
    }

    function govern(uint32 feePpm) external counted("govern") {
        PARAMETERS.set(feePpm, address(0x7EA5));
    }

    function setTerms(uint256 which, uint32 payeesPpm, uint256 ends) external counted("setTerms") {
        uint40 endsAt = ends % 4 == 0 ? uint40(block.timestamp) : type(uint40).max;
        CATALOG.set(modelOf(which), 1, uint32(_bound(payeesPpm, 0, 850_000)), endsAt);
    }

    function pass(uint256 time) external counted("pass") {
        vm.warp(block.timestamp + _bound(time, 1, 3 hours));
    }

    // Who is who

    function account(uint256 who) public pure returns (IInferenceEscrow.Account memory) {
        who %= PAYERS * COLLECTORS;
        return IInferenceEscrow.Account({
            payer: vm.addr(_payerKey(who)), collector: collectorOf(who / PAYERS), thawSeconds: THAW, salt: bytes32(who)
        });
    }

    function keyOf(uint256 who, uint256 which) public pure returns (address) {
        return vm.addr(_key(who, which));
    }

    function collectorOf(uint256 which) public pure returns (address) {
        return address(uint160(0xC000 + which % COLLECTORS));
    }

    function modelOf(uint256 which) public pure returns (bytes32) {
        return bytes32(1 + which % 2);
    }

    function creditors() public pure returns (uint256) {
        return 1 + COLLECTORS + PROVIDERS;
    }

    function creditorOf(uint256 which) public pure returns (address) {
        if (which == 0) return address(0x7EA5);
        return which <= COLLECTORS ? collectorOf(which - 1) : _providerOf(which);
    }

    modifier counted(string memory act) {
        _;
        ++calls[act];
        for (uint256 i = 0; i < PAYERS * COLLECTORS; ++i) {
            bytes32 accountId = ESCROW.accountIdOf(account(i));
            uint256 charged = ESCROW.balance(accountId).charged;
            if (charged < highestCharged[accountId]) chargedFell = true;
            highestCharged[accountId] = charged;
        }
    }

    function _settle(uint256 seed, bool again) private {
        Drafts.Batch memory batch;
        batch.collector = collectorOf(seed);
        if (!again) ++_batches;
        batch.batchId = bytes32(_batches);
        batch.receiptsRoot = bytes32(seed | 1);
        batch.lanes = new IInferenceEscrow.Lane[](2);
        uint256[2] memory incomeBefore;
        for (uint256 i = 0; i < 2; ++i) {
            uint256 age = uint256(keccak256(abi.encode(seed, "age", i))) % 80 minutes;
            batch.lanes[i] = IInferenceEscrow.Lane({
                modelId: modelOf(i), provider: _providerOf(i), purpose: 1, lastServedAt: uint40(block.timestamp - age)
            });
            incomeBefore[i] = _income(i);
        }
        batch.rows = new Drafts.Row[](3);
        for (uint256 i = 0; i < 3; ++i) {
            batch.rows[i] = _row(uint256(keccak256(abi.encode(seed, i))), batch.collector);
        }
        vm.prank(batch.collector);
        settled += ESCROW.settleBatch(Drafts.encode(batch), "");
        royaltyIncome += _income(0) - incomeBefore[0] + _income(1) - incomeBefore[1];
    }

    function _row(uint256 seed, address collector) private returns (Drafts.Row memory row) {
        uint256 who = (collector == collectorOf(0) ? 0 : PAYERS) + seed % PAYERS;
        uint256 which = (seed >> 8) % KEYS;
        IInferenceEscrow.Account memory owner = account(who);
        bytes32 accountId = ESCROW.accountIdOf(owner);
        row.payer = owner.payer;
        row.thawSeconds = owner.thawSeconds;
        row.salt = owner.salt;
        row.key = keyOf(who, which);
        row.from = which == 0 ? ESCROW.balance(accountId).ownSpent : ESCROW.key(accountId, row.key).spent;
        if ((seed >> 16) % 8 == 0) row.from += 1;
        row.parts = new Drafts.Part[](2);
        row.parts[0] = Drafts.Part({lane: 0, amount: uint128((seed >> 32) % 60e6)});
        row.parts[1] = Drafts.Part({lane: 1, amount: uint128((seed >> 96) % 60e6)});
        uint128 sum = row.parts[0].amount + row.parts[1].amount;
        row.ceiling = (seed >> 24) % 8 == 0 ? row.from + sum / 2 : row.from + sum;
        bool forged = (seed >> 28) % 8 == 0;
        if (!forged && row.ceiling > highestCeiling[accountId][row.key]) highestCeiling[accountId][row.key] = row.ceiling;
        bytes32 digest =
            MessageHashUtils.toTypedDataHash(DOMAIN, Messages.hashVoucher(accountId, row.key, row.ceiling, row.usageHead));
        (row.r, row.vs) = _signCompact(forged ? 0xBAD : _key(who, which), digest);
    }

    function _income(uint256 which) private view returns (uint256) {
        (, bytes memory answer) = ESCROW.ROYALTIES().staticcall(
            abi.encodeWithSignature("income(bytes32,uint64)", modelOf(which), uint64(block.timestamp / CATALOG.EPOCH_SECONDS()))
        );
        return abi.decode(answer, (uint128));
    }

    function _providerOf(uint256 which) private pure returns (address) {
        return address(uint160(0x9000 + which % PROVIDERS));
    }

    function _idOf(uint256 who) private view returns (bytes32) {
        return ESCROW.accountIdOf(account(who));
    }

    function _signAsPayer(uint256 who, bytes32 structHash) private view returns (bytes memory) {
        return _sign(_payerKey(who), MessageHashUtils.toTypedDataHash(DOMAIN, structHash));
    }

    function _payerKey(uint256 who) private pure returns (uint256) {
        return 0xA000 + who % PAYERS;
    }

    function _key(uint256 who, uint256 which) private pure returns (uint256) {
        return which == 0 ? _payerKey(who) : 0xB000 + which;
    }
}
