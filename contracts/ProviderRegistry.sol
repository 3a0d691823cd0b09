// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC3009} from "@openzeppelin/contracts/interfaces/draft-IERC3009.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {IBytesAuthorization} from "./interfaces/IBytesAuthorization.sol";
import {IModelRegistry} from "./interfaces/IModelRegistry.sol";
import {IProviderRegistry} from "./interfaces/IProviderRegistry.sol";
import {Guarded} from "./libraries/Guarded.sol";
import {Messages} from "./libraries/Messages.sol";
import {Signatures} from "./libraries/Signatures.sol";

/// @title Chapter 4, infer.
/// @notice An operator's acts are numbered by its `nonces`, also those that it sends itself (stakes apart): what was signed earlier and held
/// back dies with the next act.
/// @dev Its EIP-712 domain is also that of WorkerHello, which gateways check off chain.
/// @dev Warning: a session key is taken without proof that the operator holds it; whoever checks a signature starts from the operator.
contract ProviderRegistry is IProviderRegistry, EIP712, Nonces, Guarded {
    using SafeERC20 for IERC20;

    uint256 private constant MAX_NAME_BYTES = 64;

    IERC20 public immutable TOKEN;
    IModelRegistry public immutable MODELS;
    /// @inheritdoc IProviderRegistry
    uint128 public immutable MIN_STAKE;
    /// @inheritdoc IProviderRegistry
    uint40 public immutable UNSTAKE_SECONDS;

    mapping(address operator => Provider) private _providers;
    mapping(address operator => mapping(bytes32 modelId => Offer)) private _offers;
    /// Never freed: what an old key signed stays its operator's.
    mapping(address sessionKey => address operator) private _operators;

    constructor(address token, address models, uint128 minStake, uint40 unstakeSeconds) EIP712("Granary ProviderRegistry", "1") {
        TOKEN = IERC20(token);
        MODELS = IModelRegistry(models);
        MIN_STAKE = minStake;
        UNSTAKE_SECONDS = unstakeSeconds;
    }

    // Register

    /// @inheritdoc IProviderRegistry
    function register(address sessionKey, bytes32 encryptionKey, string calldata name) external {
        _useNonce(msg.sender);
        _register(msg.sender, sessionKey, encryptionKey, name);
    }

    /// @inheritdoc IProviderRegistry
    function registerBySig(
        address operator, address sessionKey, bytes32 encryptionKey, string calldata name, uint256 deadline, bytes calldata signature
    ) external {
        bytes32 structHash = Messages.hashRegisterProvider(operator, sessionKey, encryptionKey, name, _useNonce(operator), deadline);
        _requireSigned(operator, structHash, deadline, signature);
        _register(operator, sessionKey, encryptionKey, name);
    }

    function _register(address by, address sessionKey, bytes32 encryptionKey, string calldata name) private {
        require(sessionKey != address(0), ProviderKeyInvalid(sessionKey));
        address operator = _operators[sessionKey];
        require(operator == address(0) || operator == by, ProviderKeyTaken(sessionKey, operator));
        require(bytes(name).length <= MAX_NAME_BYTES, ProviderNameTooLong({actual: bytes(name).length, limit: MAX_NAME_BYTES}));

        _operators[sessionKey] = by;
        Provider storage self = _providers[by];
        self.sessionKey = sessionKey;
        self.encryptionKey = encryptionKey;
        self.name = name;
        emit ProviderRegistered(by, sessionKey, encryptionKey, name);
    }

    // Stake

    /// @inheritdoc IProviderRegistry
    function stake(uint128 amount) external nonReentrant {
        _registered(msg.sender);
        uint256 held = TOKEN.balanceOf(address(this));
        TOKEN.safeTransferFrom({from: msg.sender, to: address(this), value: amount});
        _staked(msg.sender, amount, held);
    }

    /// @inheritdoc IProviderRegistry
    function stakeWithAuthorization(
        address operator, uint128 amount, uint256 validAfter, uint256 validBefore, bytes32 nonce, bytes calldata signature
    ) external nonReentrant {
        _registered(operator);
        uint256 held = TOKEN.balanceOf(address(this));
        if (operator.code.length == 0) {
            (uint8 v, bytes32 r, bytes32 s) = ECDSA.parseCalldata(signature);
            IERC3009(address(TOKEN)).receiveWithAuthorization(operator, address(this), amount, validAfter, validBefore, nonce, v, r, s);
        } else {
            IBytesAuthorization(address(TOKEN)).receiveWithAuthorization(operator, address(this), amount, validAfter, validBefore, nonce, signature);
        }
        _staked(operator, amount, held);
    }

    function _staked(address operator, uint128 amount, uint256 heldBefore) private {
        uint256 received = TOKEN.balanceOf(address(this)) - heldBefore;
        require(received >= amount, ProviderTokenShortfall({received: received, expected: amount}));
        Provider storage self = _providers[operator];
        self.stake += amount;
        emit Staked(operator, amount, self.stake);
    }

    /// @inheritdoc IProviderRegistry
    function startUnstaking(uint128 amount) external {
        _useNonce(msg.sender);
        _startUnstaking(msg.sender, amount);
    }

    /// @inheritdoc IProviderRegistry
    function startUnstakingBySig(address operator, uint128 amount, uint256 deadline, bytes calldata signature) external {
        bytes32 structHash = Messages.hashStartUnstaking(operator, amount, _useNonce(operator), deadline);
        _requireSigned(operator, structHash, deadline, signature);
        _startUnstaking(operator, amount);
    }

    function _startUnstaking(address operator, uint128 amount) private {
        Provider storage self = _registered(operator);
        require(self.stake >= amount, ProviderStakeTooLow({actual: self.stake, least: amount}));
        self.stake -= amount;
        self.unstaking += amount;
        self.unstakeAt = uint40(block.timestamp) + UNSTAKE_SECONDS;
        emit UnstakingStarted(operator, amount, self.unstakeAt);
    }

    /// @inheritdoc IProviderRegistry
    function unstake(address to) external nonReentrant returns (uint128 amount) {
        _useNonce(msg.sender);
        return _unstake(msg.sender, to);
    }

    /// @inheritdoc IProviderRegistry
    function unstakeBySig(address operator, address to, uint256 deadline, bytes calldata signature) external nonReentrant returns (uint128 amount) {
        bytes32 structHash = Messages.hashUnstake({operator: operator, to: to, nonce: _useNonce(operator), deadline: deadline});
        _requireSigned(operator, structHash, deadline, signature);
        return _unstake(operator, to);
    }

    function _unstake(address operator, address to) private returns (uint128 amount) {
        Provider storage self = _registered(operator);
        amount = self.unstaking;
        require(amount > 0, ProviderNothingUnstaking(operator));
        require(block.timestamp >= self.unstakeAt, ProviderStillUnstaking({at: block.timestamp, unstakeAt: self.unstakeAt}));
        self.unstaking = 0;
        emit Unstaked(operator, to, amount);
        TOKEN.safeTransfer({to: to, value: amount});
    }

    // Offer

    /// @inheritdoc IProviderRegistry
    function setOffer(bytes32 modelId, uint8 unit, uint128 unitPrice) external {
        _useNonce(msg.sender);
        _setOffer(msg.sender, modelId, unit, unitPrice);
    }

    /// @inheritdoc IProviderRegistry
    function setOfferBySig(address operator, bytes32 modelId, uint8 unit, uint128 unitPrice, uint256 deadline, bytes calldata signature) external {
        bytes32 structHash = Messages.hashSetOffer(operator, modelId, unit, unitPrice, _useNonce(operator), deadline);
        _requireSigned(operator, structHash, deadline, signature);
        _setOffer(operator, modelId, unit, unitPrice);
    }

    function _setOffer(address operator, bytes32 modelId, uint8 unit, uint128 unitPrice) private {
        Provider storage self = _registered(operator);
        require(self.stake >= MIN_STAKE, ProviderStakeTooLow({actual: self.stake, least: MIN_STAKE}));
        require(unitPrice > 0, ProviderPriceInvalid(unitPrice));
        require(MODELS.authorOf(modelId) != address(0), ProviderModelUnknown(modelId));
        _offers[operator][modelId] = Offer({unitPrice: unitPrice, unit: unit, active: true});
        emit OfferSet(operator, modelId, unit, unitPrice);
    }

    /// @inheritdoc IProviderRegistry
    function endOffer(bytes32 modelId) external {
        _useNonce(msg.sender);
        _endOffer(msg.sender, modelId);
    }

    /// @inheritdoc IProviderRegistry
    function endOfferBySig(address operator, bytes32 modelId, uint256 deadline, bytes calldata signature) external {
        bytes32 structHash = Messages.hashEndOffer({operator: operator, modelId: modelId, nonce: _useNonce(operator), deadline: deadline});
        _requireSigned(operator, structHash, deadline, signature);
        _endOffer(operator, modelId);
    }

    function _endOffer(address operator, bytes32 modelId) private {
        require(_offers[operator][modelId].active, ProviderModelUnknown(modelId));
        delete _offers[operator][modelId];
        emit OfferEnded(operator, modelId);
    }

    // Views

    /// @inheritdoc IProviderRegistry
    function provider(address operator) external view returns (Provider memory) {
        return _providers[operator];
    }

    /// @inheritdoc IProviderRegistry
    function offer(address operator, bytes32 modelId) external view returns (Offer memory found) {
        found = _offers[operator][modelId];
        found.active = found.active && _providers[operator].stake >= MIN_STAKE;
    }

    /// @inheritdoc IProviderRegistry
    function operatorOf(address sessionKey) external view returns (address) {
        return _operators[sessionKey];
    }

    function _registered(address operator) private view returns (Provider storage self) {
        self = _providers[operator];
        require(self.sessionKey != address(0), ProviderUnknown(operator));
    }

    function _requireSigned(address operator, bytes32 structHash, uint256 deadline, bytes calldata signature) private view {
        require(block.timestamp <= deadline, ProviderSignatureExpired(block.timestamp, deadline));
        require(Signatures.isBy(operator, _hashTypedDataV4(structHash), signature), ProviderSignatureInvalid(operator));
    }
}
