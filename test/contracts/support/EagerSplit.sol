// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

/// @title What a payment costs when it pays every payee at once: the reference of `npm run bench:gas`.
contract EagerSplit {
    using SafeERC20 for IERC20;

    function split(IERC20 token, uint256 each, address[] calldata recipients) external {
        token.safeTransferFrom({from: msg.sender, to: address(this), value: each * recipients.length});
        for (uint256 i = 0; i < recipients.length; ++i) token.safeTransfer({to: recipients[i], value: each});
    }
}
