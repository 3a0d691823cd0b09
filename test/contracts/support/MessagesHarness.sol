// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IDatasetRegistry} from "../../../contracts/interfaces/IDatasetRegistry.sol";
import {IRoyaltyLedger} from "../../../contracts/interfaces/IRoyaltyLedger.sol";
import {Messages} from "../../../contracts/libraries/Messages.sol";

/// @title Messages, one function for each, for test/messages.test.ts.
contract MessagesHarness {
    // DatasetRegistry

    function RegisterDataset(IDatasetRegistry.Registration calldata registration, uint256 deadline) external pure returns (bytes32) {
        return Messages.hashRegisterDataset(registration, deadline);
    }

    function NarrowDataset(bytes32 datasetId, IDatasetRegistry.Narrowing calldata narrowing, uint256 deadline) external pure returns (bytes32) {
        return Messages.hashNarrowDataset(datasetId, narrowing, deadline);
    }

    function WithdrawDataset(bytes32 datasetId) external pure returns (bytes32) {
        return Messages.hashWithdrawDataset(datasetId);
    }

    function WithdrawFromPool(bytes32 poolId, address account) external pure returns (bytes32) {
        return Messages.hashWithdrawFromPool(poolId, account);
    }

    function AnnounceShareTable(bytes32 poolId, IDatasetRegistry.ShareTable calldata table, uint256 deadline) external pure returns (bytes32) {
        return Messages.hashAnnounceShareTable(poolId, table, deadline);
    }

    // ModelRegistry

    function RegisterModel(bytes32 modelId, address author, uint256 deadline) external pure returns (bytes32) {
        return Messages.hashRegisterModel(modelId, author, deadline);
    }

    // RoyaltyLedger

    function ClaimRoyalty(IRoyaltyLedger.Claim calldata claim, address to, uint128 maxRelayerFee, uint256 nonce, uint256 deadline)
        external
        pure
        returns (bytes32)
    {
        return Messages.hashClaimRoyalty(claim, to, maxRelayerFee, nonce, deadline);
    }

    // InferenceEscrow

    function Account(address payer, address collector, address token, uint32 thawSeconds, bytes32 salt) external pure returns (bytes32) {
        return Messages.hashAccount(payer, collector, token, thawSeconds, salt);
    }

    function Voucher(bytes32 accountId, address key, uint128 ceiling, bytes32 usageHead) external pure returns (bytes32) {
        return Messages.hashVoucher(accountId, key, ceiling, usageHead);
    }

    function GrantKey(bytes32 accountId, address key, uint128 cap, uint40 notAfter, uint32 nonce) external pure returns (bytes32) {
        return Messages.hashGrantKey(accountId, key, cap, notAfter, nonce);
    }

    function RevokeKey(bytes32 accountId, address key) external pure returns (bytes32) {
        return Messages.hashRevokeKey(accountId, key);
    }

    function StartThaw(bytes32 accountId, uint128 amount, uint256 nonce, uint256 deadline) external pure returns (bytes32) {
        return Messages.hashStartThaw(accountId, amount, nonce, deadline);
    }

    function CancelThaw(bytes32 accountId, uint256 nonce, uint256 deadline) external pure returns (bytes32) {
        return Messages.hashCancelThaw(accountId, nonce, deadline);
    }

    function Withdraw(bytes32 accountId, address to, uint256 nonce, uint256 deadline) external pure returns (bytes32) {
        return Messages.hashWithdraw(accountId, to, nonce, deadline);
    }

    function ClaimCredit(address account, address to, uint256 nonce, uint256 deadline) external pure returns (bytes32) {
        return Messages.hashClaimCredit(account, to, nonce, deadline);
    }

    function SettleBatch(address collector, bytes32 batchId, bytes32 lanesHash, bytes32 rowsHash, bytes32 receiptsRoot) external pure returns (bytes32) {
        return Messages.hashSettleBatch(collector, batchId, lanesHash, rowsHash, receiptsRoot);
    }

    function Session(bytes32 accountId, address key, bytes32 ephemeralKey, uint40 expiresAt) external pure returns (bytes32) {
        return Messages.hashSession(accountId, key, ephemeralKey, expiresAt);
    }

    function JobReceipt(Messages.JobReceipt calldata receipt) external pure returns (bytes32) {
        return Messages.hashJobReceipt(receipt);
    }

    function Receipt(Messages.Receipt calldata receipt) external pure returns (bytes32) {
        return Messages.hashReceipt(receipt);
    }

    // X402Router

    function Sweep(uint128 total) external pure returns (bytes32) {
        return Messages.hashSweep(total);
    }

    function Refund(address from, bytes32 nonce, uint128 amount) external pure returns (bytes32) {
        return Messages.hashRefund(from, nonce, amount);
    }

    // ProviderRegistry

    function WorkerHello(address sessionKey, bytes32 challenge, address gateway) external pure returns (bytes32) {
        return Messages.hashWorkerHello(sessionKey, challenge, gateway);
    }

    function RegisterProvider(
        address operator, address sessionKey, bytes32 encryptionKey, string calldata name, uint256 nonce, uint256 deadline
    ) external pure returns (bytes32) {
        return Messages.hashRegisterProvider(operator, sessionKey, encryptionKey, name, nonce, deadline);
    }

    function SetOffer(address operator, bytes32 modelId, uint8 unit, uint128 unitPrice, uint256 nonce, uint256 deadline)
        external
        pure
        returns (bytes32)
    {
        return Messages.hashSetOffer(operator, modelId, unit, unitPrice, nonce, deadline);
    }

    function EndOffer(address operator, bytes32 modelId, uint256 nonce, uint256 deadline) external pure returns (bytes32) {
        return Messages.hashEndOffer(operator, modelId, nonce, deadline);
    }

    function StartUnstaking(address operator, uint128 amount, uint256 nonce, uint256 deadline) external pure returns (bytes32) {
        return Messages.hashStartUnstaking(operator, amount, nonce, deadline);
    }

    function Unstake(address operator, address to, uint256 nonce, uint256 deadline) external pure returns (bytes32) {
        return Messages.hashUnstake(operator, to, nonce, deadline);
    }

    // Membership

    function Application(address account, bytes32 nullifier, uint256 deadline) external pure returns (bytes32) {
        return Messages.hashApplication(account, nullifier, deadline);
    }

    function Admission(address account, bytes32 nullifier, uint256 deadline) external pure returns (bytes32) {
        return Messages.hashAdmission(account, nullifier, deadline);
    }

    function Vouch(address account, bytes32 nullifier, uint256 deadline) external pure returns (bytes32) {
        return Messages.hashVouch(account, nullifier, deadline);
    }

    function Leave(uint256 memberId) external pure returns (bytes32) {
        return Messages.hashLeave(memberId);
    }

    function StartRotation(uint256 memberId, address newKey, uint256 nonce, uint256 deadline) external pure returns (bytes32) {
        return Messages.hashStartRotation(memberId, newKey, nonce, deadline);
    }

    function CancelRotation(uint256 memberId, address newKey, uint40 rotatesAt) external pure returns (bytes32) {
        return Messages.hashCancelRotation(memberId, newKey, rotatesAt);
    }

    function AcceptRotation(uint256 memberId, address newKey) external pure returns (bytes32) {
        return Messages.hashAcceptRotation(memberId, newKey);
    }

    // CooperativeGovernor

    function Propose(uint256 proposalId, address proposer, uint256 deadline) external pure returns (bytes32) {
        return Messages.hashPropose(proposalId, proposer, deadline);
    }

    function CancelProposal(uint256 proposalId) external pure returns (bytes32) {
        return Messages.hashCancelProposal(proposalId);
    }
}
