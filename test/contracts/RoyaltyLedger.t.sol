// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IDatasetRegistry} from "../../contracts/interfaces/IDatasetRegistry.sol";
import {IModelRegistry} from "../../contracts/interfaces/IModelRegistry.sol";
import {IRoyaltyLedger} from "../../contracts/interfaces/IRoyaltyLedger.sol";
import {Wallet} from "./support/ConsentTest.sol";
import {RoyaltyFixture} from "./support/RoyaltyFixture.sol";

/// Income, pulls and claims of single owners, also by signature; pools are in RoyaltyLedgerPools.t.sol.
contract RoyaltyLedgerTest is RoyaltyFixture {
    address private relayer = vm.addr(0x4E1);

    // ---------------------------------------------------------------- credit

    function test_CreditIncome_AddsUpPerEpoch() public {
        ledger.creditIncome("model", 7, 10);
        ledger.creditIncome("model", 7, 5);
        vm.assertEq(ledger.income("model", 7), 15);
        vm.assertEq(ledger.income("model", 8), 0);
        vm.assertEq(ledger.currentEpoch(), START / EPOCH);
    }

    function test_CreditIncome_RevertWhen_NotTheEscrow() public {
        vm.expectRevert(abi.encodeWithSelector(IRoyaltyLedger.RoyaltyNotEscrow.selector, ann));
        vm.prank(ann);
        ledger.creditIncome("model", 7, 10);
    }

    // ---------------------------------------------------------------- pull

    function test_Pull_MovesThePayeesPartOnceAndLaterOnlyWhatIsNew() public {
        bytes32 dataset = _single();
        bytes32 model = _modelOf(dataset);
        uint64 epoch = _epoch();
        ledger.creditIncome(model, epoch, 100);
        vm.assertEq(ledger.pull(model, 0, _epochs(epoch)), 33);
        vm.assertEq(ledger.pull(model, 0, _epochs(epoch)), 0);
        vm.assertEq(ledger.pull(model, 1, _epochs(epoch)), 66);
        ledger.creditIncome(model, epoch, 50);
        vm.assertEq(ledger.pull(model, 0, _epochs(epoch)), 17);
        vm.assertEq(ledger.pool(dataset, epoch), 50);
        vm.assertEq(ledger.pulled(model, 0, epoch), 50);
        vm.assertEq(ledger.pulled(model, 1, epoch), 66);
    }

    function test_Pull_OfAShareOfZeroMovesNothing() public {
        IDatasetRegistry.Terms memory terms = _terms();
        terms.royaltyPpm = 0;
        IModelRegistry.Registration memory registration = _draft(_shares(_register(terms, false), 0), _none());
        registration.authorPpm = 0;
        bytes32 model = _register(registration);
        vm.assertEq(ledger.pull(model, 0, _epochs(_epoch())), 0);
    }

    function test_Pull_RevertWhen_NoSuchPayeeOrTooManyEpochs() public {
        bytes32 model = _modelOf(_single());
        vm.expectRevert(abi.encodeWithSelector(IRoyaltyLedger.RoyaltyPayeeMismatch.selector, model, uint256(2)));
        ledger.pull(model, 2, _epochs(1));
        vm.expectRevert(abi.encodeWithSelector(IRoyaltyLedger.RoyaltyPayeeMismatch.selector, bytes32("none"), uint256(0)));
        ledger.pull("none", 0, _epochs(1));
        vm.expectRevert(abi.encodeWithSelector(IRoyaltyLedger.RoyaltyEpochsInvalid.selector, uint256(65)));
        ledger.pull(model, 0, new uint64[](65));
    }

    function test_Pull_TakesSixtyFourEpochsAndTellsOnlyWhatMoved() public {
        bytes32 model = _modelOf(_single());
        uint64[] memory epochs = new uint64[](64);
        for (uint64 i = 0; i < 64; ++i) epochs[i] = _epoch() + i;
        ledger.creditIncome(model, epochs[0], 100);
        ledger.creditIncome(model, epochs[63], 100);
        vm.recordLogs();
        vm.assertEq(ledger.pull(model, 0, epochs), 66);
        vm.assertEq(vm.getRecordedLogs().length, 2);
        vm.assertEq(ledger.pull(model, 0, epochs), 0);
        vm.assertEq(vm.getRecordedLogs().length, 0);
    }

    /// I6. However income arrives and is pulled, payees get no more than the income, and less than one unit each is dust.
    function testFuzz_Pull_ConservesIncome(uint128[4] memory amounts, uint32[5] memory ppm, uint256 order) public {
        bytes32 model = _modelWith(ppm);
        uint256 count = models.payees(model).length;
        uint64 epoch = _epoch();
        uint256 total = 0;
        for (uint256 i = 0; i < 4; ++i) {
            amounts[i] /= 4;
            total += amounts[i];
            ledger.creditIncome(model, epoch, amounts[i]);
            for (uint256 j = 0; j < count; ++j) {
                order = uint256(keccak256(abi.encode(order)));
                if (order % 2 == 0) ledger.pull(model, j, _epochs(epoch));
            }
        }
        uint256 pooled = 0;
        for (uint256 j = 0; j < count; ++j) {
            ledger.pull(model, j, _epochs(epoch));
            IModelRegistry.Payee memory payee = models.payeeAt(model, j);
            vm.assertEq(ledger.pool(payee.id, epoch), (total * payee.ppm) / models.model(model).payeesPpm);
            pooled += ledger.pool(payee.id, epoch);
        }
        vm.assertLe(pooled, total, "more than came in");
        vm.assertLe(total - pooled, count - 1, "more than dust");
    }

    function _modelWith(uint32[5] memory ppm) private returns (bytes32) {
        IDatasetRegistry.Terms memory terms = _terms();
        terms.royaltyPpm = 1;
        IModelRegistry.DatasetShare[] memory shares = new IModelRegistry.DatasetShare[](5);
        for (uint256 i = 0; i < 5; ++i) {
            shares[i] = IModelRegistry.DatasetShare(_register(terms, false), uint32(_bound(ppm[i], 1, 100_000)));
        }
        return _register(_draft(shares, _none()));
    }

    // ---------------------------------------------------------------- claim: one owner

    function test_Claim_PaysTheOwnerOfAWithdrawnDatasetAndTheAuthor() public {
        bytes32 dataset = _single();
        bytes32 model = _modelOf(dataset);
        uint64 epoch = _earn(model, 150);
        _withdraw(dataset);
        vm.assertEq(_claim(owner, dataset, epoch), 50);
        vm.assertEq(_claim(author, model, epoch), 100);
        vm.assertEq(received[owner], 50);
        vm.assertEq(received[author], 100);
        vm.assertEq(ledger.drawn(dataset, epoch, owner), 50);
        vm.assertEq(ledger.drawn(dataset, epoch, ann), 0);
        vm.assertEq(ledger.paid(model, epoch), 100);
        vm.expectRevert(abi.encodeWithSelector(IRoyaltyLedger.RoyaltyNothingToClaim.selector, dataset, owner));
        _claim(owner, dataset, epoch);
    }

    function test_Claim_AncestorsAuthorEarnsFromDerivatives() public {
        bytes32 parent = _modelOf(_single());
        address child = vm.addr(0xC41D);
        IModelRegistry.Registration memory registration = _draft(new IModelRegistry.DatasetShare[](0), _ids(parent));
        registration.author = child;
        bytes32 model = _register(registration);
        uint64 epoch = _earn(model, 170);
        vm.assertEq(_claim(author, parent, epoch), 20);
        vm.assertEq(_claim(child, model, epoch), 100);
    }

    function test_Claim_ManyEpochsPayToAnyAddress() public {
        bytes32 dataset = _single();
        bytes32 model = _modelOf(dataset);
        uint64 first = _earn(model, 15);
        uint64 second = _earn(model, 30);
        IRoyaltyLedger.Claim memory claim = _claimOf(owner, dataset, first);
        claim.epochs = new uint64[](2);
        (claim.epochs[0], claim.epochs[1]) = (first, second);
        vm.expectEmit();
        emit IRoyaltyLedger.Claimed(dataset, owner, bob, 15, 0);
        vm.prank(owner);
        vm.assertEq(ledger.claim(claim, bob), 15);
        vm.assertEq(received[bob], 15);
    }

    function test_Claim_RevertWhen_NotThePayee() public {
        bytes32 dataset = _single();
        bytes32 model = _modelOf(dataset);
        uint64 epoch = _earn(model, 150);
        vm.expectRevert(abi.encodeWithSelector(IRoyaltyLedger.RoyaltyNotPayee.selector, ann, owner));
        _claim(ann, dataset, epoch);
        vm.expectRevert(abi.encodeWithSelector(IRoyaltyLedger.RoyaltyNotPayee.selector, ann, author));
        _claim(ann, model, epoch);
        vm.expectRevert(abi.encodeWithSelector(IRoyaltyLedger.RoyaltyPayeeUnknown.selector, bytes32("none")));
        _claim(ann, "none", epoch);
        IRoyaltyLedger.Claim memory claim = _claimOf(owner, dataset, epoch);
        vm.expectRevert(abi.encodeWithSelector(IRoyaltyLedger.RoyaltyNotPayee.selector, ann, owner));
        vm.prank(ann);
        ledger.claim(claim, ann);
    }

    function test_Claim_RevertWhen_EpochsAreOpenOrUnorderedOrNoneOrTooMany() public {
        bytes32 dataset = _single();
        uint64 current = _epoch();
        IRoyaltyLedger.Claim memory claim = _claimOf(owner, dataset, current);
        _refuseClaim(claim, abi.encodeWithSelector(IRoyaltyLedger.RoyaltyEpochOpen.selector, current, current));
        claim.epochs = new uint64[](0);
        _refuseClaim(claim, abi.encodeWithSelector(IRoyaltyLedger.RoyaltyEpochsInvalid.selector, uint256(0)));
        claim.epochs = new uint64[](2);
        _refuseClaim(claim, abi.encodeWithSelector(IRoyaltyLedger.RoyaltyEpochsInvalid.selector, uint256(2)));
        claim.epochs = new uint64[](65);
        for (uint64 i = 0; i < 65; ++i) claim.epochs[i] = i;
        _refuseClaim(claim, abi.encodeWithSelector(IRoyaltyLedger.RoyaltyEpochsInvalid.selector, uint256(65)));
    }

    // ---------------------------------------------------------------- claim by signature

    /// Each is paid at most once, nobody a nothing, and the fee may be all there is, or one unit.
    function test_ClaimBySig_PaysWhoGetsSomethingAndNobodyElse() public {
        bytes32 dataset = _single();
        bytes32 model = _modelOf(dataset);
        uint128[4] memory fees = [uint128(0), 1, 49, 50];
        uint256[4] memory paymentsEach = [uint256(1), 2, 2, 1];
        for (uint256 i = 0; i < fees.length; ++i) {
            IRoyaltyLedger.Claim memory claim = _claimOf(owner, dataset, _earn(model, 150));
            bytes memory signature = _sign(OWNER_KEY, _claimDigest(claim, bob, 50, i, START + 30 days));
            (uint256 toBob, uint256 toRelayer, uint256 before) = (received[bob], received[relayer], payments);
            vm.prank(relayer);
            ledger.claimBySig(claim, bob, fees[i], 50, i, START + 30 days, signature);
            vm.assertEq(received[bob] - toBob, 50 - fees[i]);
            vm.assertEq(received[relayer] - toRelayer, fees[i]);
            vm.assertEq(payments - before, paymentsEach[i]);
        }
    }

    function test_ClaimBySig_PaysTheRelayerOutOfTheAmountAndOnlyOnce() public {
        bytes32 dataset = _single();
        uint64 epoch = _earn(_modelOf(dataset), 150);
        IRoyaltyLedger.Claim memory claim = _claimOf(owner, dataset, epoch);
        bytes memory signature = _sign(OWNER_KEY, _claimDigest(claim, bob, 5, 1, START + 1 days));
        vm.expectEmit();
        emit IRoyaltyLedger.Claimed(dataset, owner, bob, 50, 4);
        vm.prank(relayer);
        vm.assertEq(ledger.claimBySig(claim, bob, 4, 5, 1, START + 1 days, signature), 50);
        vm.assertEq(received[bob], 46);
        vm.assertEq(received[relayer], 4);

        bytes32 digest = _claimDigest(claim, bob, 5, 1, START + 1 days);
        vm.assertTrue(ledger.isUsed(digest));
        vm.expectRevert(abi.encodeWithSelector(IRoyaltyLedger.RoyaltySignatureUsed.selector, digest));
        ledger.claimBySig(claim, bob, 4, 5, 1, START + 1 days, signature);
    }

    function test_ClaimBySig_RevertWhen_TheFeeIsTooHighOrTooLate() public {
        bytes32 dataset = _single();
        uint64 epoch = _earn(_modelOf(dataset), 15);
        IRoyaltyLedger.Claim memory claim = _claimOf(owner, dataset, epoch);
        uint256 deadline = START + 1 days;
        bytes memory signature = _sign(OWNER_KEY, _claimDigest(claim, owner, 9, 1, deadline));
        vm.expectRevert(abi.encodeWithSelector(IRoyaltyLedger.RoyaltyFeeTooHigh.selector, uint128(10), uint128(9)));
        ledger.claimBySig(claim, owner, 10, 9, 1, deadline, signature);
        vm.expectRevert(abi.encodeWithSelector(IRoyaltyLedger.RoyaltyFeeTooHigh.selector, uint128(6), uint128(5)));
        ledger.claimBySig(claim, owner, 6, 9, 1, deadline, signature);
        vm.warp(deadline + 1);
        vm.expectRevert(abi.encodeWithSelector(IRoyaltyLedger.RoyaltySignatureExpired.selector, deadline + 1, deadline));
        ledger.claimBySig(claim, owner, 0, 9, 1, deadline, signature);
    }

    function testFuzz_ClaimBySig_BindsEveryField(uint8 field, uint64 other) public {
        bytes32 dataset = _single();
        uint64 epoch = _earn(_modelOf(dataset), 150);
        IRoyaltyLedger.Claim memory claim = _claimOf(owner, dataset, epoch);
        uint256 deadline = START + 1 days;
        bytes memory signature = _sign(OWNER_KEY, _claimDigest(claim, owner, 9, 1, deadline));
        address to = owner;
        uint128 most = 9;
        uint256 nonce = 1;
        field = uint8(_bound(field, 0, 5));
        if (field == 0) claim.payeeId = "other";
        else if (field == 1) claim.epochs = _epochs(epoch ^ (other | 1));
        else if (field == 2) to = relayer;
        else if (field == 3) most = 10;
        else if (field == 4) nonce = 2;
        else deadline += 1;
        vm.expectRevert(abi.encodeWithSelector(IRoyaltyLedger.RoyaltySignatureInvalid.selector, owner));
        vm.prank(relayer);
        ledger.claimBySig(claim, to, 0, most, nonce, deadline, signature);
    }

    function test_ClaimBySig_AcceptsAContractWalletAsPoolMember() public {
        address wallet = address(new Wallet(ann));
        bytes32 pool = _poolOf(wallet, bob);
        uint64 epoch = _earn(_modelOf(pool), 210);
        IRoyaltyLedger.Claim memory claim = _claimOf(wallet, pool, epoch);
        claim.shares = 3;
        claim.proof = _proof(_leaf(bob, 4));
        uint256 deadline = block.timestamp;
        bytes memory signature = _sign(ANN_KEY, _claimDigest(claim, ann, 0, 7, deadline));
        vm.assertEq(ledger.claimBySig(claim, ann, 0, 0, 7, deadline, signature), 30);
        vm.assertEq(received[ann], 30);
    }

    // ---------------------------------------------------------------- private

    function _claimDigest(IRoyaltyLedger.Claim memory claim, address to, uint128 most, uint256 nonce, uint256 deadline)
        private
        view
        returns (bytes32)
    {
        bytes memory words = "";
        for (uint256 i = 0; i < claim.epochs.length; ++i) words = bytes.concat(words, bytes32(uint256(claim.epochs[i])));
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256(
                    "ClaimRoyalty(bytes32 payeeId,address account,address to,bytes32 epochsHash,uint128 maxRelayerFee,uint256 nonce,uint256 deadline)"
                ),
                claim.payeeId,
                claim.account,
                to,
                keccak256(words),
                most,
                nonce,
                deadline
            )
        );
        return _digest("RoyaltyLedger", address(ledger), structHash);
    }
}
