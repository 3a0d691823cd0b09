// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {ConsentInvariants, GovernmentInvariants, MoneyInvariants, PoolInvariants} from "./support/Invariants.sol";

/// All acts on all contracts, and all invariants. test/contracts/invariants/README.md says each in words.
/// forge-config: default.invariant.depth = 200
contract SystemSuite is MoneyInvariants, PoolInvariants, ConsentInvariants, GovernmentInvariants {
    function _chooseActs() internal override {
        _moneyActs();
        _act(handler.settleSynced.selector);
        _act(handler.probeGas.selector);
        _poolActs();
        _consentActs();
        _governmentActs();
    }

    function afterInvariant() public {
        _lookAtMoney();
        _lookAtPools();
        _lookAtConsent();
        _lookAtGovernment();
    }
}
