// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

/// @title Stands for the dataset and the model registry: answers what a test sets.
contract CatalogDouble {
    struct Terms {
        uint32 payeesPpm;
        uint40 endsAt;
    }

    uint40 public constant EPOCH_SECONDS = 60;
    mapping(bytes32 modelId => mapping(uint8 purpose => Terms)) private _terms;
    mapping(bytes32 modelId => address author) public authorOf;

    function set(bytes32 modelId, uint8 purpose, uint32 payeesPpm, uint40 endsAt) external {
        _terms[modelId][purpose] = Terms({payeesPpm: payeesPpm, endsAt: endsAt});
        authorOf[modelId] = msg.sender;
    }

    function settlementTerms(bytes32 modelId, uint8 purpose) external view returns (uint32 payeesPpm, uint40 endsAt) {
        Terms memory terms = _terms[modelId][purpose];
        return (terms.payeesPpm, terms.endsAt);
    }

    function epochAt(uint256 timestamp) external pure returns (uint64) {
        return uint64(timestamp / EPOCH_SECONDS);
    }
}

/// @title Stands for the governed parameters, without their bounds.
contract ParametersDouble {
    uint32 public protocolFeePpm;
    address public treasury;

    function set(uint32 protocolFeePpm_, address treasury_) external {
        protocolFeePpm = protocolFeePpm_;
        treasury = treasury_;
    }
}

/// @title A contract wallet (ERC-1271) that says yes to one key's signatures while it feels like it.
contract WalletDouble {
    address public immutable KEY;
    bool public willing = true;

    constructor(address key) {
        KEY = key;
    }

    function setWilling(bool willing_) external {
        willing = willing_;
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        (bytes32 r, bytes32 s) = abi.decode(signature[:64], (bytes32, bytes32));
        bool good = willing && ecrecover(digest, uint8(signature[64]), r, s) == KEY;
        return good ? bytes4(0x1626ba7e) : bytes4(0xffffffff);
    }
}
