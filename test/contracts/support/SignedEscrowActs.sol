// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {IInferenceEscrow} from "../../../contracts/interfaces/IInferenceEscrow.sol";
import {Drafts} from "./Drafts.sol";
import {EscrowFixture} from "./EscrowFixture.sol";

/// @title The escrow's acts by signature as data: how each is called, hashed, signed, performed and refused.
abstract contract SignedEscrowActs is EscrowFixture {
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
    function setUp() public virtual override {
        super.setUp();
        _prepare();
    }

    /// Half of a deposit thawed, and a credit of the payer's own from serving somebody.
    function _prepare() internal {
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

    function _refusesUnder(bytes32 domain) internal {
        for (uint256 i = 0; i < ACTS; ++i) {
            Act act = Act(i);
            bytes32 structHash = keccak256(abi.encodePacked(_typeOf(act), _words(act, _arguments(act))));
            _refuses(act, _arguments(act), _sign(_keyOf(act), MessageHashUtils.toTypedDataHash(domain, structHash)));
        }
    }

    function _refuses(Act act, uint256[] memory arguments, bytes memory signature) internal {
        bytes32 before = _state();
        address signer = address(uint160(arguments[0]));
        _reverts(_callOf(act, arguments, signature), abi.encodeWithSelector(IInferenceEscrow.EscrowSignatureInvalid.selector, signer));
        vm.assertEq(_state(), before);
    }

    function _reverts(bytes memory call_, bytes memory reason) internal {
        (bool done, bytes memory answer) = address(escrow).call(call_);
        vm.assertFalse(done);
        vm.assertEq(keccak256(answer), keccak256(reason));
    }

    function _perform(Act act, uint256[] memory arguments, bytes memory signature) internal {
        (bool done,) = address(escrow).call(_callOf(act, arguments, signature));
        vm.assertTrue(done, "what was signed happens");
    }

    /// All that an act here can change.
    function _state() internal view returns (bytes32) {
        bytes32 accountId = escrow.accountIdOf(_account());
        return keccak256(
            abi.encode(
                escrow.balance(accountId), escrow.key(accountId, granted), escrow.credit(payer), escrow.credit(provider), escrow.owed(),
                token.balanceOf(ELSEWHERE)
            )
        );
    }

    function _keyOf(Act act) internal pure returns (uint256) {
        return act == Act.Settle ? COLLECTOR_KEY : PAYER_KEY;
    }

    function _typeOf(Act act) internal pure returns (bytes32) {
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
    function _arguments(Act act) internal view returns (uint256[] memory) {
        uint256 signer = uint160(payer);
        if (act == Act.ClaimCredit) return _list(signer, uint160(ELSEWHERE), 7, DEADLINE);
        if (act == Act.Settle) return _list(uint160(collector), 900, uint160(provider), 5, uint256(ROOT));
        if (act == Act.Grant) return _ofAccount(_list(uint160(granted), 100, DEADLINE, 5));
        if (act == Act.Revoke) return _ofAccount(_list(uint160(granted)));
        if (act == Act.StartThaw) return _ofAccount(_list(AMOUNT / 4, 7, DEADLINE));
        if (act == Act.CancelThaw) return _ofAccount(_list(7, DEADLINE));
        return _ofAccount(_list(uint160(ELSEWHERE), 7, DEADLINE));
    }

    function _digestOf(Act act, uint256[] memory arguments) internal view returns (bytes32) {
        return _digest(keccak256(abi.encodePacked(_typeOf(act), _words(act, arguments))));
    }

    function _signed(Act act, uint256[] memory arguments) internal view returns (bytes memory) {
        return _sign(_keyOf(act), _digestOf(act, arguments));
    }

    /// The message's fields, a word for each.
    function _words(Act act, uint256[] memory arguments) internal view returns (uint256[] memory words) {
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

    function _callOf(Act act, uint256[] memory a, bytes memory signature) internal view returns (bytes memory) {
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

    function _accountFrom(uint256[] memory a) internal pure returns (IInferenceEscrow.Account memory) {
        return IInferenceEscrow.Account({
            payer: address(uint160(a[0])), collector: address(uint160(a[1])), thawSeconds: uint32(a[2]), salt: bytes32(a[3])
        });
    }

    function _batchFrom(uint256[] memory a) internal view returns (IInferenceEscrow.Batch memory) {
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

    function _ofAccount(uint256[] memory rest) internal view returns (uint256[] memory list) {
        list = new uint256[](rest.length + 4);
        (list[0], list[1], list[2], list[3]) = (uint160(payer), uint160(collector), THAW, 7);
        for (uint256 i = 0; i < rest.length; ++i) list[i + 4] = rest[i];
    }

    function _list(uint256 a) internal pure returns (uint256[] memory list) {
        list = new uint256[](1);
        list[0] = a;
    }

    function _list(uint256 a, uint256 b) internal pure returns (uint256[] memory list) {
        list = new uint256[](2);
        (list[0], list[1]) = (a, b);
    }

    function _list(uint256 a, uint256 b, uint256 c) internal pure returns (uint256[] memory list) {
        list = new uint256[](3);
        (list[0], list[1], list[2]) = (a, b, c);
    }

    function _list(uint256 a, uint256 b, uint256 c, uint256 d) internal pure returns (uint256[] memory list) {
        list = new uint256[](4);
        (list[0], list[1], list[2], list[3]) = (a, b, c, d);
    }

    function _list(uint256 a, uint256 b, uint256 c, uint256 d, uint256 e) internal pure returns (uint256[] memory list) {
        list = new uint256[](5);
        (list[0], list[1], list[2], list[3], list[4]) = (a, b, c, d, e);
    }
}
