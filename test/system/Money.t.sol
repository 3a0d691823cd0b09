// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {MoneyInvariants} from "./support/Invariants.sol";

/// Payers, keys, collectors and providers; consent stays as the first datasets have it.
/// forge-config: default.invariant.depth = 3000
contract MoneySuite is MoneyInvariants {
    function _chooseActs() internal override {
        _moneyActs();
        _act(handler.probeGas.selector);
    }

    function afterInvariant() public view {
        _lookAtMoney();
    }
}
