// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {IInferenceEscrow} from "../../contracts/interfaces/IInferenceEscrow.sol";
import {Drafts} from "./support/Drafts.sol";
import {EscrowFixture} from "./support/EscrowFixture.sol";
import {WalletDouble} from "./support/MarketDoubles.sol";

/// Every act by signature against every way to misuse one (I14). Deposits and vouchers are in EscrowVouchers.t.sol.
contract EscrowSignaturesTest is EscrowFixture {
    /// An act is its message's type, the key that must sign, and what it is called with; the first argument is the signer.
    enum Act {
        Grant,
        Revoke,
        StartThaw,
        CancelThaw,
        Withdraw,
        ClaimCredit,
        Settle
    }

    uint256 internal constant ACTS = 7;
    uint128 internal constant AMOUNT = 10e6;
    uint256 internal constant ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
    uint256 internal constant DEADLINE = NOW + 30 days;
    address internal constant ELSEWHERE = address(0xCAFE);

    /// Money that thaws and is thawed, and a credit of the payer's.
    function setUp() public override {
        super.setUp();
        _prepare();
    }

    function test_EveryAct_HappensAsSigned() public {
        for (uint256 i = 0; i < ACTS; ++i) {
            uint256 snapshot = vm.snapshotState();
            Act act = Act(i);
            bytes32 before = _state();
            _perform(act, _arguments(act), _signed(act, _arguments(act)));
            vm.assertTrue(_state() != before, "something has happened");
            vm.revertToState(snapshot);
        }
        Act withdraw = Act.Withdraw;
        _perform(withdraw, _arguments(withdraw), _signed(withdraw, _arguments(withdraw)));
        vm.assertEq(token.balanceOf(ELSEWHERE), AMOUNT / 2);
        Act claim = Act.ClaimCredit;
        uint128 due = escrow.credit(payer);
        _perform(claim, _arguments(claim), _signed(claim, _arguments(claim)));
        vm.assertEq(token.balanceOf(ELSEWHERE), AMOUNT / 2 + due);
        vm.assertEq(escrow.credit(payer), 0);
    }

    /// The signer among them: another one has not signed.
    function test_EveryAct_RevertWhen_AnyFieldDiffers() public {
        for (uint256 i = 0; i < ACTS; ++i) {
            Act act = Act(i);
            bytes memory signature = _signed(act, _arguments(act));
            for (uint256 field = 0; field < _arguments(act).length; ++field) {
                uint256[] memory changed = _arguments(act);
                changed[field] ^= 1;
                _refuses(act, changed, signature);
            }
        }
    }

    function testFuzz_EveryAct_RevertWhen_AnyFieldDiffers(uint256 which, uint256 field, uint16 by) public {
        Act act = Act(which % ACTS);
        uint256[] memory changed = _arguments(act);
        // The signer's own address stays, so that it is its signature that fails; deadlines stay ahead.
        field = _bound(field, 1, changed.length - 1);
        changed[field] += uint256(by) + 1;
        _refuses(act, changed, _signed(act, _arguments(act)));
    }

    function test_EveryAct_RevertWhen_SignedForAnotherChain() public {
        _refusesUnder(_domain(address(escrow), block.chainid + 1));
        _refusesUnder(_domain(address(escrow), 1));
    }

    /// Another escrow of the same code, and another contract of ours.
    function test_EveryAct_RevertWhen_SignedForAnotherContract() public {
        _refusesUnder(_domain(address(_newEscrow(address(token))), block.chainid));
        _refusesUnder(_domain(address(royalties), block.chainid));
        _refusesUnder(token.DOMAIN_SEPARATOR());
    }

    /// After a fork of the chain, what was signed before counts on one side only.
    function test_EveryAct_RevertWhen_TheChainForks() public {
        bytes[] memory signatures = new bytes[](ACTS);
        for (uint256 i = 0; i < ACTS; ++i) signatures[i] = _signed(Act(i), _arguments(Act(i)));
        vm.chainId(31_338);
        for (uint256 i = 0; i < ACTS; ++i) _refuses(Act(i), _arguments(Act(i)), signatures[i]);
    }

    function test_EveryAct_RevertWhen_SIsHigh() public {
        for (uint256 i = 0; i < ACTS; ++i) {
            Act act = Act(i);
            (uint8 v, bytes32 r, bytes32 s) = vm.sign(_keyOf(act), _digestOf(act, _arguments(act)));
            bytes memory twin = abi.encodePacked(r, bytes32(ORDER - uint256(s)), v == 27 ? uint8(28) : uint8(27));
            _refuses(act, _arguments(act), twin);
        }
    }

    function test_EveryAct_RevertWhen_TheSignatureIsNone() public {
        for (uint256 i = 0; i < ACTS; ++i) {
            Act act = Act(i);
            bytes memory good = _signed(act, _arguments(act));
            _refuses(act, _arguments(act), new bytes(65));
            _refuses(act, _arguments(act), bytes.concat(good, hex"00"));
            good[64] = 0x00;
            _refuses(act, _arguments(act), good);
            _refuses(act, _arguments(act), _sign(GRANTED_KEY, _digestOf(act, _arguments(act))));
        }
    }

    /// Thaw and withdrawal have the same fields: the type keeps them apart.
    function test_EveryAct_RevertWhen_SignedAsAnotherAct() public {
        for (uint256 i = 0; i < ACTS; ++i) {
            for (uint256 j = 0; j < ACTS; ++j) {
                if (i == j) continue;
                bytes32 structHash = keccak256(abi.encodePacked(_typeOf(Act(j)), _words(Act(i), _arguments(Act(i)))));
                _refuses(Act(i), _arguments(Act(i)), _sign(_keyOf(Act(i)), _digest(structHash)));
            }
        }
    }

    function test_TimedActs_RevertWhen_Expired() public {
        Act[4] memory acts = [Act.StartThaw, Act.CancelThaw, Act.Withdraw, Act.ClaimCredit];
        for (uint256 i = 0; i < acts.length; ++i) {
            uint256[] memory arguments = _arguments(acts[i]);
            bytes memory signature = _signed(acts[i], arguments);
            vm.warp(DEADLINE + 1);
            bytes memory reason = abi.encodeWithSelector(IInferenceEscrow.EscrowSignatureExpired.selector, DEADLINE + 1, DEADLINE);
            _reverts(_callOf(acts[i], arguments, signature), reason);
            vm.warp(DEADLINE);
            uint256 snapshot = vm.snapshotState();
            _perform(acts[i], arguments, signature);
            vm.revertToState(snapshot);
        }
    }

    /// Even where the act would be possible again.
    function test_EveryAct_RevertWhen_Replayed() public {
        bytes32 accountId = escrow.accountIdOf(_account());
        for (uint256 i = 0; i < ACTS; ++i) {
            uint256 snapshot = vm.snapshotState();
            Act act = Act(i);
            uint256[] memory arguments = _arguments(act);
            bytes memory signature = _signed(act, arguments);
            _perform(act, arguments, signature);
            _prepare();
            bytes32 before = _state();
            bytes memory reason = abi.encodeWithSelector(IInferenceEscrow.EscrowNonceUsed.selector, accountId, act == Act.Grant ? 5 : 7);
            if (act == Act.ClaimCredit) reason = abi.encodeWithSelector(IInferenceEscrow.EscrowCreditNonceUsed.selector, payer, 7);
            // A revocation may come twice, and a batch that was settled: they change nothing.
            if (act == Act.Revoke || act == Act.Settle) _perform(act, arguments, signature);
            else _reverts(_callOf(act, arguments, signature), reason);
            vm.assertEq(_state(), before);
            vm.revertToState(snapshot);
        }
    }

    /// The acts of one account share its nonces.
    function test_TimedActs_RevertWhen_AnotherActTookTheNonce() public {
        _perform(Act.CancelThaw, _arguments(Act.CancelThaw), _signed(Act.CancelThaw, _arguments(Act.CancelThaw)));
        bytes memory signature = _signed(Act.StartThaw, _arguments(Act.StartThaw));
        bytes32 accountId = escrow.accountIdOf(_account());
        bytes memory reason = abi.encodeWithSelector(IInferenceEscrow.EscrowNonceUsed.selector, accountId, 7);
        _reverts(_callOf(Act.StartThaw, _arguments(Act.StartThaw), signature), reason);
    }

    /// Only its present mind counts, for acts of people and of collectors.
    function test_EveryAct_RevertWhen_TheWalletChangedItsMind() public {
        WalletDouble wallet = new WalletDouble(vm.addr(PAYER_KEY));
        WalletDouble operator = new WalletDouble(vm.addr(COLLECTOR_KEY));
        (payer, collector) = (address(wallet), address(operator));
        _prepare();
        for (uint256 i = 0; i < ACTS; ++i) {
            Act act = Act(i);
            uint256[] memory arguments = _arguments(act);
            bytes memory signature = _signed(act, arguments);
            wallet.setWilling(false);
            operator.setWilling(false);
            _refuses(act, arguments, signature);
            wallet.setWilling(true);
            operator.setWilling(true);
            uint256 snapshot = vm.snapshotState();
            _perform(act, arguments, signature);
            vm.revertToState(snapshot);
        }
    }

    /// EIP-7702: code that knows no ERC-1271 does not take its owner's acts away.
    function test_EveryAct_HappensForADelegatedAccount() public {
        vm.etch(payer, address(catalog).code);
        vm.etch(collector, address(catalog).code);
        for (uint256 i = 0; i < ACTS; ++i) {
            uint256 snapshot = vm.snapshotState();
            _perform(Act(i), _arguments(Act(i)), _signed(Act(i), _arguments(Act(i))));
            vm.revertToState(snapshot);
        }
    }

    function test_GrantKeyBySig_RevertWhen_TheKeyIsRevoked() public {
        bytes memory grant = _signed(Act.Grant, _arguments(Act.Grant));
        _perform(Act.Revoke, _arguments(Act.Revoke), _signed(Act.Revoke, _arguments(Act.Revoke)));
        bytes32 accountId = escrow.accountIdOf(_account());
        bytes memory reason = abi.encodeWithSelector(IInferenceEscrow.EscrowKeyIsRevoked.selector, accountId, granted);
        _reverts(_callOf(Act.Grant, _arguments(Act.Grant), grant), reason);
    }

    function test_CancelThawBySig_RevertWhen_NothingThaws() public {
        vm.prank(payer);
        escrow.cancelThaw(_account());
        bytes memory signature = _signed(Act.CancelThaw, _arguments(Act.CancelThaw));
        bytes32 accountId = escrow.accountIdOf(_account());
        bytes memory reason = abi.encodeWithSelector(IInferenceEscrow.EscrowNothingThawing.selector, accountId);
        _reverts(_callOf(Act.CancelThaw, _arguments(Act.CancelThaw), signature), reason);
    }

    function test_WithdrawBySig_RevertWhen_StillThawing() public {
        vm.prank(payer);
        escrow.startThaw(_account(), 1);
        bytes memory signature = _signed(Act.Withdraw, _arguments(Act.Withdraw));
        bytes memory reason =
            abi.encodeWithSelector(IInferenceEscrow.EscrowStillThawing.selector, block.timestamp, uint40(block.timestamp + THAW));
        _reverts(_callOf(Act.Withdraw, _arguments(Act.Withdraw), signature), reason);
    }

    function test_ClaimCreditBySig_RevertWhen_ThereIsNone() public {
        escrow.claimCreditFor(payer);
        bytes memory signature = _signed(Act.ClaimCredit, _arguments(Act.ClaimCredit));
        bytes memory reason = abi.encodeWithSelector(IInferenceEscrow.EscrowNothingToClaim.selector, payer);
        _reverts(_callOf(Act.ClaimCredit, _arguments(Act.ClaimCredit), signature), reason);
    }

    // Private

    /// Half of a deposit thawed, and a credit of the payer's own from serving somebody.
    function _prepare() private {
        _fund(_account(), AMOUNT);
        uint128 from = escrow.balance(escrow.accountIdOf(_accountOf(vm.addr(99), address(this)))).ownSpent;
        _fund(_accountOf(vm.addr(99), address(this)), AMOUNT);
        IInferenceEscrow.Account memory customer = _accountOf(vm.addr(99), address(this));
        Drafts.Batch memory batch = _batch(_rowOf(customer, 99, from, from + 100, _parts(100)));
        batch.collector = address(this);
        batch.lanes[0].provider = payer;
        _settle(batch);
        vm.prank(payer);
        escrow.startThaw(_account(), AMOUNT / 2);
        vm.warp(block.timestamp + THAW);
    }

    function _refusesUnder(bytes32 domain) private {
        for (uint256 i = 0; i < ACTS; ++i) {
            Act act = Act(i);
            bytes32 structHash = keccak256(abi.encodePacked(_typeOf(act), _words(act, _arguments(act))));
            _refuses(act, _arguments(act), _sign(_keyOf(act), MessageHashUtils.toTypedDataHash(domain, structHash)));
        }
    }

    function _refuses(Act act, uint256[] memory arguments, bytes memory signature) private {
        bytes32 before = _state();
        address signer = address(uint160(arguments[0]));
        _reverts(_callOf(act, arguments, signature), abi.encodeWithSelector(IInferenceEscrow.EscrowSignatureInvalid.selector, signer));
        vm.assertEq(_state(), before);
    }

    function _reverts(bytes memory call_, bytes memory reason) private {
        (bool done, bytes memory answer) = address(escrow).call(call_);
        vm.assertFalse(done);
        vm.assertEq(keccak256(answer), keccak256(reason));
    }

    function _perform(Act act, uint256[] memory arguments, bytes memory signature) private {
        (bool done,) = address(escrow).call(_callOf(act, arguments, signature));
        vm.assertTrue(done, "what was signed happens");
    }

    /// All that an act here can change.
    function _state() private view returns (bytes32) {
        bytes32 accountId = escrow.accountIdOf(_account());
        return keccak256(
            abi.encode(
                escrow.balance(accountId), escrow.key(accountId, granted), escrow.credit(payer), escrow.credit(provider), escrow.owed(),
                token.balanceOf(ELSEWHERE)
            )
        );
    }

    function _keyOf(Act act) private pure returns (uint256) {
        return act == Act.Settle ? COLLECTOR_KEY : PAYER_KEY;
    }

    function _typeOf(Act act) private pure returns (bytes32) {
        bytes32[7] memory types = [
            keccak256("GrantKey(bytes32 accountId,address key,uint128 cap,uint40 notAfter,uint32 nonce)"),
            keccak256("RevokeKey(bytes32 accountId,address key)"),
            keccak256("StartThaw(bytes32 accountId,uint128 amount,uint256 nonce,uint256 deadline)"),
            keccak256("CancelThaw(bytes32 accountId,uint256 nonce,uint256 deadline)"),
            keccak256("Withdraw(bytes32 accountId,address to,uint256 nonce,uint256 deadline)"),
            keccak256("ClaimCredit(address account,address to,uint256 nonce,uint256 deadline)"),
            keccak256("SettleBatch(address collector,bytes32 batchId,bytes32 lanesHash,bytes32 rowsHash,bytes32 receiptsRoot)")
        ];
        return types[uint256(act)];
    }

    /// An account's four fields go first where the message names an account.
    function _arguments(Act act) private view returns (uint256[] memory) {
        uint256 signer = uint160(payer);
        if (act == Act.ClaimCredit) return _list(signer, uint160(ELSEWHERE), 7, DEADLINE);
        if (act == Act.Settle) return _list(uint160(collector), 900, uint160(provider), 5, uint256(ROOT));
        if (act == Act.Grant) return _ofAccount(_list(uint160(granted), 100, DEADLINE, 5));
        if (act == Act.Revoke) return _ofAccount(_list(uint160(granted)));
        if (act == Act.StartThaw) return _ofAccount(_list(AMOUNT / 4, 7, DEADLINE));
        if (act == Act.CancelThaw) return _ofAccount(_list(7, DEADLINE));
        return _ofAccount(_list(uint160(ELSEWHERE), 7, DEADLINE));
    }

    function _digestOf(Act act, uint256[] memory arguments) private view returns (bytes32) {
        return _digest(keccak256(abi.encodePacked(_typeOf(act), _words(act, arguments))));
    }

    function _signed(Act act, uint256[] memory arguments) private view returns (bytes memory) {
        return _sign(_keyOf(act), _digestOf(act, arguments));
    }

    /// The message's fields, a word for each.
    function _words(Act act, uint256[] memory arguments) private view returns (uint256[] memory words) {
        if (act == Act.ClaimCredit) return arguments;
        if (act == Act.Settle) {
            IInferenceEscrow.Batch memory batch = _batchFrom(arguments);
            return _list(
                arguments[0], arguments[1], uint256(keccak256(abi.encode(batch.lanes))), uint256(keccak256(batch.rows)), arguments[4]
            );
        }
        words = new uint256[](arguments.length - 3);
        words[0] = uint256(escrow.accountIdOf(_accountFrom(arguments)));
        for (uint256 i = 1; i < words.length; ++i) words[i] = arguments[i + 3];
    }

    function _callOf(Act act, uint256[] memory a, bytes memory signature) private view returns (bytes memory) {
        if (act == Act.ClaimCredit) {
            return abi.encodeCall(escrow.claimCreditBySig, (address(uint160(a[0])), address(uint160(a[1])), a[2], a[3], signature));
        }
        if (act == Act.Settle) return abi.encodeCall(escrow.settleBatch, (_batchFrom(a), signature));
        IInferenceEscrow.Account memory account = _accountFrom(a);
        address named = address(uint160(a[4]));
        if (act == Act.Grant) return abi.encodeCall(escrow.grantKeyBySig, (account, named, uint128(a[5]), uint40(a[6]), uint32(a[7]), signature));
        if (act == Act.Revoke) return abi.encodeCall(escrow.revokeKeyBySig, (account, named, signature));
        if (act == Act.StartThaw) return abi.encodeCall(escrow.startThawBySig, (account, uint128(a[4]), a[5], a[6], signature));
        if (act == Act.CancelThaw) return abi.encodeCall(escrow.cancelThawBySig, (account, a[4], a[5], signature));
        return abi.encodeCall(escrow.withdrawBySig, (account, named, a[5], a[6], signature));
    }

    function _accountFrom(uint256[] memory a) private pure returns (IInferenceEscrow.Account memory) {
        return IInferenceEscrow.Account({
            payer: address(uint160(a[0])), collector: address(uint160(a[1])), thawSeconds: uint32(a[2]), salt: bytes32(a[3])
        });
    }

    function _batchFrom(uint256[] memory a) private view returns (IInferenceEscrow.Batch memory) {
        Drafts.Batch memory batch;
        batch.collector = address(uint160(a[0]));
        batch.batchId = bytes32(a[1]);
        batch.lanes = new IInferenceEscrow.Lane[](1);
        // The time is part of what was signed: it stays where the first preparation ended.
        batch.lanes[0] =
            IInferenceEscrow.Lane({modelId: MODEL, provider: address(uint160(a[2])), purpose: 1, lastServedAt: uint40(NOW + THAW)});
        batch.rows = new Drafts.Row[](1);
        // A contract payer spends by a granted key only; what is refused here is the batch, before any row is read.
        batch.rows[0] = _row(PAYER_KEY, 0, 10, _parts(uint128(a[3])));
        batch.receiptsRoot = bytes32(a[4]);
        return Drafts.encode(batch);
    }

    function _ofAccount(uint256[] memory rest) private view returns (uint256[] memory list) {
        list = new uint256[](rest.length + 4);
        (list[0], list[1], list[2], list[3]) = (uint160(payer), uint160(collector), THAW, 7);
        for (uint256 i = 0; i < rest.length; ++i) list[i + 4] = rest[i];
    }

    function _list(uint256 a) private pure returns (uint256[] memory list) {
        list = new uint256[](1);
        list[0] = a;
    }

    function _list(uint256 a, uint256 b) private pure returns (uint256[] memory list) {
        list = new uint256[](2);
        (list[0], list[1]) = (a, b);
    }

    function _list(uint256 a, uint256 b, uint256 c) private pure returns (uint256[] memory list) {
        list = new uint256[](3);
        (list[0], list[1], list[2]) = (a, b, c);
    }

    function _list(uint256 a, uint256 b, uint256 c, uint256 d) private pure returns (uint256[] memory list) {
        list = new uint256[](4);
        (list[0], list[1], list[2], list[3]) = (a, b, c, d);
    }

    function _list(uint256 a, uint256 b, uint256 c, uint256 d, uint256 e) private pure returns (uint256[] memory list) {
        list = new uint256[](5);
        (list[0], list[1], list[2], list[3], list[4]) = (a, b, c, d, e);
    }
}
