// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

/// @title Every EIP-712 message, as services/core/messages.ts lists them.
/// @notice Struct hashes; each contract adds its own domain.
library Messages {
    // InferenceEscrow

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

    // ProviderRegistry

    bytes32 internal constant WORKER_HELLO = keccak256("WorkerHello(address sessionKey,bytes32 challenge,address gateway)");

    function hashWorkerHello(address sessionKey, bytes32 challenge, address gateway) internal pure returns (bytes32) {
        return keccak256(abi.encode(WORKER_HELLO, sessionKey, challenge, gateway));
    }
}
