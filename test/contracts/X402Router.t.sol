// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {X402Router} from "../../contracts/X402Router.sol";
import {IInferenceEscrow} from "../../contracts/interfaces/IInferenceEscrow.sol";
import {Drafts} from "./support/Drafts.sol";
import {EscrowFixture} from "./support/EscrowFixture.sol";

contract X402RouterTest is EscrowFixture {
    X402Router internal router;

    function setUp() public override {
        super.setUp();
        router = new X402Router(address(escrow), address(token), collector, vm.addr(COLLECTOR_KEY));
    }

    function testFuzz_Sweep_DepositsTheMeasuredBalance(uint64 first, uint64 second) public {
        first = uint64(_bound(first, 1, token.MAX_MINT()));
        second = uint64(_bound(second, 1, token.MAX_MINT()));
        token.mint(address(router), first);
        vm.assertEq(router.sweep(), first);
        token.mint(address(router), second);
        vm.assertEq(router.sweep(), second);
        vm.assertEq(escrow.balance(router.ACCOUNT_ID()).deposit, uint256(first) + second);
        vm.assertEq(token.balanceOf(address(router)), 0);
    }

    function test_Sweep_RevertWhen_NothingArrived() public {
        vm.expectRevert(X402Router.RouterNothingToSweep.selector);
        router.sweep();
    }

    function test_Sweep_MoneySettlesByTheCollectorsKey() public {
        token.mint(address(router), 10e6);
        router.sweep();
        Drafts.Batch memory batch = _batch(_rowOf(router.houseAccount(), COLLECTOR_KEY, 0, 1e6, _parts(1e6)));
        vm.assertEq(_settle(batch), 1e6);
        vm.assertEq(escrow.balance(router.ACCOUNT_ID()).charged, 1e6);
    }
}
