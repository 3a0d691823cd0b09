// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {IDatasetRegistry} from "./interfaces/IDatasetRegistry.sol";
import {IInferenceEscrow} from "./interfaces/IInferenceEscrow.sol";
import {IModelRegistry} from "./interfaces/IModelRegistry.sol";
import {IRoyaltyLedger} from "./interfaces/IRoyaltyLedger.sol";
import {Messages} from "./libraries/Messages.sol";
import {Shares} from "./libraries/Shares.sol";
import {Signatures} from "./libraries/Signatures.sol";

contract RoyaltyLedger is IRoyaltyLedger, EIP712 {
    /// One payee's money of one epoch: `paid` never exceeds `pooled`, whatever a steward's table says.
    struct Pot {
        uint128 pooled;
        uint128 paid;
    }

    /// @inheritdoc IRoyaltyLedger
    uint256 public constant MAX_EPOCHS = 64;
    /// @inheritdoc IRoyaltyLedger
    IDatasetRegistry public immutable DATASETS;
    /// @inheritdoc IRoyaltyLedger
    IModelRegistry public immutable MODELS;
    /// @inheritdoc IRoyaltyLedger
    IInferenceEscrow public immutable ESCROW;
    /// The registry's own, kept here because settlement and claims ask for the epoch.
    uint40 private immutable EPOCH_SECONDS;

    mapping(bytes32 modelId => mapping(uint64 epoch => uint128)) private _income;
    mapping(bytes32 modelId => mapping(uint256 payeeIndex => mapping(uint64 epoch => uint128))) private _pulled;
    mapping(bytes32 payeeId => mapping(uint64 epoch => Pot)) private _pots;
    mapping(bytes32 poolId => mapping(uint64 epoch => mapping(address account => uint128))) private _drawn;
    mapping(bytes32 digest => bool) private _used;

    /// @dev Created by the escrow, which holds the tokens.
    constructor(address datasets, address models) EIP712("Granary RoyaltyLedger", "1") {
        DATASETS = IDatasetRegistry(datasets);
        MODELS = IModelRegistry(models);
        ESCROW = IInferenceEscrow(msg.sender);
        EPOCH_SECONDS = DATASETS.EPOCH_SECONDS();
    }

    // ---------------------------------------------------------------- credit

    /// @inheritdoc IRoyaltyLedger
    function creditIncome(bytes32 modelId, uint64 epoch, uint128 amount) external {
        require(msg.sender == address(ESCROW), RoyaltyNotEscrow(msg.sender));

        _income[modelId][epoch] += amount;
        emit IncomeCredited(modelId, epoch, amount);
    }

    // ---------------------------------------------------------------- pull

    /// @inheritdoc IRoyaltyLedger
    function pull(bytes32 modelId, uint256 payeeIndex, uint64[] calldata epochs) external returns (uint128 amount) {
        require(epochs.length <= MAX_EPOCHS, RoyaltyEpochsInvalid(epochs.length));
        IModelRegistry.Payee memory payee = MODELS.payeeAt(modelId, payeeIndex);
        require(payee.id != bytes32(0), RoyaltyPayeeMismatch(modelId, payeeIndex));
        (uint32 payeesPpm,) = MODELS.settlementTerms(modelId, 0);
        if (payee.ppm == 0) return 0;

        for (uint256 i = 0; i < epochs.length; ++i) {
            uint64 epoch = epochs[i];
            // Rounds down on the running total, so the order and number of pulls change nothing; the dust stays in the escrow.
            // The cast is exact: a part is at most the income.
            uint128 part = uint128((uint256(_income[modelId][epoch]) * payee.ppm) / payeesPpm);
            uint128 fresh = part - _pulled[modelId][payeeIndex][epoch];
            if (fresh == 0) continue;
            _pulled[modelId][payeeIndex][epoch] = part;
            _pots[payee.id][epoch].pooled += fresh;
            amount += fresh;
            emit Pulled(modelId, payee.id, epoch, fresh);
        }
    }

    // ---------------------------------------------------------------- claim

    /// @inheritdoc IRoyaltyLedger
    function claim(Claim calldata claim_, address to) external returns (uint128 amount) {
        require(msg.sender == claim_.account, RoyaltyNotPayee(msg.sender, claim_.account));
        amount = _draw(claim_);

        emit Claimed({payeeId: claim_.payeeId, account: claim_.account, to: to, amount: amount, relayerFee: 0});
        ESCROW.payRoyalty(to, amount);
    }

    /// @inheritdoc IRoyaltyLedger
    function claimBySig(
        Claim calldata claim_,
        address to,
        uint128 relayerFee,
        uint128 maxRelayerFee,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) external returns (uint128 amount) {
        require(block.timestamp <= deadline, RoyaltySignatureExpired(block.timestamp, deadline));
        require(relayerFee <= maxRelayerFee, RoyaltyFeeTooHigh(relayerFee, maxRelayerFee));
        bytes32 digest = _hashTypedDataV4(Messages.hashClaimRoyalty(claim_, to, maxRelayerFee, nonce, deadline));
        require(!_used[digest], RoyaltySignatureUsed(digest));
        require(Signatures.isBy(claim_.account, digest, signature), RoyaltySignatureInvalid(claim_.account));
        _used[digest] = true;
        amount = _draw(claim_);
        require(relayerFee <= amount, RoyaltyFeeTooHigh(relayerFee, amount));

        emit Claimed({payeeId: claim_.payeeId, account: claim_.account, to: to, amount: amount, relayerFee: relayerFee});
        if (relayerFee != amount) ESCROW.payRoyalty(to, amount - relayerFee);
        if (relayerFee != 0) ESCROW.payRoyalty(msg.sender, relayerFee);
    }

    /// Books what is due to the account as paid.
    function _draw(Claim calldata claim_) private returns (uint128 amount) {
        _requireClosed(claim_.epochs);
        bool isShared = _requirePayee(claim_);
        bytes32 checkedRoot = bytes32(0);
        for (uint256 i = 0; i < claim_.epochs.length; ++i) {
            if (!isShared) {
                amount += _drawAll(claim_.payeeId, claim_.epochs[i]);
                continue;
            }
            (bytes32 root, uint128 totalShares) = DATASETS.shareTableAt(claim_.payeeId, claim_.epochs[i]);
            if (checkedRoot == bytes32(0) || root != checkedRoot) _requireLeaf(claim_, claim_.epochs[i], root);
            checkedRoot = root;
            amount += _drawShare(claim_, claim_.epochs[i], totalShares);
        }
        require(amount != 0, RoyaltyNothingToClaim(claim_.payeeId, claim_.account));
    }

    function _drawAll(bytes32 payeeId, uint64 epoch) private returns (uint128 due) {
        Pot storage pot = _pots[payeeId][epoch];
        due = pot.pooled - pot.paid;
        if (due != 0) pot.paid = pot.pooled;
    }

    /// @dev Warning: a table whose leaves sum to more than its total pays whoever comes first; never more than the pot.
    function _drawShare(Claim calldata claim_, uint64 epoch, uint128 totalShares) private returns (uint128 due) {
        Pot storage pot = _pots[claim_.payeeId][epoch];
        uint256 part = (uint256(pot.pooled) * claim_.shares) / totalShares;
        mapping(address account => uint128) storage drawnBy = _drawn[claim_.payeeId][epoch];
        uint256 already = drawnBy[claim_.account];
        uint256 left = pot.pooled - pot.paid;
        uint256 open = part > already ? part - already : 0;
        // The cast is exact: `left` has 128 bits.
        due = uint128(open < left ? open : left);
        if (due == 0) return 0;
        pot.paid += due;
        // The cast is exact: what one account drew is part of what was paid, which `pooled` bounds.
        drawnBy[claim_.account] = uint128(already + due);
    }

    function _requireClosed(uint64[] calldata epochs) private view {
        require(epochs.length != 0 && epochs.length <= MAX_EPOCHS, RoyaltyEpochsInvalid(epochs.length));
        for (uint256 i = 1; i < epochs.length; ++i) require(epochs[i - 1] < epochs[i], RoyaltyEpochsInvalid(epochs.length));
        uint64 current = currentEpoch();
        uint64 last = epochs[epochs.length - 1];
        require(last < current, RoyaltyEpochOpen(last, current));
    }

    /// A pool is shared by its table, whoever is its steward; anything else belongs to one account. Who claims shares must prove them:
    /// only pools have tables, so there is nothing to ask the registry first.
    function _requirePayee(Claim calldata claim_) private view returns (bool isShared) {
        if (claim_.shares != 0 || DATASETS.isPool(claim_.payeeId)) return true;
        address payee = _soleAccountOf(claim_.payeeId);
        require(payee != address(0), RoyaltyPayeeUnknown(claim_.payeeId));
        require(claim_.account == payee, RoyaltyNotPayee(claim_.account, payee));
        return false;
    }

    function _requireLeaf(Claim calldata claim_, uint64 epoch, bytes32 root) private pure {
        bytes32 leaf = Shares.leaf(claim_.account, claim_.shares);
        bool isProven = root != bytes32(0) && MerkleProof.verifyCalldata(claim_.proof, root, leaf);
        require(isProven, RoyaltyProofInvalid(claim_.payeeId, claim_.account, epoch));
    }

    // ---------------------------------------------------------------- views

    /// @inheritdoc IRoyaltyLedger
    function income(bytes32 modelId, uint64 epoch) external view returns (uint128) {
        return _income[modelId][epoch];
    }

    /// @inheritdoc IRoyaltyLedger
    function pulled(bytes32 modelId, uint256 payeeIndex, uint64 epoch) external view returns (uint128) {
        return _pulled[modelId][payeeIndex][epoch];
    }

    /// @inheritdoc IRoyaltyLedger
    function pool(bytes32 payeeId, uint64 epoch) external view returns (uint128) {
        return _pots[payeeId][epoch].pooled;
    }

    /// @inheritdoc IRoyaltyLedger
    function paid(bytes32 payeeId, uint64 epoch) external view returns (uint128) {
        return _pots[payeeId][epoch].paid;
    }

    /// @inheritdoc IRoyaltyLedger
    function drawn(bytes32 payeeId, uint64 epoch, address account) external view returns (uint128) {
        if (DATASETS.isPool(payeeId)) return _drawn[payeeId][epoch][account];
        return account == _soleAccountOf(payeeId) ? _pots[payeeId][epoch].paid : 0;
    }

    /// @inheritdoc IRoyaltyLedger
    function isUsed(bytes32 digest) external view returns (bool) {
        return _used[digest];
    }

    /// @inheritdoc IRoyaltyLedger
    function currentEpoch() public view returns (uint64) {
        return uint64(block.timestamp / EPOCH_SECONDS);
    }

    /// A withdrawn dataset keeps its owner: what it earned stays claimable.
    function _soleAccountOf(bytes32 payeeId) private view returns (address account) {
        account = DATASETS.ownerOf(payeeId);
        if (account == address(0)) account = MODELS.authorOf(payeeId);
    }
}
