// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC3009} from "@openzeppelin/contracts/token/ERC20/extensions/draft-ERC3009.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

/// @title A token with EIP-3009 as it was first written: it takes v, r, s and knows no signatures as bytes.
contract SplitDollar is ERC20, ERC3009 {
    constructor() ERC20("Split Dollar", "sUSD") EIP712("Split Dollar", "1") {}

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function domainSeparator() external view returns (bytes32) {
        return _domainSeparatorV4();
    }

    function receiveTypeHash() external pure returns (bytes32) {
        return RECEIVE_WITH_AUTHORIZATION_TYPEHASH;
    }
}
