// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC3009} from "@openzeppelin/contracts/token/ERC20/extensions/draft-ERC3009.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

/// @title The dollar of development chains: anyone mints it, so it refuses to exist anywhere else.
/// @notice ERC-20 with EIP-2612 and EIP-3009, also with `bytes` signatures as USDC's FiatToken 2.2 has them.
contract TestDollar is ERC20, ERC20Permit, ERC3009 {
    uint256 public constant MAX_MINT = 1_000_000e6;

    error TestDollarNotDevelopmentChain(uint256 chainId);
    error TestDollarMintTooLarge(uint256 actual, uint256 limit);

    constructor() ERC20("Granary Test Dollar", "tUSD") ERC20Permit("Granary Test Dollar") {
        require(block.chainid == 31337 || block.chainid == 1337, TestDollarNotDevelopmentChain(block.chainid));
    }

    /// @notice The EIP-712 version, as USDC names it.
    function version() external pure returns (string memory) {
        return "1";
    }

    function mint(address to, uint256 amount) external {
        require(amount <= MAX_MINT, TestDollarMintTooLarge({actual: amount, limit: MAX_MINT}));
        _mint(to, amount);
    }

    function transferWithAuthorization(
        address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, bytes calldata signature
    ) external {
        bytes32 structHash = keccak256(abi.encode(TRANSFER_WITH_AUTHORIZATION_TYPEHASH, from, to, value, validAfter, validBefore, nonce));
        _requireSigned(from, structHash, signature);
        _transferWithAuthorization(from, to, value, validAfter, validBefore, nonce);
    }

    /// @notice Only the receiver may use it, so that nobody can separate the transfer from what it pays for.
    function receiveWithAuthorization(
        address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, bytes calldata signature
    ) external {
        require(to == msg.sender, ERC20InvalidReceiver(to));
        bytes32 structHash = keccak256(abi.encode(RECEIVE_WITH_AUTHORIZATION_TYPEHASH, from, to, value, validAfter, validBefore, nonce));
        _requireSigned(from, structHash, signature);
        _transferWithAuthorization(from, to, value, validAfter, validBefore, nonce);
    }

    function cancelAuthorization(address authorizer, bytes32 nonce, bytes calldata signature) external {
        _requireSigned(authorizer, keccak256(abi.encode(CANCEL_AUTHORIZATION_TYPEHASH, authorizer, nonce)), signature);
        _cancelAuthorization(authorizer, nonce);
    }

    function decimals() public pure override returns (uint8) {
        return 6;
    }

    function _requireSigned(address signer, bytes32 structHash, bytes calldata signature) private view {
        require(SignatureChecker.isValidSignatureNowCalldata(signer, _hashTypedDataV4(structHash), signature), ERC3009InvalidSignature());
    }
}
