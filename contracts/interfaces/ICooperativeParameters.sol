// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

/// @title Chapter 7, govern: all that a majority can change, and its bounds.
interface ICooperativeParameters {
    event ProtocolFeeSet(uint32 feePpm);
    event TreasurySet(address treasury);
    event RegistrarSet(address registrar);
    event PurposeAdded(uint8 indexed purpose, string name);

    error ParametersNotTimelock(address actual, address timelock);
    error ParametersFeeTooHigh(uint32 actual, uint32 limit);
    error ParametersAddressInvalid(address actual);
    error ParametersPurposeInvalid(uint8 purpose);
    error ParametersNameInvalid(string name);

    function setProtocolFee(uint32 feePpm) external;
    function setTreasury(address treasury) external;
    function setRegistrar(address registrar) external;
    /// @notice Purposes are only ever added: a bit never changes its meaning.
    function addPurpose(string calldata name) external returns (uint8 purpose);

    function protocolFeePpm() external view returns (uint32);
    function treasury() external view returns (address);
    function registrar() external view returns (address);
    function purposeName(uint8 purpose) external view returns (string memory);
    function purposes() external view returns (uint8 count);
    function TIMELOCK() external view returns (address);
    function MAX_PROTOCOL_FEE_PPM() external view returns (uint32);
}
