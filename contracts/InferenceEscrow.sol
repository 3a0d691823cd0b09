// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IERC3009} from "@openzeppelin/contracts/interfaces/draft-IERC3009.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {RoyaltyLedger} from "./RoyaltyLedger.sol";
import {IBytesAuthorization} from "./interfaces/IBytesAuthorization.sol";
import {ICooperativeParameters} from "./interfaces/ICooperativeParameters.sol";
import {IInferenceEscrow} from "./interfaces/IInferenceEscrow.sol";
import {IModelRegistry} from "./interfaces/IModelRegistry.sol";
import {IRoyaltyLedger} from "./interfaces/IRoyaltyLedger.sol";
import {Batches} from "./libraries/Batches.sol";
import {Funds} from "./libraries/Funds.sol";
import {Grant} from "./libraries/Grants.sol";
import {Guarded} from "./libraries/Guarded.sol";
import {Messages} from "./libraries/Messages.sol";
import {Ppm} from "./libraries/Ppm.sol";
import {Rows} from "./libraries/Rows.sol";
import {Vouchers} from "./libraries/Vouchers.sol";

/// @title Chapter 5, settle.
/// @dev Warning: MODELS and PARAMETERS are trusted to answer: a revert of theirs stops settlement, though never a withdrawal or a claim.
/// @dev Warning: the token must not take fees, rebase or move balances of others; deposits are measured, later balances are not.
contract InferenceEscrow is IInferenceEscrow, EIP712, Guarded {
    using SafeERC20 for IERC20;
    using Rows for Vouchers.Desk;
    using Vouchers for Vouchers.Desk;

    struct Thaw {
        uint80 amount;
        uint40 endsAt;
    }

    /// All that is kept of an account: its id binds the rest.
    struct State {
        Funds funds;
        Thaw thaw;
        mapping(address key => Grant) grants;
        mapping(uint256 nonce => bool used) thawNonces;
    }

    struct CollectorFee {
        uint32 feePpm;
        uint32 nextPpm;
        uint40 nextAt;
    }

    /// `royalties` is the part of `owed` that only ROYALTIES pays out.
    struct Holdings {
        uint128 owed;
        uint128 royalties;
    }

    uint32 public constant MAX_THAW_SECONDS = 90 days;
    uint256 private constant MAX_AMOUNT = type(uint80).max;

    IERC20 public immutable TOKEN;
    IModelRegistry public immutable MODELS;
    ICooperativeParameters public immutable PARAMETERS;
    /// @inheritdoc IInferenceEscrow
    address public immutable ROYALTIES;
    /// @inheritdoc IInferenceEscrow
    uint40 public immutable MAX_SETTLEMENT_SECONDS;

    mapping(bytes32 accountId => State) private _accounts;
    mapping(address collector => mapping(bytes32 batchId => bytes32 receiptsRoot)) private _batchRoots;
    mapping(address collector => CollectorFee) private _collectorFees;
    mapping(address account => uint128 amount) private _credits;
    Holdings private _holdings;

    /// @dev Makes the ledger itself, so that neither side of their mutual trust can be set later.
    constructor(address token, address datasets, address models, address parameters, uint40 maxSettlementSeconds)
        EIP712("Granary InferenceEscrow", "1")
    {
        require(maxSettlementSeconds > 0, EscrowAmountInvalid(maxSettlementSeconds));
        require(
            2 * uint256(maxSettlementSeconds) <= MAX_THAW_SECONDS, EscrowThawTooLong({actual: uint32(maxSettlementSeconds), most: MAX_THAW_SECONDS / 2})
        );
        TOKEN = IERC20(token);
        MODELS = IModelRegistry(models);
        PARAMETERS = ICooperativeParameters(parameters);
        MAX_SETTLEMENT_SECONDS = maxSettlementSeconds;
        ROYALTIES = address(new RoyaltyLedger(datasets, models));
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
        Grant grant = _accounts[accountId].grants[key_];
        require(!grant.isRevoked(), EscrowKeyIsRevoked(accountId, key_));
        require(nonce > grant.nonce(), EscrowNonceUsed(accountId, nonce));
        require(
            cap >= grant.cap() && notAfter >= grant.notAfter() && notAfter > 0,
            EscrowKeyNarrowed({key: key_, cap: uint128(grant.cap()), notAfter: grant.notAfter()})
        );
        _accounts[accountId].grants[key_] = grant.widen(cap, notAfter, nonce);
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
        Grant grant = _accounts[accountId].grants[key_];
        if (grant.isRevoked()) return;
        uint40 now_ = uint40(block.timestamp);
        uint40 endedAt = grant.notAfter() == 0 || grant.notAfter() > now_ ? now_ : grant.notAfter();
        _accounts[accountId].grants[key_] = grant.revoke(endedAt);
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
        require(block.timestamp <= deadline, EscrowSignatureExpired({at: block.timestamp, deadline: deadline}));
        bytes32 accountId = accountIdOf(account);
        _requireSigned(account.payer, Messages.hashStartThaw(accountId, amount, nonce, deadline), signature);
        require(!_accounts[accountId].thawNonces[nonce], EscrowNonceUsed(accountId, nonce));
        _accounts[accountId].thawNonces[nonce] = true;
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
        bytes32 accountId = accountIdOf(account);
        require(_accounts[accountId].thaw.amount > 0, EscrowNothingThawing(accountId));
        delete _accounts[accountId].thaw;
        emit ThawCancelled(accountId);
    }

    /// @inheritdoc IInferenceEscrow
    function withdraw(Account calldata account, address to) external nonReentrant returns (uint128 amount) {
        if (to != account.payer) _requirePayer(account);
        bytes32 accountId = accountIdOf(account);
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

    // Settle

    /// @inheritdoc IInferenceEscrow
    function setCollectorFee(uint32 feePpm) external {
        require(feePpm <= Ppm.MAX_COLLECTOR_FEE, EscrowFeeTooHigh({actual: feePpm, limit: Ppm.MAX_COLLECTOR_FEE}));
        uint32 current = collectorFeePpm(msg.sender);
        bool raises = feePpm > current;
        uint40 effectiveAt = uint40(block.timestamp) + (raises ? MAX_SETTLEMENT_SECONDS : 0);
        _collectorFees[msg.sender] = CollectorFee({feePpm: raises ? current : feePpm, nextPpm: feePpm, nextAt: effectiveAt});
        emit CollectorFeeSet(msg.sender, feePpm, effectiveAt);
    }

    /// @inheritdoc IInferenceEscrow
    function settleBatch(Batch calldata batch, bytes calldata collectorSignature) external returns (uint128 gross) {
        if (msg.sender != batch.collector) {
            require(collectorSignature.length > 0, EscrowNotCollector({actual: msg.sender, collector: batch.collector}));
            _requireSigned(batch.collector, Batches.structHash(batch), collectorSignature);
        }
        Batches.requireWellFormed(batch);
        if (_batchRoots[batch.collector][batch.batchId] != 0) return 0;
        _batchRoots[batch.collector][batch.batchId] = batch.receiptsRoot;

        Batches.Totals memory totals = _openLanes(batch);
        Vouchers.Desk memory desk = Vouchers.openDesk({domainSeparator: _domainSeparatorV4(), collector: batch.collector, token: address(TOKEN)});
        bytes calldata rows = batch.rows;
        uint256 at = 0;
        for (uint256 i = 0; at < rows.length; ++i) {
            // An `if`, because `require` would put its error together for every row.
            if (i == Batches.MAX_ROWS) revert EscrowBatchTooLarge({actual: i + 1, limit: Batches.MAX_ROWS});
            uint256 sum;
            (at, sum) = desk.read(rows, at, totals);
            Skip reason = sum == 0 ? Skip.LaneRefused : _applyRow(desk, sum, totals);
            if (reason != Skip.None) emit RowSkipped(batch.batchId, i, reason);
        }
        return _creditLanes(batch, totals);
    }

    /// Which lanes can be credited, and their payees' share.
    function _openLanes(Batch calldata batch) private returns (Batches.Totals memory totals) {
        totals = Batches.openTotals(batch.lanes.length);
        for (uint256 i = 0; i < batch.lanes.length; ++i) {
            Lane calldata lane = batch.lanes[i];
            (uint32 payeesPpm, uint40 endsAt) = MODELS.settlementTerms(lane.modelId, lane.purpose);
            uint256 servedAt = lane.lastServedAt;
            bool creditable = lane.provider != address(0) && servedAt <= block.timestamp
                && block.timestamp - servedAt <= MAX_SETTLEMENT_SECONDS && servedAt < endsAt;
            totals.payeesPpm[i] = payeesPpm;
            if (creditable) totals.creditable |= 1 << i;
            else emit LaneRefused(batch.batchId, i);
        }
    }

    /// Charges `sum`, which the row at the desk raises, or tells why not; a skipped row has changed nothing.
    function _applyRow(Vouchers.Desk memory desk, uint256 sum, Batches.Totals memory totals) private returns (Skip) {
        State storage account = _accounts[desk.nameAccount()];
        Funds funds = account.funds;
        (address signer, uint256 from) = (desk.key, desk.from);
        // No overflow: `from` has 128 bits, and so has each of at most 64 parts.
        uint256 spent;
        unchecked {
            spent = from + sum;
        }
        bool own = signer == desk.payer;
        Grant grant;
        if (own) {
            if (funds.ownSpent() != from) return Skip.Stale;
        } else {
            grant = account.grants[signer];
            if (grant.spent() != from) return Skip.Stale;
            if (block.timestamp > uint256(grant.notAfter()) + desk.thawSeconds) return Skip.KeyEnded;
            if (spent > grant.cap()) return Skip.OverCap;
        }
        if (spent > desk.ceiling) return Skip.OverCeiling;
        if (sum > funds.uncharged()) return Skip.Unfunded;
        if (!desk.isSigned()) return Skip.Unsigned;

        account.funds = funds.charge(sum, own);
        if (!own) account.grants[signer] = grant.spend(sum);
        desk.addTo(totals);
        return Skip.None;
    }

    /// Splits each lane's total; one credit to the model's income stands for all its payees.
    function _creditLanes(Batch calldata batch, Batches.Totals memory totals) private returns (uint128 gross) {
        Batches.Rates memory rates = Batches.Rates({
            protocolPpm: Math.min(PARAMETERS.protocolFeePpm(), Ppm.MAX_PROTOCOL_FEE), collectorPpm: collectorFeePpm(batch.collector)
        });
        Batches.Split memory sums;
        uint64 epoch = IRoyaltyLedger(ROYALTIES).currentEpoch();
        for (uint256 i = 0; i < totals.gross.length; ++i) {
            uint256 taken = totals.gross[i];
            if (taken == 0) continue;
            gross += uint128(taken);
            Batches.Split memory parts = Batches.split(taken, totals.payeesPpm[i], rates);
            sums.protocolFee += parts.protocolFee;
            sums.collectorFee += parts.collectorFee;
            sums.royalties += parts.royalties;
            _creditLane(batch, i, epoch, taken, parts);
        }
        if (sums.protocolFee > 0) _credits[PARAMETERS.treasury()] += uint128(sums.protocolFee);
        if (sums.collectorFee > 0) _credits[batch.collector] += uint128(sums.collectorFee);
        if (sums.royalties > 0) _holdings.royalties += uint128(sums.royalties);
        emit BatchSettled(batch.collector, batch.batchId, batch.receiptsRoot, epoch, gross);
    }

    /// @dev Calls out before the batch is all credited; ROYALTIES was made here, calls nobody back, and money waits to be pulled.
    function _creditLane(Batch calldata batch, uint256 index, uint64 epoch, uint256 gross, Batches.Split memory parts) private {
        Lane calldata lane = batch.lanes[index];
        _credits[lane.provider] += uint128(parts.provider);
        emit LaneSettled(
            batch.batchId, lane.modelId, lane.provider, uint128(gross), uint128(parts.protocolFee), uint128(parts.collectorFee), uint128(parts.royalties)
        );
        if (parts.royalties > 0) IRoyaltyLedger(ROYALTIES).creditIncome(lane.modelId, epoch, uint128(parts.royalties));
    }

    // Pay out

    /// @inheritdoc IInferenceEscrow
    function claimCredit(address to) external nonReentrant returns (uint128 amount) {
        return _claimCredit(msg.sender, to);
    }

    /// @inheritdoc IInferenceEscrow
    function claimCreditFor(address account) external nonReentrant returns (uint128 amount) {
        return _claimCredit(account, account);
    }

    function _claimCredit(address account, address to) private returns (uint128 amount) {
        amount = _credits[account];
        require(amount > 0, EscrowNothingToClaim(account));
        delete _credits[account];
        emit CreditClaimed(account, to, amount);
        _pay(to, amount);
    }

    /// @inheritdoc IInferenceEscrow
    function payRoyalty(address to, uint128 amount) external nonReentrant {
        require(msg.sender == ROYALTIES, EscrowNotRoyaltyLedger(msg.sender));
        require(amount <= _holdings.royalties, EscrowAmountInvalid(amount));
        _holdings.royalties -= amount;
        emit RoyaltyPaid(to, amount);
        _pay(to, amount);
    }

    function _pay(address to, uint128 amount) private {
        _holdings.owed -= amount;
        if (amount > 0) TOKEN.safeTransfer({to: to, value: amount});
    }

    // Views

    /// @inheritdoc IInferenceEscrow
    function accountIdOf(Account calldata account) public view returns (bytes32) {
        return _accountId(account.payer, account.collector, account.thawSeconds, account.salt);
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
        Grant grant = _accounts[accountId].grants[key_];
        return Key({
            cap: uint128(grant.cap()),
            spent: uint128(grant.spent()),
            notAfter: grant.notAfter(),
            revokedAt: grant.isRevoked() ? grant.notAfter() : 0,
            nonce: grant.nonce()
        });
    }

    /// @inheritdoc IInferenceEscrow
    function batchRoot(address collector, bytes32 batchId) external view returns (bytes32) {
        return _batchRoots[collector][batchId];
    }

    /// @inheritdoc IInferenceEscrow
    function credit(address account) external view returns (uint128) {
        return _credits[account];
    }

    /// @inheritdoc IInferenceEscrow
    function collectorFeePpm(address collector) public view returns (uint32) {
        CollectorFee memory fee = _collectorFees[collector];
        return block.timestamp >= fee.nextAt ? fee.nextPpm : fee.feePpm;
    }

    /// @inheritdoc IInferenceEscrow
    function owed() external view returns (uint256) {
        return _holdings.owed;
    }

    function _accountId(address payer, address collector, uint32 thawSeconds, bytes32 salt) private view returns (bytes32) {
        return _hashTypedDataV4(Messages.hashAccount(payer, collector, address(TOKEN), thawSeconds, salt));
    }

    function _requirePayer(Account calldata account) private view {
        require(msg.sender == account.payer, EscrowNotPayer({actual: msg.sender, payer: account.payer}));
    }

    /// @dev Acts of people and collectors: ECDSA, or ERC-1271 where the signer is a contract.
    function _requireSigned(address signer, bytes32 structHash, bytes calldata signature) private view {
        require(SignatureChecker.isValidSignatureNowCalldata(signer, _hashTypedDataV4(structHash), signature), EscrowSignatureInvalid(signer));
    }
}
