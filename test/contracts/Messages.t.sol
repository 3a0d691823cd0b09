// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {Messages} from "../../contracts/libraries/Messages.sol";
import {TestKit} from "./support/Vm.sol";

/// Messages that no contract reads: people, providers and collectors sign them for each other. Written out word by word, as EIP-712 has them.
contract MessagesTest is TestKit {
    function test_Session_BindsEachField() public pure {
        bytes32 typeHash = keccak256("Session(bytes32 accountId,address key,bytes32 ephemeralKey,uint40 expiresAt)");
        bytes32 expected = keccak256(abi.encodePacked(typeHash, bytes32("account"), uint256(7), bytes32("ephemeral"), uint256(9)));
        vm.assertEq(Messages.hashSession("account", address(7), "ephemeral", 9), expected);
    }

    function test_WorkerHello_BindsEachField() public pure {
        bytes32 typeHash = keccak256("WorkerHello(address sessionKey,bytes32 challenge,address gateway)");
        bytes32 expected = keccak256(abi.encodePacked(typeHash, uint256(7), bytes32("challenge"), uint256(8)));
        vm.assertEq(Messages.hashWorkerHello(address(7), "challenge", address(8)), expected);
    }

    function test_JobReceipt_BindsEachField() public pure {
        Messages.JobReceipt memory receipt = Messages.JobReceipt({
            jobId: bytes32(uint256(1)),
            modelId: bytes32(uint256(2)),
            provider: address(3),
            purpose: 4,
            consentBlock: 5,
            inputCommitment: bytes32(uint256(6)),
            outputCommitment: bytes32(uint256(7)),
            units: 8,
            unitPrice: 9,
            servedAt: 10,
            computeMicros: 11
        });
        bytes memory words = abi.encodePacked(
            keccak256(
                "JobReceipt(bytes32 jobId,bytes32 modelId,address provider,uint8 purpose,uint64 consentBlock,bytes32 inputCommitment,bytes32 outputCommitment,uint64 units,uint128 unitPrice,uint40 servedAt,uint32 computeMicros)"
            )
        );
        for (uint256 i = 1; i <= 11; ++i) words = abi.encodePacked(words, i);
        vm.assertEq(Messages.hashJobReceipt(receipt), keccak256(words));
    }

    function test_Receipt_BindsEachField() public pure {
        Messages.Receipt memory receipt = Messages.Receipt({
            jobHash: bytes32(uint256(1)), accountId: bytes32(uint256(2)), key: address(3), sequence: 4, charged: 5, previousHead: bytes32(uint256(6))
        });
        bytes memory words = abi.encodePacked(
            keccak256("Receipt(bytes32 jobHash,bytes32 accountId,address key,uint64 sequence,uint128 charged,bytes32 previousHead)")
        );
        for (uint256 i = 1; i <= 6; ++i) words = abi.encodePacked(words, i);
        vm.assertEq(Messages.hashReceipt(receipt), keccak256(words));
    }
}
