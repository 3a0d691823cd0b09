// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

/// @title Chapter 5, settle: prepaid accounts, keys, vouchers, batches.
/// @notice No owner, no pause, no upgrade. Holds every token of the marketplace; what it owes is deposits less charges, credits, and royalty income.
interface IInferenceEscrow {
    /// accountId = EIP-712 digest (this contract's domain) of Account{payer, collector, token, thawSeconds, salt}.
    struct Account {
        address payer;
        address collector;
        uint32 thawSeconds;
        bytes32 salt;
    }

    struct Balance {
        uint128 deposit; // all that came in, less withdrawals
        uint128 charged; // never falls
        uint128 ownSpent; // of `charged`, what the payer's own key spent
        uint128 thawing;
        uint40 thawEndsAt;
    }

    struct Key {
        uint128 cap;
        uint128 spent; // never resets
        uint40 notAfter; // acceptance ends; vouchers settle until then + thaw
        uint40 revokedAt; // 0 = not revoked; permanent; acceptance ended then (at notAfter, if that came first)
        uint32 nonce; // of the last grant
    }

    /// One model's part of a batch.
    struct Lane {
        bytes32 modelId;
        address provider;
        uint8 purpose;
        uint40 lastServedAt; // of the latest job in the lane, chain time
    }

    struct Batch {
        address collector;
        bytes32 batchId;
        Lane[] lanes; // at most 64
        bytes rows; // at most 512, byte by byte as in libraries/Rows.sol; each raises what a key has spent from `from` by the sum of its parts
        bytes32 receiptsRoot; // Merkle root of the receipts; never zero
    }

    enum Skip {
        None,
        Stale, // spent differs from `from`
        Unsigned,
        OverCeiling,
        OverCap,
        Unfunded,
        KeyEnded,
        LaneRefused // nothing to charge: every part's lane is refused, or takes nothing
    }

    event Deposited(bytes32 indexed accountId, address indexed payer, address indexed collector, uint32 thawSeconds, bytes32 salt, uint128 amount);
    event KeyGranted(bytes32 indexed accountId, address indexed key, uint128 cap, uint40 notAfter, uint32 nonce);
    event KeyRevoked(bytes32 indexed accountId, address indexed key, uint40 at);
    event ThawStarted(bytes32 indexed accountId, uint128 amount, uint40 endsAt);
    event ThawCancelled(bytes32 indexed accountId);
    event Withdrawn(bytes32 indexed accountId, address to, uint128 amount);
    event CollectorFeeSet(address indexed collector, uint32 feePpm, uint40 effectiveAt);
    /// @dev Ends a batch; the three events below that belong to it come right before. A batch id is its collector's own: others may use the same.
    event BatchSettled(address indexed collector, bytes32 indexed batchId, bytes32 receiptsRoot, uint64 epoch, uint128 gross);
    event RowSkipped(bytes32 indexed batchId, uint256 row, Skip reason);
    event LaneRefused(bytes32 indexed batchId, uint256 lane);
    event LaneSettled(
        bytes32 indexed batchId, bytes32 indexed modelId, address indexed provider, uint128 gross, uint128 protocolFee, uint128 collectorFee, uint128 royalties
    );
    event CreditClaimed(address indexed account, address to, uint128 amount);
    event RoyaltyPaid(address indexed to, uint128 amount);

    error EscrowAmountInvalid(uint256 amount);
    error EscrowThawTooShort(uint32 actual, uint32 least);
    error EscrowThawTooLong(uint32 actual, uint32 most);
    error EscrowTokenShortfall(uint256 received, uint256 expected);
    error EscrowNotPayer(address actual, address payer);
    error EscrowSignatureInvalid(address signer);
    error EscrowSignatureExpired(uint256 at, uint256 deadline);
    error EscrowNonceUsed(bytes32 accountId, uint256 nonce);
    error EscrowCreditNonceUsed(address account, uint256 nonce);
    error EscrowKeyInvalid(address key);
    error EscrowKeyIsRevoked(bytes32 accountId, address key);
    error EscrowKeyNarrowed(address key, uint128 cap, uint40 notAfter); // what the key has already
    error EscrowNothingThawing(bytes32 accountId);
    error EscrowStillThawing(uint256 at, uint40 endsAt);
    error EscrowNotCollector(address actual, address collector);
    error EscrowBatchTooLarge(uint256 actual, uint256 limit);
    error EscrowRowMalformed(uint256 at); // the row that begins at this byte
    error EscrowReceiptsRootMissing(bytes32 batchId);
    error EscrowLaneUnknown(uint256 lane, uint256 lanes);
    error EscrowFeeTooHigh(uint32 actual, uint32 limit);
    error EscrowNotRoyaltyLedger(address actual);
    error EscrowNothingToClaim(address account);

    /// @notice Anyone may deposit for an account from its own allowance.
    function deposit(Account calldata account, uint128 amount) external returns (bytes32 accountId);
    /// @notice EIP-3009 with to = this contract and nonce = depositNonce(accountId, salt): the signature binds the money to the account.
    function depositWithAuthorization(
        Account calldata account, uint128 amount, uint256 validAfter, uint256 validBefore, bytes32 salt, bytes calldata signature
    ) external returns (bytes32 accountId);
    /// @notice EIP-2612, by the token's owner only.
    function depositWithPermit(Account calldata account, uint128 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external returns (bytes32 accountId);

    /// @notice Grants or widens a key; `nonce` must exceed the key's last. A revoked key can't be granted again.
    /// Nothing narrows a key but its revocation: what a collector accepted stays collectable until the thaw is over.
    function grantKey(Account calldata account, address key, uint128 cap, uint40 notAfter, uint32 nonce) external;
    function grantKeyBySig(Account calldata account, address key, uint128 cap, uint40 notAfter, uint32 nonce, bytes calldata signature) external;
    function revokeKey(Account calldata account, address key) external;
    function revokeKeyBySig(Account calldata account, address key, bytes calldata signature) external;

    /// @notice Starts or restarts the clock on `amount`; 0 < amount <= deposit - charged.
    function startThaw(Account calldata account, uint128 amount) external;
    function startThawBySig(Account calldata account, uint128 amount, uint256 nonce, uint256 deadline, bytes calldata signature) external;
    function cancelThaw(Account calldata account) external;
    function cancelThawBySig(Account calldata account, uint256 nonce, uint256 deadline, bytes calldata signature) external;
    /// @notice Pays min(thawing, deposit - charged) after the thaw. `to` must be the payer unless the payer calls.
    function withdraw(Account calldata account, address to) external returns (uint128 amount);
    /// @notice The same to any address that the payer signs for.
    function withdrawBySig(Account calldata account, address to, uint256 nonce, uint256 deadline, bytes calldata signature) external returns (uint128 amount);

    /// @notice The collector's own fee, bounded; a raise takes effect after MAX_SETTLEMENT_SECONDS.
    function setCollectorFee(uint32 feePpm) external;

    /// @notice Settles a batch. By the collector itself (empty signature) or relayed with its EIP-712 signature over SettleBatch.
    /// An executed batchId is a no-op that returns 0.
    function settleBatch(Batch calldata batch, bytes calldata collectorSignature) external returns (uint128 gross);

    /// @notice Pays out credits of providers, collectors and the treasury.
    function claimCredit(address to) external returns (uint128 amount);
    /// @notice Pays `account`'s credit to `account` itself; anyone may call.
    function claimCreditFor(address account) external returns (uint128 amount);
    /// @notice Pays `account`'s credit to any address that `account` signs for.
    function claimCreditBySig(address account, address to, uint256 nonce, uint256 deadline, bytes calldata signature) external returns (uint128 amount);

    /// @notice RoyaltyLedger orders a payout.
    function payRoyalty(address to, uint128 amount) external;

    function accountIdOf(Account calldata account) external view returns (bytes32);
    function depositNonce(bytes32 accountId, bytes32 salt) external pure returns (bytes32);
    function balance(bytes32 accountId) external view returns (Balance memory);
    function key(bytes32 accountId, address key) external view returns (Key memory);
    function batchRoot(address collector, bytes32 batchId) external view returns (bytes32);
    function credit(address account) external view returns (uint128);
    function collectorFeePpm(address collector) external view returns (uint32);
    /// @notice Everything owed: deposits less charges, credits, royalty income not yet paid. Tokens held are never less.
    function owed() external view returns (uint256);
    function ROYALTIES() external view returns (address);
    function MAX_SETTLEMENT_SECONDS() external view returns (uint40);
}
