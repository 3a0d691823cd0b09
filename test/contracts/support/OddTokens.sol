// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {IInferenceEscrow} from "../../../contracts/interfaces/IInferenceEscrow.sol";

abstract contract MintableToken is ERC20("Odd", "ODD") {
    mapping(address account => bool) public blocked;

    error Blocked(address account);

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function setBlocked(address account, bool blocked_) external {
        blocked[account] = blocked_;
    }

    function _update(address from, address to, uint256 value) internal virtual override {
        require(!blocked[to], Blocked(to));
        super._update(from, to, value);
    }
}

/// @title Refuses transfers to listed accounts, as issuers can.
contract BlockingToken is MintableToken {}

/// @title Answers transfers with nothing at all.
contract SilentToken is MintableToken {
    function transfer(address to, uint256 value) public override returns (bool) {
        super.transfer(to, value);
        assembly {
            return(0, 0)
        }
    }

    function transferFrom(address from, address to, uint256 value) public override returns (bool) {
        super.transferFrom(from, to, value);
        assembly {
            return(0, 0)
        }
    }
}

/// @title Moves nothing and says false.
contract FalseToken is MintableToken {
    function transfer(address, uint256) public pure override returns (bool) {
        return false;
    }

    function transferFrom(address, address, uint256) public pure override returns (bool) {
        return false;
    }
}

/// @title Obeys, and from some day on moves nothing: it says false to who sends, and lies to who draws.
contract TurningToken is MintableToken {
    bool public turned;

    function turn(bool turned_) external {
        turned = turned_;
    }

    function transfer(address to, uint256 value) public override returns (bool) {
        return turned ? false : super.transfer(to, value);
    }

    function transferFrom(address from, address to, uint256 value) public override returns (bool) {
        return turned || super.transferFrom(from, to, value);
    }
}

/// @title Says true and moves nothing.
contract LyingToken is MintableToken {
    function transferFrom(address, address, uint256) public pure override returns (bool) {
        return true;
    }

    function receiveWithAuthorization(address, address, uint256, uint256, uint256, bytes32, uint8, bytes32, bytes32) external {}
}

/// @title Burns one unit in a hundred on the way.
contract FeeToken is MintableToken {
    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (from != address(0) && to != address(0)) super._update(to, address(0), value / 100);
    }
}

/// @title Calls whoever it was told to in the middle of every transfer.
contract ReentrantToken is MintableToken {
    address public target;
    bytes public callData;

    function aim(address target_, bytes calldata callData_) external {
        target = target_;
        callData = callData_;
    }

    function _update(address from, address to, uint256 value) internal override {
        if (target != address(0)) {
            (bool done, bytes memory answer) = target.call(callData);
            if (!done) {
                assembly {
                    revert(add(answer, 32), mload(answer))
                }
            }
        }
        super._update(from, to, value);
    }
}
