// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IDatasetRegistry} from "../interfaces/IDatasetRegistry.sol";
import {IRoyaltyLedger} from "../interfaces/IRoyaltyLedger.sol";

/// @title Struct hashes of every EIP-712 message; mirrors services/core/messages.ts, field by field.
/// @dev The domain (name "Granary <Contract>", version "1") is each contract's own.
library Messages {
    // ---------------------------------------------------------------- DatasetRegistry
    bytes32 internal constant REGISTER_DATASET = keccak256(
        "RegisterDataset(address owner,bytes32 commitment,bytes32 termsHash,bytes32 salt,bool isPool,address recovery,uint256 deadline)"
    );
    bytes32 internal constant NARROW_DATASET =
        keccak256("NarrowDataset(bytes32 datasetId,uint32 removePurposes,uint256 removeJurisdictions,uint40 endsAt,uint256 deadline)");
    bytes32 internal constant WITHDRAW_DATASET = keccak256("WithdrawDataset(bytes32 datasetId)");
    bytes32 internal constant WITHDRAW_FROM_POOL = keccak256("WithdrawFromPool(bytes32 poolId,address account)");
    bytes32 internal constant ANNOUNCE_SHARE_TABLE = keccak256(
        "AnnounceShareTable(bytes32 poolId,bytes32 root,uint128 totalShares,uint64 fromEpoch,bytes32 dataDigest,uint256 deadline)"
    );

    function hashRegisterDataset(IDatasetRegistry.Registration calldata registration, uint256 deadline) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                REGISTER_DATASET,
                registration.owner,
                registration.commitment,
                registration.termsHash,
                registration.salt,
                registration.isPool,
                registration.recovery,
                deadline
            )
        );
    }

    function hashNarrowDataset(bytes32 datasetId, IDatasetRegistry.Narrowing calldata narrowing, uint256 deadline) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(NARROW_DATASET, datasetId, narrowing.removePurposes, narrowing.removeJurisdictions, narrowing.endsAt, deadline)
        );
    }

    function hashWithdrawDataset(bytes32 datasetId) internal pure returns (bytes32) {
        return keccak256(abi.encode(WITHDRAW_DATASET, datasetId));
    }

    function hashWithdrawFromPool(bytes32 poolId, address account) internal pure returns (bytes32) {
        return keccak256(abi.encode(WITHDRAW_FROM_POOL, poolId, account));
    }

    function hashAnnounceShareTable(bytes32 poolId, IDatasetRegistry.ShareTable calldata table, uint256 deadline) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(ANNOUNCE_SHARE_TABLE, poolId, table.root, table.totalShares, table.fromEpoch, table.dataDigest, deadline)
        );
    }

    // ---------------------------------------------------------------- ModelRegistry
    bytes32 internal constant REGISTER_MODEL = keccak256("RegisterModel(bytes32 modelId,address author,uint256 deadline)");

    /// The model's id binds both digests, the lineage, all shares and the purposes.
    function hashRegisterModel(bytes32 modelId, address author, uint256 deadline) internal pure returns (bytes32) {
        return keccak256(abi.encode(REGISTER_MODEL, modelId, author, deadline));
    }

    // ---------------------------------------------------------------- RoyaltyLedger
    bytes32 internal constant CLAIM_ROYALTY = keccak256(
        "ClaimRoyalty(bytes32 payeeId,address account,address to,bytes32 epochsHash,uint128 maxRelayerFee,uint256 nonce,uint256 deadline)"
    );

    /// `epochsHash` = keccak256 over the epochs, each as one 32-byte word (abi.encodePacked pads the elements of arrays).
    function hashClaimRoyalty(IRoyaltyLedger.Claim calldata claim, address to, uint128 maxRelayerFee, uint256 nonce, uint256 deadline)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(
            abi.encode(CLAIM_ROYALTY, claim.payeeId, claim.account, to, hashEpochs(claim.epochs), maxRelayerFee, nonce, deadline)
        );
    }

    function hashEpochs(uint64[] calldata epochs) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(epochs));
    }

    // ---------------------------------------------------------------- InferenceEscrow
    struct JobReceipt {
        bytes32 jobId;
        bytes32 modelId;
        address provider;
        uint8 purpose;
        uint64 consentBlock;
        bytes32 inputCommitment;
        bytes32 outputCommitment;
        uint64 units;
        uint128 unitPrice;
        uint40 servedAt;
        uint32 computeMicros;
    }

    struct Receipt {
        bytes32 jobHash;
        bytes32 accountId;
        address key;
        uint64 sequence;
        uint128 charged;
        bytes32 previousHead;
    }

    bytes32 internal constant ACCOUNT = keccak256("Account(address payer,address collector,address token,uint32 thawSeconds,bytes32 salt)");
    bytes32 internal constant VOUCHER = keccak256("Voucher(bytes32 accountId,address key,uint128 ceiling,bytes32 usageHead)");
    bytes32 internal constant GRANT_KEY = keccak256("GrantKey(bytes32 accountId,address key,uint128 cap,uint40 notAfter,uint32 nonce)");
    bytes32 internal constant REVOKE_KEY = keccak256("RevokeKey(bytes32 accountId,address key)");
    bytes32 internal constant START_THAW = keccak256("StartThaw(bytes32 accountId,uint128 amount,uint256 nonce,uint256 deadline)");
    bytes32 internal constant CANCEL_THAW = keccak256("CancelThaw(bytes32 accountId,uint256 nonce,uint256 deadline)");
    bytes32 internal constant WITHDRAW = keccak256("Withdraw(bytes32 accountId,address to,uint256 nonce,uint256 deadline)");
    bytes32 internal constant CLAIM_CREDIT = keccak256("ClaimCredit(address account,address to,uint256 nonce,uint256 deadline)");
    bytes32 internal constant SETTLE_BATCH =
        keccak256("SettleBatch(address collector,bytes32 batchId,bytes32 lanesHash,bytes32 rowsHash,bytes32 receiptsRoot)");
    bytes32 internal constant SESSION = keccak256("Session(bytes32 accountId,address key,bytes32 ephemeralKey,uint40 expiresAt)");
    bytes32 internal constant JOB_RECEIPT = keccak256(
        "JobReceipt(bytes32 jobId,bytes32 modelId,address provider,uint8 purpose,uint64 consentBlock,bytes32 inputCommitment,bytes32 outputCommitment,uint64 units,uint128 unitPrice,uint40 servedAt,uint32 computeMicros)"
    );
    bytes32 internal constant RECEIPT =
        keccak256("Receipt(bytes32 jobHash,bytes32 accountId,address key,uint64 sequence,uint128 charged,bytes32 previousHead)");

    function hashAccount(address payer, address collector, address token, uint32 thawSeconds, bytes32 salt) internal pure returns (bytes32) {
        return keccak256(abi.encode(ACCOUNT, payer, collector, token, thawSeconds, salt));
    }

    function hashVoucher(bytes32 accountId, address key, uint128 ceiling, bytes32 usageHead) internal pure returns (bytes32) {
        return keccak256(abi.encode(VOUCHER, accountId, key, ceiling, usageHead));
    }

    function hashGrantKey(bytes32 accountId, address key, uint128 cap, uint40 notAfter, uint32 nonce) internal pure returns (bytes32) {
        return keccak256(abi.encode(GRANT_KEY, accountId, key, cap, notAfter, nonce));
    }

    function hashRevokeKey(bytes32 accountId, address key) internal pure returns (bytes32) {
        return keccak256(abi.encode(REVOKE_KEY, accountId, key));
    }

    function hashStartThaw(bytes32 accountId, uint128 amount, uint256 nonce, uint256 deadline) internal pure returns (bytes32) {
        return keccak256(abi.encode(START_THAW, accountId, amount, nonce, deadline));
    }

    function hashCancelThaw(bytes32 accountId, uint256 nonce, uint256 deadline) internal pure returns (bytes32) {
        return keccak256(abi.encode(CANCEL_THAW, accountId, nonce, deadline));
    }

    function hashWithdraw(bytes32 accountId, address to, uint256 nonce, uint256 deadline) internal pure returns (bytes32) {
        return keccak256(abi.encode(WITHDRAW, accountId, to, nonce, deadline));
    }

    function hashClaimCredit(address account, address to, uint256 nonce, uint256 deadline) internal pure returns (bytes32) {
        return keccak256(abi.encode(CLAIM_CREDIT, account, to, nonce, deadline));
    }

    function hashSettleBatch(address collector, bytes32 batchId, bytes32 lanesHash, bytes32 rowsHash, bytes32 receiptsRoot) internal pure returns (bytes32) {
        return keccak256(abi.encode(SETTLE_BATCH, collector, batchId, lanesHash, rowsHash, receiptsRoot));
    }

    function hashSession(bytes32 accountId, address key, bytes32 ephemeralKey, uint40 expiresAt) internal pure returns (bytes32) {
        return keccak256(abi.encode(SESSION, accountId, key, ephemeralKey, expiresAt));
    }

    /// @dev A struct of value types is encoded in place, as EIP-712 wants it.
    function hashJobReceipt(JobReceipt memory receipt) internal pure returns (bytes32) {
        return keccak256(abi.encode(JOB_RECEIPT, receipt));
    }

    function hashReceipt(Receipt memory receipt) internal pure returns (bytes32) {
        return keccak256(abi.encode(RECEIPT, receipt));
    }

    // ---------------------------------------------------------------- X402Router
    bytes32 internal constant SWEEP = keccak256("Sweep(uint128 total)");
    bytes32 internal constant REFUND = keccak256("Refund(address from,bytes32 nonce,uint128 amount)");

    function hashSweep(uint128 total) internal pure returns (bytes32) {
        return keccak256(abi.encode(SWEEP, total));
    }

    function hashRefund(address from, bytes32 nonce, uint128 amount) internal pure returns (bytes32) {
        return keccak256(abi.encode(REFUND, from, nonce, amount));
    }

    // ---------------------------------------------------------------- ProviderRegistry
    bytes32 internal constant WORKER_HELLO = keccak256("WorkerHello(address sessionKey,bytes32 challenge,address gateway)");
    bytes32 internal constant REGISTER_PROVIDER = keccak256(
        "RegisterProvider(address operator,address sessionKey,bytes32 encryptionKey,string name,uint256 nonce,uint256 deadline)"
    );
    bytes32 internal constant SET_OFFER =
        keccak256("SetOffer(address operator,bytes32 modelId,uint8 unit,uint128 unitPrice,uint256 nonce,uint256 deadline)");
    bytes32 internal constant END_OFFER = keccak256("EndOffer(address operator,bytes32 modelId,uint256 nonce,uint256 deadline)");
    bytes32 internal constant START_UNSTAKING = keccak256("StartUnstaking(address operator,uint128 amount,uint256 nonce,uint256 deadline)");
    bytes32 internal constant UNSTAKE = keccak256("Unstake(address operator,address to,uint256 nonce,uint256 deadline)");

    function hashWorkerHello(address sessionKey, bytes32 challenge, address gateway) internal pure returns (bytes32) {
        return keccak256(abi.encode(WORKER_HELLO, sessionKey, challenge, gateway));
    }

    function hashRegisterProvider(
        address operator, address sessionKey, bytes32 encryptionKey, string calldata name, uint256 nonce, uint256 deadline
    ) internal pure returns (bytes32) {
        return keccak256(abi.encode(REGISTER_PROVIDER, operator, sessionKey, encryptionKey, keccak256(bytes(name)), nonce, deadline));
    }

    function hashSetOffer(address operator, bytes32 modelId, uint8 unit, uint128 unitPrice, uint256 nonce, uint256 deadline)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(SET_OFFER, operator, modelId, unit, unitPrice, nonce, deadline));
    }

    function hashEndOffer(address operator, bytes32 modelId, uint256 nonce, uint256 deadline) internal pure returns (bytes32) {
        return keccak256(abi.encode(END_OFFER, operator, modelId, nonce, deadline));
    }

    function hashStartUnstaking(address operator, uint128 amount, uint256 nonce, uint256 deadline) internal pure returns (bytes32) {
        return keccak256(abi.encode(START_UNSTAKING, operator, amount, nonce, deadline));
    }

    function hashUnstake(address operator, address to, uint256 nonce, uint256 deadline) internal pure returns (bytes32) {
        return keccak256(abi.encode(UNSTAKE, operator, to, nonce, deadline));
    }

    // ---------------------------------------------------------------- Membership
    bytes32 internal constant APPLICATION = keccak256("Application(address account,bytes32 nullifier,uint256 deadline)");
    bytes32 internal constant ADMISSION = keccak256("Admission(address account,bytes32 nullifier,uint256 deadline)");
    bytes32 internal constant VOUCH = keccak256("Vouch(address account,bytes32 nullifier,uint256 deadline)");
    bytes32 internal constant LEAVE = keccak256("Leave(uint256 memberId)");
    bytes32 internal constant START_ROTATION = keccak256("StartRotation(uint256 memberId,address newKey,uint256 nonce,uint256 deadline)");
    bytes32 internal constant CANCEL_ROTATION = keccak256("CancelRotation(uint256 memberId,address newKey,uint40 rotatesAt)");
    bytes32 internal constant ACCEPT_ROTATION = keccak256("AcceptRotation(uint256 memberId,address newKey)");

    function hashApplication(address account, bytes32 nullifier, uint256 deadline) internal pure returns (bytes32) {
        return keccak256(abi.encode(APPLICATION, account, nullifier, deadline));
    }

    function hashAdmission(address account, bytes32 nullifier, uint256 deadline) internal pure returns (bytes32) {
        return keccak256(abi.encode(ADMISSION, account, nullifier, deadline));
    }

    function hashVouch(address account, bytes32 nullifier, uint256 deadline) internal pure returns (bytes32) {
        return keccak256(abi.encode(VOUCH, account, nullifier, deadline));
    }

    function hashLeave(uint256 memberId) internal pure returns (bytes32) {
        return keccak256(abi.encode(LEAVE, memberId));
    }

    function hashStartRotation(uint256 memberId, address newKey, uint256 nonce, uint256 deadline) internal pure returns (bytes32) {
        return keccak256(abi.encode(START_ROTATION, memberId, newKey, nonce, deadline));
    }

    function hashCancelRotation(uint256 memberId, address newKey, uint40 rotatesAt) internal pure returns (bytes32) {
        return keccak256(abi.encode(CANCEL_ROTATION, memberId, newKey, rotatesAt));
    }

    function hashAcceptRotation(uint256 memberId, address newKey) internal pure returns (bytes32) {
        return keccak256(abi.encode(ACCEPT_ROTATION, memberId, newKey));
    }

    // ---------------------------------------------------------------- CooperativeGovernor
    bytes32 internal constant PROPOSE = keccak256("Propose(uint256 proposalId,address proposer,uint256 deadline)");
    bytes32 internal constant CANCEL_PROPOSAL = keccak256("CancelProposal(uint256 proposalId)");

    /// The proposal's id binds every call and the description.
    function hashPropose(uint256 proposalId, address proposer, uint256 deadline) internal pure returns (bytes32) {
        return keccak256(abi.encode(PROPOSE, proposalId, proposer, deadline));
    }

    function hashCancelProposal(uint256 proposalId) internal pure returns (bytes32) {
        return keccak256(abi.encode(CANCEL_PROPOSAL, proposalId));
    }
}
