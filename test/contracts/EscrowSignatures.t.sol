// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IInferenceEscrow} from "../../contracts/interfaces/IInferenceEscrow.sol";
import {WalletDouble} from "./support/MarketDoubles.sol";
import {SignedEscrowActs} from "./support/SignedEscrowActs.sol";

/// Every act by signature against every way to misuse one (I14). Deposits and vouchers are in EscrowVouchers.t.sol.
contract EscrowSignaturesTest is SignedEscrowActs {
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
}
