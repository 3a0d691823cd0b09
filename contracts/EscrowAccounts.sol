// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IERC3009} from "@openzeppelin/contracts/interfaces/draft-IERC3009.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {IBytesAuthorization} from "./interfaces/IBytesAuthorization.sol";
import {IInferenceEscrow} from "./interfaces/IInferenceEscrow.sol";
import {Funds} from "./libraries/Funds.sol";
import {Grant} from "./libraries/Grants.sol";
import {Guarded} from "./libraries/Guarded.sol";
import {Messages} from "./libraries/Messages.sol";
import {Signatures} from "./libraries/Signatures.sol";

/// @title The payers' half of the escrow: deposits, keys, thaws and withdrawals.
/// @dev Warning: the token must not take fees, rebase or move balances of others; deposits are measured, later balances are not.
abstract contract EscrowAccounts is IInferenceEscrow, EIP712, Guarded {
    using SafeERC20 for IERC20;

    struct Thaw {
        uint80 amount;
        uint40 endsAt;
    }

    /// One word, in a struct so that a row finds its slot once.
    struct Granted {
        Grant grant;
    }

    /// All that is kept of an account: its id binds the rest.
    struct State {
        Funds funds;
        Thaw thaw;
        mapping(address key => Granted) keys;
        mapping(uint256 nonce => bool used) nonces;
    }

    /// `royalties` is the part of `owed` that only ROYALTIES pays out.
    struct Holdings {
        uint128 owed;
        uint128 royalties;
    }

    uint32 public constant MAX_THAW_SECONDS = 90 days;
    uint256 private constant MAX_AMOUNT = type(uint80).max;

    IERC20 public immutable TOKEN;
    /// @inheritdoc IInferenceEscrow
    uint40 public immutable MAX_SETTLEMENT_SECONDS;

    mapping(bytes32 accountId => State) internal _accounts;
    Holdings internal _holdings;

    constructor(address token, uint40 maxSettlementSeconds) EIP712("Granary InferenceEscrow", "1") {
        require(maxSettlementSeconds > 0, EscrowAmountInvalid(maxSettlementSeconds));
        require(
            2 * uint256(maxSettlementSeconds) <= MAX_THAW_SECONDS, EscrowThawTooLong({actual: uint32(maxSettlementSeconds), most: MAX_THAW_SECONDS / 2})
        );
        TOKEN = IERC20(token);
        MAX_SETTLEMENT_SECONDS = maxSettlementSeconds;
    }

    // Deposit

    /// @inheritdoc IInferenceEscrow
    function deposit(Account calldata account, uint128 amount) external nonReentrant returns (bytes32 accountId) {
        uint256 held = TOKEN.balanceOf(address(this));
        TOKEN.safeTransferFrom({from: msg.sender, to: address(this), value: amount});
        return _deposited(account, amount, held);
    }

    /// @inheritdoc IInferenceEscrow
    function depositWithAuthorization(
        Account calldata account, uint128 amount, uint256 validAfter, uint256 validBefore, bytes32 salt, bytes calldata signature
    ) external nonReentrant returns (bytes32 accountId) {
        bytes32 nonce = depositNonce(accountIdOf(account), salt);
        uint256 held = TOKEN.balanceOf(address(this));
        if (account.payer.code.length == 0) {
            (uint8 v, bytes32 r, bytes32 s) = ECDSA.parseCalldata(signature);
            IERC3009(address(TOKEN)).receiveWithAuthorization(account.payer, address(this), amount, validAfter, validBefore, nonce, v, r, s);
        } else {
            IBytesAuthorization(address(TOKEN))
                .receiveWithAuthorization(account.payer, address(this), amount, validAfter, validBefore, nonce, signature);
        }
        return _deposited(account, amount, held);
    }

    /// @inheritdoc IInferenceEscrow
    function depositWithPermit(Account calldata account, uint128 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
        nonReentrant
        returns (bytes32 accountId)
    {
        // A permit that somebody used ahead of us has set the allowance already.
        if (TOKEN.allowance(msg.sender, address(this)) < amount) {
            IERC20Permit(address(TOKEN)).permit(msg.sender, address(this), amount, deadline, v, r, s);
        }
        uint256 held = TOKEN.balanceOf(address(this));
        TOKEN.safeTransferFrom({from: msg.sender, to: address(this), value: amount});
        return _deposited(account, amount, held);
    }

    function _deposited(Account calldata account, uint128 amount, uint256 heldBefore) private returns (bytes32 accountId) {
        uint256 received = TOKEN.balanceOf(address(this)) - heldBefore;
        require(received >= amount, EscrowTokenShortfall({received: received, expected: amount}));
        require(account.payer != address(0), EscrowKeyInvalid(account.payer));
        uint32 least = uint32(2 * MAX_SETTLEMENT_SECONDS);
        require(account.thawSeconds >= least, EscrowThawTooShort({actual: account.thawSeconds, least: least}));
        require(account.thawSeconds <= MAX_THAW_SECONDS, EscrowThawTooLong({actual: account.thawSeconds, most: MAX_THAW_SECONDS}));

        accountId = accountIdOf(account);
        Funds funds = _accounts[accountId].funds;
        require(amount > 0 && amount <= MAX_AMOUNT - funds.deposited(), EscrowAmountInvalid(amount));
        _accounts[accountId].funds = funds.put(amount);
        _holdings.owed += amount;
        emit Deposited(accountId, account.payer, account.collector, account.thawSeconds, account.salt, amount);
    }

    // Keys

    /// @inheritdoc IInferenceEscrow
    function grantKey(Account calldata account, address key_, uint128 cap, uint40 notAfter, uint32 nonce) external {
        _requirePayer(account);
        _grant(account, key_, cap, notAfter, nonce);
    }

    /// @inheritdoc IInferenceEscrow
    function grantKeyBySig(Account calldata account, address key_, uint128 cap, uint40 notAfter, uint32 nonce, bytes calldata signature) external {
        bytes32 accountId = accountIdOf(account);
        _requireSigned(account.payer, Messages.hashGrantKey(accountId, key_, cap, notAfter, nonce), signature);
        _grant(account, key_, cap, notAfter, nonce);
    }

    function _grant(Account calldata account, address key_, uint128 cap, uint40 notAfter, uint32 nonce) private {
        require(key_ != address(0) && key_ != account.payer, EscrowKeyInvalid(key_));
        require(cap <= MAX_AMOUNT, EscrowAmountInvalid(cap));
        bytes32 accountId = accountIdOf(account);
        Grant grant = _accounts[accountId].keys[key_].grant;
        require(!grant.isRevoked(), EscrowKeyIsRevoked(accountId, key_));
        require(nonce > grant.nonce(), EscrowNonceUsed(accountId, nonce));
        require(
            cap >= grant.cap() && notAfter >= grant.notAfter() && notAfter > 0,
            EscrowKeyNarrowed({key: key_, cap: uint128(grant.cap()), notAfter: grant.notAfter()})
        );
        _accounts[accountId].keys[key_].grant = grant.widen(cap, notAfter, nonce);
        emit KeyGranted(accountId, key_, cap, notAfter, nonce);
    }

    /// @inheritdoc IInferenceEscrow
    function revokeKey(Account calldata account, address key_) external {
        _requirePayer(account);
        _revoke(account, key_);
    }

    /// @inheritdoc IInferenceEscrow
    function revokeKeyBySig(Account calldata account, address key_, bytes calldata signature) external {
        _requireSigned(account.payer, Messages.hashRevokeKey(accountIdOf(account), key_), signature);
        _revoke(account, key_);
    }

    /// @dev Also stops a key whose grant is signed but not yet on chain. A repeat changes nothing.
    function _revoke(Account calldata account, address key_) private {
        require(key_ != address(0) && key_ != account.payer, EscrowKeyInvalid(key_));
        bytes32 accountId = accountIdOf(account);
        Grant grant = _accounts[accountId].keys[key_].grant;
        if (grant.isRevoked()) return;
        uint40 now_ = uint40(block.timestamp);
        uint40 endedAt = grant.notAfter() == 0 || grant.notAfter() > now_ ? now_ : grant.notAfter();
        _accounts[accountId].keys[key_].grant = grant.revoke(endedAt);
        emit KeyRevoked(accountId, key_, endedAt);
    }

    // Thaw and withdraw

    /// @inheritdoc IInferenceEscrow
    function startThaw(Account calldata account, uint128 amount) external {
        _requirePayer(account);
        _startThaw(account, accountIdOf(account), amount);
    }

    /// @inheritdoc IInferenceEscrow
    function startThawBySig(Account calldata account, uint128 amount, uint256 nonce, uint256 deadline, bytes calldata signature) external {
        _requireInTime(deadline);
        bytes32 accountId = accountIdOf(account);
        _requireSigned(account.payer, Messages.hashStartThaw(accountId, amount, nonce, deadline), signature);
        _useNonce(accountId, nonce);
        _startThaw(account, accountId, amount);
    }

    function _startThaw(Account calldata account, bytes32 accountId, uint128 amount) private {
        require(amount > 0 && amount <= _accounts[accountId].funds.uncharged(), EscrowAmountInvalid(amount));
        uint40 endsAt = uint40(block.timestamp + account.thawSeconds);
        _accounts[accountId].thaw = Thaw({amount: uint80(amount), endsAt: endsAt});
        emit ThawStarted(accountId, amount, endsAt);
    }

    /// @inheritdoc IInferenceEscrow
    function cancelThaw(Account calldata account) external {
        _requirePayer(account);
        _cancelThaw(accountIdOf(account));
    }

    /// @inheritdoc IInferenceEscrow
    function cancelThawBySig(Account calldata account, uint256 nonce, uint256 deadline, bytes calldata signature) external {
        _requireInTime(deadline);
        bytes32 accountId = accountIdOf(account);
        _requireSigned(account.payer, Messages.hashCancelThaw(accountId, nonce, deadline), signature);
        _useNonce(accountId, nonce);
        _cancelThaw(accountId);
    }

    function _cancelThaw(bytes32 accountId) private {
        require(_accounts[accountId].thaw.amount > 0, EscrowNothingThawing(accountId));
        delete _accounts[accountId].thaw;
        emit ThawCancelled(accountId);
    }

    /// @inheritdoc IInferenceEscrow
    function withdraw(Account calldata account, address to) external nonReentrant returns (uint128 amount) {
        if (to != account.payer) _requirePayer(account);
        return _withdraw(accountIdOf(account), to);
    }

    /// @inheritdoc IInferenceEscrow
    function withdrawBySig(Account calldata account, address to, uint256 nonce, uint256 deadline, bytes calldata signature)
        external
        nonReentrant
        returns (uint128 amount)
    {
        _requireInTime(deadline);
        bytes32 accountId = accountIdOf(account);
        _requireSigned(account.payer, Messages.hashWithdraw(accountId, to, nonce, deadline), signature);
        _useNonce(accountId, nonce);
        return _withdraw(accountId, to);
    }

    function _withdraw(bytes32 accountId, address to) private returns (uint128 amount) {
        Thaw memory thaw = _accounts[accountId].thaw;
        require(thaw.amount > 0, EscrowNothingThawing(accountId));
        require(block.timestamp >= thaw.endsAt, EscrowStillThawing({at: block.timestamp, endsAt: thaw.endsAt}));

        Funds funds = _accounts[accountId].funds;
        amount = uint128(Math.min(thaw.amount, funds.uncharged()));
        _accounts[accountId].funds = funds.take(amount);
        delete _accounts[accountId].thaw;
        emit Withdrawn(accountId, to, amount);
        _pay(to, amount);
    }

    function _useNonce(bytes32 accountId, uint256 nonce) private {
        require(!_accounts[accountId].nonces[nonce], EscrowNonceUsed(accountId, nonce));
        _accounts[accountId].nonces[nonce] = true;
    }

    function _pay(address to, uint128 amount) internal {
        _holdings.owed -= amount;
        if (amount > 0) TOKEN.safeTransfer({to: to, value: amount});
    }

    // Views

    /// @inheritdoc IInferenceEscrow
    function accountIdOf(Account calldata account) public view returns (bytes32) {
        return _hashTypedDataV4(Messages.hashAccount(account.payer, account.collector, address(TOKEN), account.thawSeconds, account.salt));
    }

    /// @inheritdoc IInferenceEscrow
    function depositNonce(bytes32 accountId, bytes32 salt) public pure returns (bytes32) {
        return keccak256(abi.encode(accountId, salt));
    }

    /// @inheritdoc IInferenceEscrow
    function balance(bytes32 accountId) external view returns (Balance memory) {
        Funds funds = _accounts[accountId].funds;
        Thaw memory thaw = _accounts[accountId].thaw;
        return Balance({
            deposit: uint128(funds.deposited()),
            charged: uint128(funds.charged()),
            ownSpent: uint128(funds.ownSpent()),
            thawing: thaw.amount,
            thawEndsAt: thaw.endsAt
        });
    }

    /// @inheritdoc IInferenceEscrow
    function key(bytes32 accountId, address key_) external view returns (Key memory) {
        Grant grant = _accounts[accountId].keys[key_].grant;
        return Key({
            cap: uint128(grant.cap()),
            spent: uint128(grant.spent()),
            notAfter: grant.notAfter(),
            revokedAt: grant.isRevoked() ? grant.notAfter() : 0,
            nonce: grant.nonce()
        });
    }

    /// @inheritdoc IInferenceEscrow
    function owed() external view returns (uint256) {
        return _holdings.owed;
    }

    function _requirePayer(Account calldata account) private view {
        require(msg.sender == account.payer, EscrowNotPayer({actual: msg.sender, payer: account.payer}));
    }

    function _requireInTime(uint256 deadline) internal view {
        require(block.timestamp <= deadline, EscrowSignatureExpired({at: block.timestamp, deadline: deadline}));
    }

    /// @dev Acts of people and collectors: ECDSA, or ERC-1271 where the signer is a contract.
    function _requireSigned(address signer, bytes32 structHash, bytes calldata signature) internal view {
        require(Signatures.isBy(signer, _hashTypedDataV4(structHash), signature), EscrowSignatureInvalid(signer));
    }
}
