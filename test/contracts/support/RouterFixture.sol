// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {InferenceEscrow} from "../../../contracts/InferenceEscrow.sol";
import {TestDollar} from "../../../contracts/TestDollar.sol";
import {X402Router} from "../../../contracts/X402Router.sol";
import {IX402Router} from "../../../contracts/interfaces/IX402Router.sol";
import {Messages} from "../../../contracts/libraries/Messages.sol";
import {ReentrantToken} from "./OddTokens.sol";
import {TestKit} from "./Vm.sol";

/// @title How x402 payments are signed, paid, swept and given back.
abstract contract RouterActs is TestKit {
    bytes32 internal constant TRANSFER =
        keccak256("TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)");

    function _authorization(address from, uint256 value, bytes32 nonce) internal pure returns (IX402Router.Authorization memory) {
        return IX402Router.Authorization({from: from, value: value, validAfter: 0, validBefore: type(uint40).max, nonce: nonce});
    }

    function _signPayment(uint256 privateKey, TestDollar token, address to, IX402Router.Authorization memory authorization)
        internal
        view
        returns (bytes memory)
    {
        return _sign(privateKey, _paymentDigest(token.DOMAIN_SEPARATOR(), to, authorization));
    }

    function _paymentDigest(bytes32 domain, address to, IX402Router.Authorization memory a) internal pure returns (bytes32) {
        bytes32 structHash = keccak256(abi.encode(TRANSFER, a.from, to, a.value, a.validAfter, a.validBefore, a.nonce));
        return MessageHashUtils.toTypedDataHash(domain, structHash);
    }

    function _execute(TestDollar token, address to, IX402Router.Authorization memory a, bytes memory signature) internal {
        token.transferWithAuthorization(a.from, to, a.value, a.validAfter, a.validBefore, a.nonce, signature);
    }

    function _cancelDigest(TestDollar token, address from, bytes32 nonce) internal view returns (bytes32) {
        bytes32 structHash = keccak256(abi.encode(keccak256("CancelAuthorization(address authorizer,bytes32 nonce)"), from, nonce));
        return MessageHashUtils.toTypedDataHash(token.DOMAIN_SEPARATOR(), structHash);
    }

    function _sweepDigest(X402Router router, uint128 total) internal view returns (bytes32) {
        return MessageHashUtils.toTypedDataHash(_routerDomain(address(router), block.chainid), Messages.hashSweep(total));
    }

    function _refundDigest(X402Router router, address from, bytes32 nonce, uint128 amount) internal view returns (bytes32) {
        return MessageHashUtils.toTypedDataHash(_routerDomain(address(router), block.chainid), Messages.hashRefund(from, nonce, amount));
    }

    function _routerDomain(address router, uint256 chainId) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Granary X402Router"),
                keccak256("1"),
                chainId,
                router
            )
        );
    }
}

/// @title Has executed every authorization, by its own word.
contract ReentrantDollar is ReentrantToken {
    bytes32 public constant DOMAIN_SEPARATOR = keccak256("odd");

    function authorizationState(address, bytes32) external pure returns (bool) {
        return true;
    }
}

/// @title Knows the address of the first contract that it will make.
contract RouterMaker {
    function makeFirst(InferenceEscrow escrow, address key) external {
        new X402Router(escrow, first(), key);
    }

    /// RLP of its address and the nonce 1.
    function first() public view returns (address) {
        return address(uint160(uint256(keccak256(abi.encodePacked(bytes2(0xd694), address(this), bytes1(0x01))))));
    }
}
