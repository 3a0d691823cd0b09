// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {IInferenceEscrow} from "./interfaces/IInferenceEscrow.sol";

/// @title Where x402 payments to one collector arrive: swept into its house account, they settle like any other.
/// @notice The house account's payer is this contract, which never thaws: the money leaves only through batches.
/// @dev Warning: the collector's key may charge all of it; what a failed job left here is the collector's to give back.
contract X402Router {
    using SafeERC20 for IERC20;

    IInferenceEscrow public immutable ESCROW;
    IERC20 public immutable TOKEN;
    address public immutable COLLECTOR;
    uint32 public immutable THAW_SECONDS;
    bytes32 public immutable ACCOUNT_ID;

    event Swept(bytes32 indexed accountId, uint256 amount);

    error RouterNothingToSweep();

    /// @param key signs the vouchers of the house account; an ECDSA key of the collector.
    constructor(address escrow, address token, address collector, address key) {
        ESCROW = IInferenceEscrow(escrow);
        TOKEN = IERC20(token);
        COLLECTOR = collector;
        THAW_SECONDS = uint32(2 * ESCROW.MAX_SETTLEMENT_SECONDS());
        IInferenceEscrow.Account memory house = houseAccount();
        ACCOUNT_ID = ESCROW.accountIdOf(house);
        ESCROW.grantKey({account: house, key: key, cap: type(uint80).max, notAfter: type(uint40).max, nonce: 1});
    }

    /// @notice Deposits all that has arrived, by whatever kind of transfer; anyone may call.
    function sweep() external returns (uint128 amount) {
        amount = uint128(Math.min(TOKEN.balanceOf(address(this)), type(uint80).max));
        require(amount > 0, RouterNothingToSweep());
        emit Swept(ACCOUNT_ID, amount);
        TOKEN.forceApprove({spender: address(ESCROW), value: amount});
        ESCROW.deposit(houseAccount(), amount);
    }

    function houseAccount() public view returns (IInferenceEscrow.Account memory) {
        return IInferenceEscrow.Account({payer: address(this), collector: COLLECTOR, thawSeconds: THAW_SECONDS, salt: bytes32(0)});
    }
}
