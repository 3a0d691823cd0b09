// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {EscrowAccounts} from "./EscrowAccounts.sol";
import {RoyaltyLedger} from "./RoyaltyLedger.sol";
import {ICooperativeParameters} from "./interfaces/ICooperativeParameters.sol";
import {IInferenceEscrow} from "./interfaces/IInferenceEscrow.sol";
import {IModelRegistry} from "./interfaces/IModelRegistry.sol";
import {IRoyaltyLedger} from "./interfaces/IRoyaltyLedger.sol";
import {Batches} from "./libraries/Batches.sol";
import {Desk, openDesk} from "./libraries/Desk.sol";
import {Funds} from "./libraries/Funds.sol";
import {Grant} from "./libraries/Grants.sol";
import {Messages} from "./libraries/Messages.sol";
import {Ppm} from "./libraries/Ppm.sol";
import {Rows} from "./libraries/Rows.sol";
import {Vouchers} from "./libraries/Vouchers.sol";

/// @title Chapter 5, settle: what collectors charge, and what it pays.
/// @dev Warning: MODELS and PARAMETERS are trusted to answer: a revert of theirs stops settlement, though never a withdrawal or a claim.
contract InferenceEscrow is EscrowAccounts {
    using Rows for Desk;
    using Vouchers for Desk;

    struct CollectorFee {
        uint32 feePpm;
        uint32 nextPpm;
        uint40 nextAt;
    }

    IModelRegistry public immutable MODELS;
    ICooperativeParameters public immutable PARAMETERS;
    /// @inheritdoc IInferenceEscrow
    address public immutable ROYALTIES;

    mapping(address collector => mapping(bytes32 batchId => bytes32 receiptsRoot)) private _batchRoots;
    mapping(address collector => CollectorFee) private _collectorFees;
    mapping(address account => uint128 amount) private _credits;
    mapping(address account => mapping(uint256 nonce => bool used)) private _creditNonces;

    /// @dev Makes the ledger itself, so that neither side of their mutual trust can be set later.
    constructor(address token, address datasets, address models, address parameters, uint40 maxSettlementSeconds)
        EscrowAccounts(token, maxSettlementSeconds)
    {
        MODELS = IModelRegistry(models);
        PARAMETERS = ICooperativeParameters(parameters);
        ROYALTIES = address(new RoyaltyLedger(datasets, models));
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
        _applyRows(batch, totals);
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

    /// Applies or skips one row after the other.
    function _applyRows(Batch calldata batch, Batches.Totals memory totals) private {
        Desk memory desk = openDesk({domainSeparator: _domainSeparatorV4(), collector: batch.collector, token: address(TOKEN)});
        desk.totals = totals;
        desk.batchId = batch.batchId;
        (uint256 at, uint256 end) = desk.start(batch.rows);
        uint256 row = 0;
        while (at < end) {
            desk.row = row;
            uint256 sum;
            (at, sum) = desk.read(at, end);
            if (sum == 0) _skip(desk, Skip.LaneRefused);
            else if (desk.isGranted == 0) _applyOwn(desk, sum);
            else _applyGranted(desk, sum);
            // No overflow: each row takes calldata.
            unchecked {
                ++row;
            }
        }
        // Once, not for every row: what too many rows have changed is undone.
        require(row <= Batches.MAX_ROWS, EscrowBatchTooLarge({actual: row, limit: Batches.MAX_ROWS}));
    }

    /// Charges `sum`, which the row at the desk raises by the payer's own key, or skips it.
    function _applyOwn(Desk memory desk, uint256 sum) private {
        State storage account = _accounts[desk.nameAccount()];
        Funds funds = account.funds;
        uint256 spent = desk.from;
        if (funds.ownSpent() != spent) return _skip(desk, Skip.Stale);
        // No overflow: `from` has 80 bits, and so has each of at most 64 parts.
        unchecked {
            spent += sum;
        }
        if (spent > desk.ceiling) return _skip(desk, Skip.OverCeiling);
        if (sum > funds.uncharged()) return _skip(desk, Skip.Unfunded);
        if (!desk.isSigned()) return _skip(desk, Skip.Unsigned);
        account.funds = funds.chargeOwn(sum);
    }

    /// The same by a granted key, which has its own slot beside the account's.
    function _applyGranted(Desk memory desk, uint256 sum) private {
        State storage account = _accounts[desk.nameAccount()];
        Granted storage granted = account.keys[desk.key];
        Grant grant = granted.grant;
        uint256 spent = grant.spent();
        if (desk.from != spent) return _skip(desk, Skip.Stale);
        // No overflow: as above; an end has 40 bits, a thaw 32.
        unchecked {
            spent += sum;
            if (block.timestamp > grant.notAfter() + desk.thawSeconds) return _skip(desk, Skip.KeyEnded);
        }
        if (spent > grant.cap()) return _skip(desk, Skip.OverCap);
        if (spent > desk.ceiling) return _skip(desk, Skip.OverCeiling);
        Funds funds = account.funds;
        if (sum > funds.uncharged()) return _skip(desk, Skip.Unfunded);
        if (!desk.isSigned()) return _skip(desk, Skip.Unsigned);
        account.funds = funds.charge(sum);
        granted.grant = grant.spend(sum);
    }

    /// A skipped row changes nothing.
    function _skip(Desk memory desk, Skip reason) private {
        desk.takeBack();
        emit RowSkipped(desk.batchId, desk.row, reason);
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

    /// @inheritdoc IInferenceEscrow
    function claimCreditBySig(address account, address to, uint256 nonce, uint256 deadline, bytes calldata signature)
        external
        nonReentrant
        returns (uint128 amount)
    {
        _requireInTime(deadline);
        _requireSigned(account, Messages.hashClaimCredit(account, to, nonce, deadline), signature);
        require(!_creditNonces[account][nonce], EscrowCreditNonceUsed(account, nonce));
        _creditNonces[account][nonce] = true;
        return _claimCredit(account, to);
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

    // Views

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
}
