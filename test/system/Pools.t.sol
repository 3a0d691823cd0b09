// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {PoolInvariants} from "./support/Invariants.sol";

/// Income, pulls and claims under changing share tables.
/// forge-config: default.invariant.depth = 1000
contract PoolsSuite is PoolInvariants {
    function _chooseActs() internal override {
        _poolActs();
        _act(handler.pull.selector);
        _act(handler.claimAlone.selector);
        _act(handler.claimShare.selector);
        _act(handler.deposit.selector);
        _act(handler.settle.selector);
        _act(handler.settleOlder.selector);
        _act(handler.registerModel.selector);
    }

    function afterInvariant() public view {
        _lookAtPools();
        handler.checkOwed();
        handler.checkFlows();
    }
}
