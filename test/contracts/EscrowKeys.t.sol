// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {IInferenceEscrow} from "../../contracts/interfaces/IInferenceEscrow.sol";
import {Messages} from "../../contracts/libraries/Messages.sol";
import {EscrowFixture} from "./support/EscrowFixture.sol";
import {WalletDouble} from "./support/MarketDoubles.sol";

/// The keys of an account: granted, widened, never narrowed, revoked for good.
contract EscrowKeysTest is EscrowFixture {
    // Grant

    function testFuzz_GrantKey_StoresWhatThePayerSigned(uint80 cap, uint40 notAfter, uint32 nonce) public {
        notAfter = uint40(_bound(notAfter, 1, type(uint40).max));
        nonce = uint32(_bound(nonce, 1, type(uint32).max));
        bytes32 accountId = escrow.accountIdOf(_account());
        bytes memory signature = _sign(PAYER_KEY, _digest(Messages.hashGrantKey(accountId, granted, cap, notAfter, nonce)));
        vm.expectEmit(address(escrow));
        emit IInferenceEscrow.KeyGranted(accountId, granted, cap, notAfter, nonce);
        escrow.grantKeyBySig(_account(), granted, cap, notAfter, nonce, signature);
        IInferenceEscrow.Key memory key = escrow.key(accountId, granted);
        vm.assertEq(key.cap, cap);
        vm.assertEq(key.notAfter, notAfter);
        vm.assertEq(key.nonce, nonce);
        vm.assertEq(key.revokedAt, 0);

        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowNonceUsed.selector, accountId, nonce));
        escrow.grantKeyBySig(_account(), granted, cap, notAfter, nonce, signature);
    }

    function testFuzz_GrantKeyBySig_RevertWhen_AnyFieldDiffers(uint256 field) public {
        bytes32 accountId = escrow.accountIdOf(_account());
        bytes memory signature = _sign(PAYER_KEY, _digest(Messages.hashGrantKey(accountId, granted, 10, NOW, 1)));
        field = _bound(field, 0, 4);
        IInferenceEscrow.Account memory account = _account();
        if (field == 4) account.salt = 0;
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowSignatureInvalid.selector, payer));
        escrow.grantKeyBySig(
            account, field == 0 ? address(9) : granted, field == 1 ? 11 : 10, field == 2 ? NOW + 1 : NOW, field == 3 ? 2 : 1, signature
        );
    }

    function test_GrantKeyBySig_RevertWhen_SignedForAnotherChainOrContract() public {
        bytes32 structHash = Messages.hashGrantKey(escrow.accountIdOf(_account()), granted, 10, NOW, 1);
        bytes32[2] memory domains = [_domain(address(escrow), 1), _domain(address(token), block.chainid)];
        for (uint256 i = 0; i < domains.length; ++i) {
            bytes memory signature = _sign(PAYER_KEY, MessageHashUtils.toTypedDataHash(domains[i], structHash));
            vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowSignatureInvalid.selector, payer));
            escrow.grantKeyBySig(_account(), granted, 10, NOW, 1, signature);
        }
    }

    function test_GrantKeyBySig_AsksAContractPayerEachTime() public {
        WalletDouble wallet = new WalletDouble(vm.addr(PAYER_KEY));
        payer = address(wallet);
        bytes memory signature = _sign(PAYER_KEY, _digest(Messages.hashGrantKey(escrow.accountIdOf(_account()), granted, 10, NOW, 1)));
        wallet.setWilling(false);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowSignatureInvalid.selector, payer));
        escrow.grantKeyBySig(_account(), granted, 10, NOW, 1, signature);
        wallet.setWilling(true);
        escrow.grantKeyBySig(_account(), granted, 10, NOW, 1, signature);
    }

    function testFuzz_GrantKey_NeverNarrows(uint80 cap, uint40 notAfter) public {
        _grant(100, NOW + 100);
        bool narrows = cap < 100 || notAfter < NOW + 100;
        if (narrows) vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowKeyNarrowed.selector, granted, 100, NOW + 100));
        vm.prank(payer);
        escrow.grantKey(_account(), granted, cap, notAfter, 2);
        vm.assertEq(escrow.key(escrow.accountIdOf(_account()), granted).cap, narrows ? 100 : cap);
    }

    function test_GrantKey_RevertWhen_NotPayerOrBadKeyOrCap() public {
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowNotPayer.selector, address(this), payer));
        escrow.grantKey(_account(), granted, 1, NOW, 1);
        vm.startPrank(payer);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowKeyInvalid.selector, payer));
        escrow.grantKey(_account(), payer, 1, NOW, 1);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowKeyInvalid.selector, address(0)));
        escrow.grantKey(_account(), address(0), 1, NOW, 1);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowAmountInvalid.selector, uint256(1) << 80));
        escrow.grantKey(_account(), granted, 1 << 80, NOW, 1);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowKeyNarrowed.selector, granted, 0, 0));
        escrow.grantKey(_account(), granted, 1, 0, 1);
        vm.stopPrank();
    }

    function test_GrantKey_MayWidenCapOrEndAloneOrNeither() public {
        bytes32 accountId = escrow.accountIdOf(_account());
        _grant(100, NOW + 100);
        _grant(100, NOW + 101);
        _grant(101, NOW + 101);
        _grant(101, NOW + 101);
        IInferenceEscrow.Key memory key = escrow.key(accountId, granted);
        vm.assertEq(key.cap, 101);
        vm.assertEq(key.notAfter, NOW + 101);
        vm.assertEq(key.nonce, 4);
    }

    function test_GrantKey_RevertWhen_CapOrEndAloneIsAUnitLess() public {
        _grant(100, NOW + 100);
        bytes memory reason = abi.encodeWithSelector(IInferenceEscrow.EscrowKeyNarrowed.selector, granted, 100, NOW + 100);
        vm.startPrank(payer);
        vm.expectRevert(reason);
        escrow.grantKey(_account(), granted, 99, NOW + 101, 2);
        vm.expectRevert(reason);
        escrow.grantKey(_account(), granted, 101, NOW + 99, 2);
        vm.stopPrank();
    }

    /// Useless, yet it must not be taken for a key that nobody granted.
    function test_GrantKey_TakesTheEarliestEnd() public {
        _grant(100, 1);
        vm.assertEq(escrow.key(escrow.accountIdOf(_account()), granted).notAfter, 1);
    }

    // Revoke

    function test_RevokeKey_IsPermanentAndIdempotent() public {
        bytes32 accountId = escrow.accountIdOf(_account());
        _grant(100, NOW + 100);
        bytes memory signature = _sign(PAYER_KEY, _digest(Messages.hashRevokeKey(accountId, granted)));
        vm.expectEmit(address(escrow));
        emit IInferenceEscrow.KeyRevoked(accountId, granted, NOW);
        escrow.revokeKeyBySig(_account(), granted, signature);
        vm.warp(NOW + 50);
        vm.recordLogs();
        escrow.revokeKeyBySig(_account(), granted, signature);
        vm.prank(payer);
        escrow.revokeKey(_account(), granted);
        vm.assertEq(vm.getRecordedLogs().length, 0);
        vm.assertEq(escrow.key(accountId, granted).revokedAt, NOW);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowKeyIsRevoked.selector, accountId, granted));
        vm.prank(payer);
        escrow.grantKey(_account(), granted, 200, NOW + 200, 2);
    }

    function test_RevokeKey_StopsAGrantThatIsNotYetOnChain() public {
        bytes32 accountId = escrow.accountIdOf(_account());
        vm.prank(payer);
        escrow.revokeKey(_account(), granted);
        vm.assertEq(escrow.key(accountId, granted).revokedAt, NOW);
        bytes memory signature = _sign(PAYER_KEY, _digest(Messages.hashGrantKey(accountId, granted, 10, NOW, 1)));
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowKeyIsRevoked.selector, accountId, granted));
        escrow.grantKeyBySig(_account(), granted, 10, NOW, 1, signature);
    }

    function test_RevokeKey_DoesNotReopenAnEndedKey() public {
        _grant(100, NOW + 100);
        vm.warp(NOW + 1 days);
        vm.prank(payer);
        escrow.revokeKey(_account(), granted);
        vm.assertEq(escrow.key(escrow.accountIdOf(_account()), granted).revokedAt, NOW + 100);
    }

    function test_RevokeKey_RevertWhen_NotPayerOrNoKeyToRevoke() public {
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowNotPayer.selector, address(this), payer));
        escrow.revokeKey(_account(), granted);
        bytes memory signature = _sign(GRANTED_KEY, _digest(Messages.hashRevokeKey(escrow.accountIdOf(_account()), granted)));
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowSignatureInvalid.selector, payer));
        escrow.revokeKeyBySig(_account(), granted, signature);
        vm.startPrank(payer);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowKeyInvalid.selector, payer));
        escrow.revokeKey(_account(), payer);
        vm.expectRevert(abi.encodeWithSelector(IInferenceEscrow.EscrowKeyInvalid.selector, address(0)));
        escrow.revokeKey(_account(), address(0));
        vm.stopPrank();
    }
}
