// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

/// @title Asks many views in one call and tells only those that do not answer as expected: test/reference compares whole worlds.
contract Probe {
    /// @param questions one after another: the contract (20 bytes), the lengths of call, number and length of answers (2 bytes each),
    /// the call, and the answers, any of which will do.
    /// @return wrong each question's place in the row (4 bytes), the length of its answer (4 bytes), and the answer.
    /// @dev Assembly, because a history's views are asked 10,000 times over, and each step of the EVM is traced there.
    function ask(bytes calldata questions) external view returns (bytes memory wrong) {
        uint256 place = 0;
        for (uint256 at = 0; at < questions.length; ++place) {
            bool isAmong;
            bytes memory answer;
            // solhint-disable-next-line no-inline-assembly
            assembly ("memory-safe") {
                let start := add(questions.offset, at)
                let header := calldataload(start)
                let callLength := and(shr(80, header), 0xffff)
                let answers := and(shr(64, header), 0xffff)
                let length := and(shr(48, header), 0xffff)
                answer := mload(0x40)
                let data := add(answer, 0x20)
                calldatacopy(data, add(start, 26), callLength)
                pop(staticcall(gas(), shr(96, header), data, callLength, 0, 0))
                mstore(answer, returndatasize())
                returndatacopy(data, 0, returndatasize())
                let digest := keccak256(data, returndatasize())
                let scratch := add(data, returndatasize())
                let expected := add(add(start, 26), callLength)
                for { let i := 0 } lt(i, answers) { i := add(i, 1) } {
                    calldatacopy(scratch, add(expected, mul(i, length)), length)
                    if eq(keccak256(scratch, length), digest) {
                        isAmong := 1
                        break
                    }
                }
                at := add(at, add(add(26, callLength), mul(answers, length)))
                if iszero(isAmong) { mstore(0x40, and(add(scratch, 31), not(31))) }
            }
            if (!isAmong) wrong = bytes.concat(wrong, bytes4(uint32(place)), bytes4(uint32(answer.length)), answer);
        }
    }
}
