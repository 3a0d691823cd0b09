// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {GovernmentInvariants} from "./support/Invariants.sol";

/// Members, proposals on their whole way, the guardian, and every role that tries more than its office.
/// forge-config: default.invariant.depth = 1000
contract GovernmentSuite is GovernmentInvariants {
    function _chooseActs() internal override {
        _governmentActs();
        _act(handler.propose.selector);
        _act(handler.vote.selector);
        _act(handler.vote.selector);
        _act(handler.vote.selector);
        _act(handler.queue.selector);
        _act(handler.execute.selector);
        _act(handler.attackAsRole.selector);
    }

    function afterInvariant() public {
        _lookAtGovernment();
        handler.checkConsent();
    }
}
