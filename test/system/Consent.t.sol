// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {ConsentInvariants} from "./support/Invariants.sol";

/// Contributors, authors and hostile roles; batches only to see what is late.
/// forge-config: default.invariant.depth = 500
contract ConsentSuite is ConsentInvariants {
    function _chooseActs() internal override {
        _consentActs();
        _act(handler.registerDataset.selector);
        _act(handler.sync.selector);
        _act(handler.announceShareTable.selector);
        _act(handler.deposit.selector);
        _act(handler.settle.selector);
        _act(handler.settleSynced.selector);
    }

    function afterInvariant() public view {
        _lookAtConsent();
    }
}
