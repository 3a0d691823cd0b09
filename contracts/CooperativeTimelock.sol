// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";

/// @title Executes what the members decided, after a delay in which anyone may leave. It is also the treasury.
contract CooperativeTimelock is TimelockController {
    /// @dev Warning: `admin` must renounce its role once the governor is proposer and canceller (scripts/deploy.ts does).
    constructor(uint256 minDelay, address[] memory proposers, address[] memory executors, address admin)
        TimelockController(minDelay, proposers, executors, admin)
    {}
}
