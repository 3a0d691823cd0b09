// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

/// @title One entry at a time where tokens move.
/// @dev OpenZeppelin's transient guard does the same in assembly, for which the compiler warns in every build; a transient variable is silent.
abstract contract Guarded {
    bool private transient _entered;

    error GuardedReentered();

    modifier nonReentrant() {
        require(!_entered, GuardedReentered());
        _entered = true;
        _;
        _entered = false;
    }
}
