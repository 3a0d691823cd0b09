// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IERC3009} from "@openzeppelin/contracts/interfaces/draft-IERC3009.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {InferenceEscrow} from "./InferenceEscrow.sol";
import {IInferenceEscrow} from "./interfaces/IInferenceEscrow.sol";
import {IX402Router} from "./interfaces/IX402Router.sol";
import {Guarded} from "./libraries/Guarded.sol";
import {Messages} from "./libraries/Messages.sol";
import {Signatures} from "./libraries/Signatures.sol";

/// @title Chapter 5, the x402 rail.
/// @dev Warning: the token tells that a nonce was used, not by what: an executed authorization, a cancelled one, and another one with the same
/// nonce look alike. Who signs a refund must have seen the transfer; one that is signed for nothing comes out of what is not swept, goes to
/// `from` all the same, and is the collector's loss.
/// @dev Warning: how much was earned is the collector's word, here as in its batches.
contract X402Router is IX402Router, EIP712, Guarded {
    using SafeERC20 for IERC20;

    bytes32 private constant TRANSFER_WITH_AUTHORIZATION =
        keccak256("TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)");

    IInferenceEscrow public immutable ESCROW;
    IERC20 public immutable TOKEN;
    address public immutable COLLECTOR;
    /// Signs the vouchers of the house account. Alone it charges nothing: batches are the collector's.
    address public immutable KEY;
    uint32 public immutable THAW_SECONDS;
    bytes32 public immutable ACCOUNT_ID;

    /// @inheritdoc IX402Router
    uint128 public swept;
    mapping(address from => mapping(bytes32 nonce => uint128 amount)) private _refunded;

    /// @param key an ECDSA key; may be the collector's own
    constructor(InferenceEscrow escrow, address collector, address key) EIP712("Granary X402Router", "1") {
        require(collector != address(0) && collector != address(this), RouterKeyInvalid(collector));
        ESCROW = escrow;
        TOKEN = escrow.TOKEN();
        COLLECTOR = collector;
        KEY = key;
        THAW_SECONDS = uint32(2 * escrow.MAX_SETTLEMENT_SECONDS());
        IInferenceEscrow.Account memory house = _houseAccount();
        ACCOUNT_ID = escrow.accountIdOf(house);
        // For good and without a limit: only what was swept can be charged, by this collector's batches.
        ESCROW.grantKey({account: house, key: key, cap: type(uint80).max, notAfter: type(uint40).max, nonce: 1});
    }

    /// @inheritdoc IX402Router
    function sweep(uint128 total, bytes calldata signature) external nonReentrant returns (uint128 amount) {
        _requireCollector(Messages.hashSweep(total), signature);
        if (total <= swept) return 0;
        amount = total - swept;
        _requireHeld(amount);

        swept = total;
        emit Swept(ACCOUNT_ID, amount, total);
        TOKEN.forceApprove({spender: address(ESCROW), value: amount});
        ESCROW.deposit(_houseAccount(), amount);
    }

    /// @inheritdoc IX402Router
    function refund(Authorization calldata authorization, uint128 amount, bytes calldata payerSignature, bytes calldata signature)
        external
        nonReentrant
    {
        address from = authorization.from;
        bytes32 nonce = authorization.nonce;
        _requireCollector(Messages.hashRefund(from, nonce, amount), signature);
        require(Signatures.isBy(from, _digest(authorization), payerSignature), RouterAuthorizationForged(from, nonce));
        require(IERC3009(address(TOKEN)).authorizationState(from, nonce), RouterAuthorizationUnused(from, nonce));
        require(_refunded[from][nonce] == 0, RouterAlreadyRefunded(from, nonce, _refunded[from][nonce]));
        require(amount > 0 && amount <= authorization.value, RouterRefundInvalid({amount: amount, value: authorization.value}));
        _requireHeld(amount);

        _refunded[from][nonce] = amount;
        emit Refunded(from, nonce, amount);
        TOKEN.safeTransfer({to: from, value: amount});
    }

    function _requireCollector(bytes32 structHash, bytes calldata signature) private view {
        if (signature.length == 0) {
            require(msg.sender == COLLECTOR || msg.sender == KEY, RouterNotCollector({actual: msg.sender, collector: COLLECTOR, key: KEY}));
            return;
        }
        bytes32 digest = _hashTypedDataV4(structHash);
        require(
            Signatures.isBy(COLLECTOR, digest, signature) || Signatures.isBy(KEY, digest, signature),
            RouterSignatureInvalid({collector: COLLECTOR, key: KEY})
        );
    }

    function _requireHeld(uint256 amount) private view {
        uint256 held = TOKEN.balanceOf(address(this));
        require(amount <= held, RouterBalanceShort({asked: amount, held: held}));
    }

    /// What `from` signed for the token: with this contract as receiver, on this chain.
    function _digest(Authorization calldata authorization) private view returns (bytes32) {
        bytes32 structHash = keccak256(
            abi.encode(
                TRANSFER_WITH_AUTHORIZATION,
                authorization.from,
                address(this),
                authorization.value,
                authorization.validAfter,
                authorization.validBefore,
                authorization.nonce
            )
        );
        return MessageHashUtils.toTypedDataHash(IERC20Permit(address(TOKEN)).DOMAIN_SEPARATOR(), structHash);
    }

    // Views

    /// @inheritdoc IX402Router
    function refunded(address from, bytes32 nonce) external view returns (uint128) {
        return _refunded[from][nonce];
    }

    /// @inheritdoc IX402Router
    function houseAccount() external view returns (IInferenceEscrow.Account memory) {
        return _houseAccount();
    }

    function _houseAccount() private view returns (IInferenceEscrow.Account memory) {
        return IInferenceEscrow.Account({payer: address(this), collector: COLLECTOR, thawSeconds: THAW_SECONDS, salt: bytes32(0)});
    }
}
