// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

/// @title Struct hashes of every EIP-712 message, in step with services/core/messages.ts.
library Messages {
    // Membership

    bytes32 internal constant APPLICATION = keccak256("Application(address account,bytes32 nullifier,uint256 deadline)");
    bytes32 internal constant ADMISSION = keccak256("Admission(address account,bytes32 nullifier,uint256 deadline)");
    bytes32 internal constant VOUCH = keccak256("Vouch(address account,bytes32 nullifier,uint256 deadline)");
    bytes32 internal constant LEAVE = keccak256("Leave(uint256 memberId)");
    bytes32 internal constant ACCEPT_ROTATION = keccak256("AcceptRotation(uint256 memberId,address newKey)");

    function hashApplication(address account, bytes32 nullifier, uint256 deadline) internal pure returns (bytes32) {
        return keccak256(abi.encode(APPLICATION, account, nullifier, deadline));
    }

    function hashAdmission(address account, bytes32 nullifier, uint256 deadline) internal pure returns (bytes32) {
        return keccak256(abi.encode(ADMISSION, account, nullifier, deadline));
    }

    function hashVouch(address account, bytes32 nullifier, uint256 deadline) internal pure returns (bytes32) {
        return keccak256(abi.encode(VOUCH, account, nullifier, deadline));
    }

    function hashLeave(uint256 memberId) internal pure returns (bytes32) {
        return keccak256(abi.encode(LEAVE, memberId));
    }

    function hashAcceptRotation(uint256 memberId, address newKey) internal pure returns (bytes32) {
        return keccak256(abi.encode(ACCEPT_ROTATION, memberId, newKey));
    }
}
