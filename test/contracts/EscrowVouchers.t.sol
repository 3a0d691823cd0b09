// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {ERC3009} from "@openzeppelin/contracts/token/ERC20/extensions/draft-ERC3009.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {IInferenceEscrow} from "../../contracts/interfaces/IInferenceEscrow.sol";
import {Messages} from "../../contracts/libraries/Messages.sol";
import {Drafts} from "./support/Drafts.sol";
import {EscrowFixture} from "./support/EscrowFixture.sol";
import {WalletDouble} from "./support/MarketDoubles.sol";

/// Vouchers in a batch and deposits by signature, against every way to misuse them (I4, I14).
contract EscrowVouchersTest is EscrowFixture {
    uint128 internal constant AMOUNT = 10e6;
    uint256 internal constant ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
    uint256 internal constant FIRST = 101;
    uint256 internal constant LAST = 102;
    /// An authorization's fields: payer, collector, thaw, salt, amount, validAfter, validBefore, the deposit's salt.
    uint256 internal constant FIELDS = 8;

    bytes32 internal accountId;

    function setUp() public override {
        super.setUp();
        accountId = _fund(_account(), AMOUNT);
        _fund(_accountOf(vm.addr(FIRST), collector), AMOUNT);
        _fund(_accountOf(vm.addr(LAST), collector), AMOUNT);
    }

    // Vouchers

    /// Without a fault the same row is charged: the skips below are the faults' doing.
    function test_Voucher_IsChargedAsSigned() public {
        _settlesAmong(_voucher(), IInferenceEscrow.Skip.None);
        _grant(AMOUNT, type(uint40).max);
        _settlesAmong(_row(GRANTED_KEY, 0, 100, _parts(5)), IInferenceEscrow.Skip.None);
    }

    function test_Voucher_SkippedWhen_SignedForAnotherChain() public {
        _skipsUnder(_domain(address(escrow), block.chainid + 1));
        _skipsUnder(_domain(address(escrow), 1));
    }

    function test_Voucher_SkippedWhen_SignedForAnotherContract() public {
        _skipsUnder(_domain(address(_newEscrow(address(token))), block.chainid));
        _skipsUnder(_domain(address(royalties), block.chainid));
        _skipsUnder(token.DOMAIN_SEPARATOR());
    }

    function testFuzz_Voucher_SkippedWhen_ItsCeilingDiffers(uint128 ceiling) public {
        vm.assume(ceiling != 100);
        Drafts.Row memory row = _voucher();
        row.ceiling = ceiling;
        _settlesAmong(row, ceiling < 5 ? IInferenceEscrow.Skip.OverCeiling : IInferenceEscrow.Skip.Unsigned);
    }

    function testFuzz_Voucher_SkippedWhen_ItsUsageHeadDiffers(bytes32 usageHead) public {
        Drafts.Row memory row = _voucher();
        vm.assume(usageHead != row.usageHead);
        row.usageHead = usageHead;
        _settlesAmong(row, IInferenceEscrow.Skip.Unsigned);
    }

    /// Each field of the account; the account that the changed row names has money, so that nothing but the signature protects it.
    function testFuzz_Voucher_SkippedWhen_ItsAccountDiffers(uint256 field, uint16 by) public {
        Drafts.Row memory row = _voucher();
        field = _bound(field, 0, 2);
        if (field == 0) row.salt = bytes32(uint256(row.salt) + by + 1);
        if (field == 1) row.thawSeconds += uint32(by) + 1;
        if (field == 2) (row.payer, row.key) = (granted, granted);
        _fund(IInferenceEscrow.Account(row.payer, collector, row.thawSeconds, row.salt), AMOUNT);
        _settlesAmong(row, IInferenceEscrow.Skip.Unsigned);
    }

    /// The same voucher for another collector's account of the same payer.
    function test_Voucher_SkippedWhen_AnotherCollectorBringsIt() public {
        IInferenceEscrow.Account memory other = _accountOf(payer, address(this));
        bytes32 otherId = _fund(other, AMOUNT);
        Drafts.Batch memory batch = _batch(_voucher());
        batch.collector = address(this);
        vm.expectEmit(address(escrow));
        emit IInferenceEscrow.RowSkipped(batch.batchId, 0, IInferenceEscrow.Skip.Unsigned);
        vm.assertEq(_settle(batch), 0);
        vm.assertEq(escrow.balance(otherId).charged, 0);
        vm.assertEq(escrow.balance(accountId).charged, 0);
    }

    function test_Voucher_SkippedWhen_AnotherKeySigned() public {
        _grant(AMOUNT, type(uint40).max);
        Drafts.Row memory row = _row(GRANTED_KEY, 0, 100, _parts(5));
        row.key = payer;
        _settlesAmong(row, IInferenceEscrow.Skip.Unsigned);
        row = _voucher();
        row.key = granted;
        _settlesAmong(row, IInferenceEscrow.Skip.Unsigned);
    }

    /// EIP-2098 has no room for a high s: what is left of it is another number, and so is its whole with the top bit as parity.
    function test_Voucher_SkippedWhen_SIsHigh() public {
        Drafts.Row memory row = _voucher();
        uint256 s = uint256(row.vs) & (type(uint256).max >> 1);
        for (uint256 parity = 0; parity < 2; ++parity) {
            row.vs = bytes32(((ORDER - s) & (type(uint256).max >> 1)) | (parity << 255));
            _settlesAmong(row, IInferenceEscrow.Skip.Unsigned);
        }
    }

    function test_Voucher_SkippedWhen_TheSignatureIsNone() public {
        Drafts.Row memory row = _voucher();
        (row.r, row.vs) = (bytes32(0), bytes32(0));
        _settlesAmong(row, IInferenceEscrow.Skip.Unsigned);
        (row.r, row.vs) = (bytes32(type(uint256).max), bytes32(type(uint256).max));
        _settlesAmong(row, IInferenceEscrow.Skip.Unsigned);
    }

    function test_Voucher_SkippedWhen_Replayed() public {
        Drafts.Row memory row = _voucher();
        _settle(_batch(row));
        _settlesAmong(row, IInferenceEscrow.Skip.Stale);
        _grant(AMOUNT, type(uint40).max);
        row = _row(GRANTED_KEY, 0, 100, _parts(5));
        _settle(_batch(row));
        _settlesAmong(row, IInferenceEscrow.Skip.Stale);
    }

    /// Twice in one batch counts once.
    function test_Voucher_SkippedWhen_RepeatedWithinABatch() public {
        Drafts.Row[] memory rows = new Drafts.Row[](2);
        (rows[0], rows[1]) = (_voucher(), _voucher());
        Drafts.Batch memory batch = _batch(rows);
        vm.expectEmit(address(escrow));
        emit IInferenceEscrow.RowSkipped(batch.batchId, 1, IInferenceEscrow.Skip.Stale);
        vm.assertEq(_settle(batch), 5);
    }

    function test_Voucher_SkippedWhen_ItsKeyExpiredAThawAgo() public {
        _grant(AMOUNT, NOW + 10);
        vm.warp(NOW + 10 + THAW + 1);
        _settlesAmong(_row(GRANTED_KEY, 0, 100, _parts(5)), IInferenceEscrow.Skip.KeyEnded);
    }

    function test_Voucher_SkippedWhen_ItsKeyWasRevokedAThawAgo() public {
        _grant(AMOUNT, type(uint40).max);
        vm.prank(payer);
        escrow.revokeKey(_account(), granted);
        vm.warp(NOW + THAW + 1);
        _settlesAmong(_row(GRANTED_KEY, 0, 100, _parts(5)), IInferenceEscrow.Skip.KeyEnded);
    }

    function test_Voucher_SkippedWhen_ItsKeyWasRevokedBeforeItWasEverGranted() public {
        vm.prank(payer);
        escrow.revokeKey(_account(), granted);
        _settlesAmong(_row(GRANTED_KEY, 0, 100, _parts(5)), IInferenceEscrow.Skip.OverCap);
    }

    /// A row that calls the payer's own key a granted one finds no grant: it has none.
    function test_Voucher_SkippedWhen_TheOwnKeyIsGivenAsGranted() public {
        IInferenceEscrow.Batch memory batch = Drafts.encode(_batch(_voucher()));
        bytes memory row = batch.rows;
        bytes memory head = new bytes(178);
        for (uint256 i = 0; i < 178; ++i) head[i] = row[i];
        batch.rows = bytes.concat(head, bytes1(uint8(129)), bytes20(payer), bytes10(uint80(5)), bytes1(uint8(0)));
        vm.expectEmit(address(escrow));
        emit IInferenceEscrow.RowSkipped(batch.batchId, 0, IInferenceEscrow.Skip.KeyEnded);
        vm.prank(collector);
        vm.assertEq(escrow.settleBatch(batch, ""), 0);
    }

    /// A contract is never asked: neither its yes nor its change of mind counts, and its granted key's vouchers stay good.
    function test_Voucher_AWalletCannotTakeItBack() public {
        WalletDouble wallet = new WalletDouble(vm.addr(PAYER_KEY));
        payer = address(wallet);
        accountId = _fund(_account(), AMOUNT);
        Drafts.Row memory own = _row(PAYER_KEY, 0, 100, _parts(5));
        own.key = payer;
        _settlesAmong(own, IInferenceEscrow.Skip.Unsigned);
        _grant(AMOUNT, type(uint40).max);
        Drafts.Row memory row = _row(GRANTED_KEY, 0, 100, _parts(5));
        wallet.setWilling(false);
        _settlesAmong(row, IInferenceEscrow.Skip.None);
    }

    // Deposits

    function test_Deposit_HappensAsSigned() public {
        uint256[8] memory fields = _fields();
        _deposit(fields, _authorize(fields, token.DOMAIN_SEPARATOR(), address(escrow)));
        vm.assertEq(escrow.balance(accountId).deposit, 2 * AMOUNT);
    }

    function test_Deposit_RevertWhen_AnyFieldDiffers() public {
        bytes memory signature = _authorize(_fields(), token.DOMAIN_SEPARATOR(), address(escrow));
        for (uint256 field = 0; field < FIELDS; ++field) {
            uint256[8] memory changed = _fields();
            changed[field] += 1;
            _refusesDeposit(changed, signature, abi.encodeWithSelector(ERC3009.ERC3009InvalidSignature.selector));
        }
    }

    function test_Deposit_RevertWhen_SignedForAnotherChainOrToken() public {
        bytes32[2] memory domains = [_tokenDomain(block.chainid + 1, address(token)), _tokenDomain(block.chainid, address(escrow))];
        vm.assertEq(_tokenDomain(block.chainid, address(token)), token.DOMAIN_SEPARATOR());
        for (uint256 i = 0; i < domains.length; ++i) {
            bytes memory signature = _authorize(_fields(), domains[i], address(escrow));
            _refusesDeposit(_fields(), signature, abi.encodeWithSelector(ERC3009.ERC3009InvalidSignature.selector));
        }
    }

    function test_Deposit_RevertWhen_SignedForAnotherEscrow() public {
        bytes memory signature = _authorize(_fields(), token.DOMAIN_SEPARATOR(), address(_newEscrow(address(token))));
        _refusesDeposit(_fields(), signature, abi.encodeWithSelector(ERC3009.ERC3009InvalidSignature.selector));
    }

    function test_Deposit_RevertWhen_SIsHigh() public {
        bytes memory good = _authorize(_fields(), token.DOMAIN_SEPARATOR(), address(escrow));
        (bytes32 r, bytes32 s) = (_wordOf(good, 0), _wordOf(good, 32));
        bytes32 high = bytes32(ORDER - uint256(s));
        bytes memory twin = abi.encodePacked(r, high, good[64] == 0x1b ? bytes1(0x1c) : bytes1(0x1b));
        _refusesDeposit(_fields(), twin, abi.encodeWithSelector(ECDSA.ECDSAInvalidSignatureS.selector, high));
    }

    function test_Deposit_RevertWhen_EarlyOrExpired() public {
        uint256[8] memory fields = _fields();
        bytes memory signature = _authorize(fields, token.DOMAIN_SEPARATOR(), address(escrow));
        vm.warp(fields[5]);
        _refusesDeposit(fields, signature, "");
        vm.warp(fields[6]);
        _refusesDeposit(fields, signature, "");
        vm.warp(fields[6] - 1);
        _deposit(fields, signature);
    }

    function test_Deposit_RevertWhen_Replayed() public {
        uint256[8] memory fields = _fields();
        bytes memory signature = _authorize(fields, token.DOMAIN_SEPARATOR(), address(escrow));
        _deposit(fields, signature);
        bytes32 nonce = escrow.depositNonce(accountId, bytes32(fields[7]));
        _refusesDeposit(fields, signature, abi.encodeWithSelector(ERC3009.ERC3009UsedAuthorization.selector, payer, nonce));
    }

    function test_Deposit_RevertWhen_TheWalletChangedItsMind() public {
        WalletDouble wallet = new WalletDouble(vm.addr(PAYER_KEY));
        payer = address(wallet);
        accountId = escrow.accountIdOf(_account());
        bytes memory signature = _authorize(_fields(), token.DOMAIN_SEPARATOR(), address(escrow));
        wallet.setWilling(false);
        _refusesDeposit(_fields(), signature, abi.encodeWithSelector(ERC3009.ERC3009InvalidSignature.selector));
        wallet.setWilling(true);
        _deposit(_fields(), signature);
        vm.assertEq(escrow.balance(accountId).deposit, AMOUNT);
    }

    /// Only the escrow may use it: nobody moves the money without the deposit that it pays for.
    function test_Deposit_RevertWhen_SomebodyElseReceives() public {
        uint256[8] memory fields = _fields();
        bytes memory signature = _authorize(fields, token.DOMAIN_SEPARATOR(), address(escrow));
        bytes32 nonce = escrow.depositNonce(accountId, bytes32(fields[7]));
        token.mint(payer, AMOUNT);
        vm.expectRevert();
        token.receiveWithAuthorization(payer, address(escrow), AMOUNT, fields[5], fields[6], nonce, signature);
        vm.assertEq(token.balanceOf(payer), AMOUNT);
    }

    // Private

    function _voucher() private view returns (Drafts.Row memory) {
        return _row(PAYER_KEY, 0, 100, _parts(5));
    }

    function _skipsUnder(bytes32 domain) private {
        Drafts.Row memory row = _voucher();
        bytes32 structHash = Messages.hashVoucher(accountId, payer, row.ceiling, row.usageHead);
        (row.r, row.vs) = _signCompact(PAYER_KEY, MessageHashUtils.toTypedDataHash(domain, structHash));
        _settlesAmong(row, IInferenceEscrow.Skip.Unsigned);
    }

    /// The row at every place among two good ones: it is charged or skipped as expected, and they are charged always.
    function _settlesAmong(Drafts.Row memory row, IInferenceEscrow.Skip expected) private {
        bytes32 rowsId = escrow.accountIdOf(IInferenceEscrow.Account(row.payer, collector, row.thawSeconds, row.salt));
        uint128 charge = expected == IInferenceEscrow.Skip.None ? 5 : 0;
        for (uint256 place = 0; place < 3; ++place) {
            uint256 snapshot = vm.snapshotState();
            bytes32 before = _stateOf(rowsId, row.key);
            uint128 charged = escrow.balance(rowsId).charged;
            Drafts.Batch memory batch = _among(row, place);
            if (charge == 0) {
                vm.expectEmit(address(escrow));
                emit IInferenceEscrow.RowSkipped(batch.batchId, place, expected);
            }
            vm.assertEq(_settle(batch), 61 + charge);
            vm.assertEq(escrow.balance(escrow.accountIdOf(_accountOf(vm.addr(FIRST), collector))).charged, 21);
            vm.assertEq(escrow.balance(escrow.accountIdOf(_accountOf(vm.addr(LAST), collector))).charged, 40);
            vm.assertEq(escrow.balance(rowsId).charged, charged + charge);
            vm.assertTrue((_stateOf(rowsId, row.key) == before) == (charge == 0));
            vm.revertToState(snapshot);
        }
    }

    function _among(Drafts.Row memory row, uint256 place) private returns (Drafts.Batch memory) {
        Drafts.Row[] memory rows = new Drafts.Row[](3);
        rows[place] = row;
        rows[(place + 1) % 3] = _rowOf(_accountOf(vm.addr(FIRST), collector), FIRST, 0, 50, _parts(20, 1));
        rows[(place + 2) % 3] = _rowOf(_accountOf(vm.addr(LAST), collector), LAST, 0, 50, _parts(0, 40));
        return _batch(rows);
    }

    function _stateOf(bytes32 id, address key) private view returns (bytes32) {
        return keccak256(abi.encode(escrow.balance(id), escrow.key(id, key)));
    }

    function _fields() private view returns (uint256[8] memory) {
        return [uint256(uint160(payer)), uint160(collector), THAW, 7, AMOUNT, NOW - 1, NOW + 100, 3];
    }

    function _accountFrom(uint256[8] memory fields) private pure returns (IInferenceEscrow.Account memory) {
        return IInferenceEscrow.Account({
            payer: address(uint160(fields[0])), collector: address(uint160(fields[1])), thawSeconds: uint32(fields[2]), salt: bytes32(fields[3])
        });
    }

    function _authorize(uint256[8] memory fields, bytes32 domain, address to) private view returns (bytes memory) {
        bytes32 nonce = escrow.depositNonce(escrow.accountIdOf(_accountFrom(fields)), bytes32(fields[7]));
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256("ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"),
                address(uint160(fields[0])),
                to,
                fields[4],
                fields[5],
                fields[6],
                nonce
            )
        );
        return _sign(PAYER_KEY, MessageHashUtils.toTypedDataHash(domain, structHash));
    }

    function _deposit(uint256[8] memory fields, bytes memory signature) private {
        token.mint(address(uint160(fields[0])), fields[4]);
        escrow.depositWithAuthorization(
            _accountFrom(fields), uint128(fields[4]), fields[5], fields[6], bytes32(fields[7]), signature
        );
    }

    /// Refused for `reason` (any, if empty), and nothing has moved.
    function _refusesDeposit(uint256[8] memory fields, bytes memory signature, bytes memory reason) private {
        uint256 owed = escrow.owed();
        IInferenceEscrow.Account memory account = _accountFrom(fields);
        bytes32 id = escrow.accountIdOf(account);
        uint128 deposited = escrow.balance(id).deposit;
        token.mint(account.payer, fields[4]);
        if (reason.length == 0) vm.expectRevert();
        else vm.expectRevert(reason);
        escrow.depositWithAuthorization(account, uint128(fields[4]), fields[5], fields[6], bytes32(fields[7]), signature);
        vm.assertEq(escrow.balance(id).deposit, deposited);
        vm.assertEq(escrow.owed(), owed);
    }

    function _tokenDomain(uint256 chainId, address verifier) private pure returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Granary Test Dollar"),
                keccak256("1"),
                chainId,
                verifier
            )
        );
    }

    function _wordOf(bytes memory data, uint256 at) private pure returns (bytes32 word) {
        for (uint256 i = 0; i < 32; ++i) word |= bytes32(data[at + i]) >> (8 * i);
    }
}
