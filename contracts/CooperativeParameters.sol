// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {ICooperativeParameters} from "./interfaces/ICooperativeParameters.sol";

/// @title Chapter 7, govern: the few values that a majority can change, each within bounds that it can't.
contract CooperativeParameters is ICooperativeParameters {
    /// @inheritdoc ICooperativeParameters
    uint32 public constant override MAX_PROTOCOL_FEE_PPM = 50_000;
    uint8 private constant MAX_PURPOSES = 32; // one bit each in the masks of terms and models
    uint256 private constant MAX_NAME_BYTES = 64;

    /// @inheritdoc ICooperativeParameters
    address public immutable override TIMELOCK;

    /// @inheritdoc ICooperativeParameters
    uint32 public override protocolFeePpm;
    /// @inheritdoc ICooperativeParameters
    address public override treasury;
    /// @inheritdoc ICooperativeParameters
    address public override registrar;

    string[] private _purposes;
    mapping(bytes32 nameHash => bool taken) private _nameTaken;

    modifier onlyTimelock() {
        require(msg.sender == TIMELOCK, ParametersNotTimelock(msg.sender, TIMELOCK));
        _;
    }

    constructor(address timelock, uint32 initialFeePpm, address initialTreasury, address initialRegistrar, string[] memory initialPurposes) {
        require(timelock != address(0), ParametersAddressInvalid(timelock));
        TIMELOCK = timelock;
        _setProtocolFee(initialFeePpm);
        _setTreasury(initialTreasury);
        _setRegistrar(initialRegistrar);
        for (uint256 i = 0; i < initialPurposes.length; ++i) _addPurpose(initialPurposes[i]);
    }

    // Set

    /// @inheritdoc ICooperativeParameters
    function setProtocolFee(uint32 feePpm) external onlyTimelock {
        _setProtocolFee(feePpm);
    }

    /// @inheritdoc ICooperativeParameters
    function setTreasury(address newTreasury) external onlyTimelock {
        _setTreasury(newTreasury);
    }

    /// @inheritdoc ICooperativeParameters
    function setRegistrar(address newRegistrar) external onlyTimelock {
        _setRegistrar(newRegistrar);
    }

    /// @inheritdoc ICooperativeParameters
    function addPurpose(string calldata name) external onlyTimelock returns (uint8 purpose) {
        return _addPurpose(name);
    }

    function _setProtocolFee(uint32 feePpm) private {
        require(feePpm <= MAX_PROTOCOL_FEE_PPM, ParametersFeeTooHigh(feePpm, MAX_PROTOCOL_FEE_PPM));
        protocolFeePpm = feePpm;
        emit ProtocolFeeSet(feePpm);
    }

    function _setTreasury(address newTreasury) private {
        require(newTreasury != address(0), ParametersAddressInvalid(newTreasury));
        treasury = newTreasury;
        emit TreasurySet(newTreasury);
    }

    function _setRegistrar(address newRegistrar) private {
        require(newRegistrar != address(0), ParametersAddressInvalid(newRegistrar));
        registrar = newRegistrar;
        emit RegistrarSet(newRegistrar);
    }

    function _addPurpose(string memory name) private returns (uint8 purpose) {
        purpose = purposes();
        require(purpose < MAX_PURPOSES, ParametersPurposeInvalid(purpose));
        bytes32 nameHash = keccak256(bytes(name));
        bool fits = bytes(name).length > 0 && bytes(name).length <= MAX_NAME_BYTES;
        require(fits && !_nameTaken[nameHash], ParametersNameInvalid(name));

        _nameTaken[nameHash] = true;
        _purposes.push(name);
        emit PurposeAdded(purpose, name);
    }

    // Views

    /// @inheritdoc ICooperativeParameters
    function purposeName(uint8 purpose) external view returns (string memory) {
        require(purpose < _purposes.length, ParametersPurposeInvalid(purpose));
        return _purposes[purpose];
    }

    /// @inheritdoc ICooperativeParameters
    function purposes() public view returns (uint8 count) {
        return uint8(_purposes.length); // at most MAX_PURPOSES
    }
}
