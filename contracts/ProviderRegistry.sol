// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {IModelRegistry} from "./interfaces/IModelRegistry.sol";
import {IProviderRegistry} from "./interfaces/IProviderRegistry.sol";
import {Guarded} from "./libraries/Guarded.sol";

/// @title Chapter 4, infer.
/// @dev Its EIP-712 domain is that of WorkerHello, which gateways check off chain.
/// @dev Warning: a session key is taken without proof that the operator holds it; whoever checks a signature starts from the operator.
contract ProviderRegistry is IProviderRegistry, EIP712, Guarded {
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
        require(sessionKey != address(0), ProviderKeyInvalid(sessionKey));
        address operator = _operators[sessionKey];
        require(operator == address(0) || operator == msg.sender, ProviderKeyTaken(sessionKey, operator));
        require(bytes(name).length <= MAX_NAME_BYTES, ProviderNameTooLong({actual: bytes(name).length, limit: MAX_NAME_BYTES}));

        _operators[sessionKey] = msg.sender;
        Provider storage self = _providers[msg.sender];
        self.sessionKey = sessionKey;
        self.encryptionKey = encryptionKey;
        self.name = name;
        emit ProviderRegistered(msg.sender, sessionKey, encryptionKey, name);
    }

    // Stake

    /// @inheritdoc IProviderRegistry
    function stake(uint128 amount) external nonReentrant {
        Provider storage self = _registered(msg.sender);
        uint256 held = TOKEN.balanceOf(address(this));
        TOKEN.safeTransferFrom({from: msg.sender, to: address(this), value: amount});
        uint256 received = TOKEN.balanceOf(address(this)) - held;
        require(received >= amount, ProviderTokenShortfall({received: received, expected: amount}));

        self.stake += amount;
        emit Staked(msg.sender, amount, self.stake);
    }

    /// @inheritdoc IProviderRegistry
    function startUnstaking(uint128 amount) external {
        Provider storage self = _registered(msg.sender);
        require(self.stake >= amount, ProviderStakeTooLow({actual: self.stake, least: amount}));
        self.stake -= amount;
        self.unstaking += amount;
        self.unstakeAt = uint40(block.timestamp) + UNSTAKE_SECONDS;
        emit UnstakingStarted(msg.sender, amount, self.unstakeAt);
    }

    /// @inheritdoc IProviderRegistry
    function unstake(address to) external nonReentrant returns (uint128 amount) {
        Provider storage self = _registered(msg.sender);
        amount = self.unstaking;
        require(amount > 0, ProviderNothingUnstaking(msg.sender));
        require(block.timestamp >= self.unstakeAt, ProviderStillUnstaking({at: block.timestamp, unstakeAt: self.unstakeAt}));
        self.unstaking = 0;
        emit Unstaked(msg.sender, to, amount);
        TOKEN.safeTransfer({to: to, value: amount});
    }

    // Offer

    /// @inheritdoc IProviderRegistry
    function setOffer(bytes32 modelId, uint8 unit, uint128 unitPrice) external {
        Provider storage self = _registered(msg.sender);
        require(self.stake >= MIN_STAKE, ProviderStakeTooLow({actual: self.stake, least: MIN_STAKE}));
        require(unitPrice > 0, ProviderPriceInvalid(unitPrice));
        require(MODELS.authorOf(modelId) != address(0), ProviderModelUnknown(modelId));
        _offers[msg.sender][modelId] = Offer({unitPrice: unitPrice, unit: unit, active: true});
        emit OfferSet(msg.sender, modelId, unit, unitPrice);
    }

    /// @inheritdoc IProviderRegistry
    function endOffer(bytes32 modelId) external {
        require(_offers[msg.sender][modelId].active, ProviderModelUnknown(modelId));
        delete _offers[msg.sender][modelId];
        emit OfferEnded(msg.sender, modelId);
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
}
