// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IGovernor} from "@openzeppelin/contracts/governance/IGovernor.sol";
import {IDatasetRegistry} from "../../contracts/interfaces/IDatasetRegistry.sol";
import {IInferenceEscrow} from "../../contracts/interfaces/IInferenceEscrow.sol";
import {IMembership} from "../../contracts/interfaces/IMembership.sol";
import {IModelRegistry} from "../../contracts/interfaces/IModelRegistry.sol";
import {Messages} from "../../contracts/libraries/Messages.sol";
import {HostileActs} from "./support/HostileActs.sol";
import {Drafts} from "../contracts/support/Drafts.sol";
import {TestKit} from "../contracts/support/Vm.sol";

/// @title Everybody's acts on the real contracts, and the checks that read what the acts have kept.
/// @dev In this file because the runner finds only targets of the file that it runs.
contract SystemHandler is HostileActs {
    bool public gasGrewWithPayees;

    /// Interesting from the first call on: funded accounts, a pool with a table, models of two generations.
    constructor() {
        for (uint256 i = 0; i < PEOPLE; ++i) _memberKeys.push(PERSON + i);
        _registerDataset(_mix(1, 1), true);
        _registerDataset(_mix(1, 2), false);
        _announce(_mix(1, 3));
        vm.warp(block.timestamp + 3 * EPOCH);
        _registerModel(_mix(1, 4), 2, 0);
        _registerModel(_mix(1, 5), 1, 1);
        for (uint256 i = 0; i < ACCOUNTS; ++i) _deposit(i, 100e6);
    }

    // The checks; views of this contract so that they can read its ghosts

    function uncharged() external view returns (uint256 sum) {
        for (uint256 i = 0; i < ACCOUNTS; ++i) {
            IInferenceEscrow.Balance memory found = escrow.balance(idOf(i));
            sum += found.deposit - found.charged;
        }
    }

    function checkConsentIsItsOwners() external view {
        for (uint256 i = 0; i < _offers.length; ++i) {
            IDatasetRegistry.Dataset memory found = datasets.dataset(_offers[i].id);
            vm.assertEq(found.owner, addressOf(_offers[i].owner));
            vm.assertEq(found.purposes, _offers[i].purposes, "purposes");
            vm.assertEq(found.jurisdictions, _offers[i].jurisdictions, "jurisdictions");
            vm.assertEq(found.endsAt, _offers[i].endsAt, "endsAt");
            vm.assertEq(found.withdrawn, _offers[i].withdrawn);
        }
    }

    function checkTables() external view {
        for (uint256 i = 0; i < _offers.length; ++i) {
            if (!_offers[i].isPool) continue;
            bytes32 pool = _offers[i].id;
            for (uint64 epoch = _epoch() > 6 ? _epoch() - 6 : 0; epoch <= _epoch(); ++epoch) {
                (bool found, uint256 index) = _tableAt(pool, epoch);
                (bytes32 root, uint128 totalShares) = datasets.shareTableAt(pool, epoch);
                vm.assertEq(root, found ? _shareTables[pool][index].root : bytes32(0));
                vm.assertEq(totalShares, found ? _shareTables[pool][index].total : 0, "total shares");
                if (found) _checkDraws(pool, epoch, _shareTables[pool][index]);
            }
        }
    }

    function _checkDraws(bytes32 pool, uint64 epoch, Table storage table) private view {
        for (uint256 side = 0; side < 2; ++side) {
            uint256 most = uint256(royalties.pool(pool, epoch)) * table.shares[side] / table.total;
            vm.assertLe(royalties.drawn(pool, epoch, table.accounts[side]), most, "drawn <= share of the epoch's table");
        }
    }

    function checkPots() external view {
        uint256 first = _epochs.length > 4 ? _epochs.length - 4 : 0;
        for (uint256 i = 0; i < _models.length; ++i) {
            IModelRegistry.Payee[] memory payees = models.payees(_models[i]);
            for (uint256 j = 0; j < payees.length; ++j) {
                for (uint256 k = first; k < _epochs.length; ++k) _checkPot(payees[j].id, _epochs[k]);
            }
        }
    }

    /// A pot holds what all models' pulls put there, each at most its share of the income, and pays at most that.
    function _checkPot(bytes32 payeeId, uint64 epoch) private view {
        uint256 pulled = 0;
        for (uint256 i = 0; i < _models.length; ++i) {
            IModelRegistry.Payee[] memory payees = models.payees(_models[i]);
            for (uint256 j = 0; j < payees.length; ++j) {
                if (payees[j].id != payeeId) continue;
                uint256 own = royalties.pulled(_models[i], j, epoch);
                uint256 payeesPpm = models.model(_models[i]).payeesPpm;
                uint256 most = payeesPpm == 0 ? 0 : uint256(royalties.income(_models[i], epoch)) * payees[j].ppm / payeesPpm;
                vm.assertLe(own, most, "pulled <= share of income");
                pulled += own;
            }
        }
        vm.assertEq(royalties.pool(payeeId, epoch), pulled, "pot = pulls");
        vm.assertLe(royalties.paid(payeeId, epoch), pulled, "paid <= pot");
    }

    function checkLineage() external view {
        for (uint256 i = 0; i < _models.length; ++i) {
            IModelRegistry.Payee[] memory payees = models.payees(_models[i]);
            vm.assertLe(payees.length, 33, "at most 32 payees and the author");
            uint256 ppm = 0;
            for (uint256 j = 0; j < payees.length; ++j) {
                ppm += payees[j].ppm;
                vm.assertTrue(_ownerOf(payees[j].id) != address(0), "every payee exists");
            }
            vm.assertEq(ppm, models.model(_models[i]).payeesPpm, "shares add up");
            vm.assertLe(ppm, 850_000, "fees fit");
        }
    }

    function checkPurposesShrink() external view {
        for (uint256 i = 0; i < _models.length; ++i) {
            uint32 purposes = models.model(_models[i]).purposes;
            for (uint256 j = 0; j < _parents[_models[i]].length; ++j) {
                vm.assertEq(purposes & ~models.model(_parents[_models[i]][j]).purposes, 0, "parent's");
            }
            IModelRegistry.Payee[] memory payees = models.payees(_models[i]);
            for (uint256 j = 0; j < payees.length; ++j) {
                if (!payees[j].isDataset) continue;
                IDatasetRegistry.Terms memory terms = datasets.termsOf(payees[j].id);
                vm.assertEq(purposes & ~(terms.purposes & ~terms.prohibitions), 0, "terms'");
            }
        }
    }

    function checkEnds() external view {
        for (uint256 i = 0; i < _models.length; ++i) {
            uint32 purposes = models.model(_models[i]).purposes;
            for (uint8 purpose = 0; purpose < 8; ++purpose) {
                uint40 stored = models.serveEnd(_models[i], purpose);
                vm.assertEq(stored, _lowestEnd[_models[i]][purpose], "only sync moves an end");
                if (purposes >> purpose & 1 == 1) vm.assertLe(referenceEnd(_models[i], purpose), stored, "recomputed <= stored");
            }
        }
    }

    function checkVotes() external view {
        uint256 sum = 0;
        uint256 voters = 0;
        for (uint256 i = 0; i < _memberKeys.length; ++i) {
            uint256 votes = membership.getVotes(addressOf(_memberKeys[i]));
            vm.assertLe(votes, 1, "one vote each");
            sum += votes;
            IMembership.Member memory found = membership.member(i + 1);
            if (found.votes && !found.left) ++voters;
        }
        vm.assertEq(sum, voters, "votes = voters");
        vm.assertEq(membership.members() + leavers, _memberKeys.length, "present + left = joined");
    }

    function checkProposals() external view {
        for (uint256 i = 0; i < _proposals.length; ++i) {
            Proposal storage proposal = _proposals[i];
            if (governor.state(proposal.id) != IGovernor.ProposalState.Executed) continue;
            vm.assertTrue(proposal.forVotes * 1_000_000 >= proposal.electorate * 300_000, "quorum");
            vm.assertTrue(proposal.forVotes * 1_000_000 > (proposal.forVotes + proposal.againstVotes) * 600_000, "threshold");
            vm.assertTrue(proposal.queuedAt != 0 && proposal.executedAt >= proposal.queuedAt + TIMELOCK_SECONDS, "timelock");
            vm.assertFalse(proposal.guardianSaidNo);
        }
    }

    /// From one state, gas of a batch of one row and one lane, for the model with the fewest payees and the one with the most.
    function compareGas(uint256 seed) external {
        vm.assume(seed % 2 == 0);
        (bytes32 fewest, bytes32 most) = (_models[0], _models[0]);
        for (uint256 i = 0; i < _models.length; ++i) {
            if (models.serveEnd(_models[i], 0) <= block.timestamp + EPOCH) continue;
            uint256 count = models.payees(_models[i]).length;
            if (models.serveEnd(fewest, 0) <= block.timestamp + EPOCH) (fewest, most) = (_models[i], _models[i]);
            if (count < models.payees(fewest).length) fewest = _models[i];
            if (count > models.payees(most).length) most = _models[i];
        }
        // A new epoch, so that neither has income yet; the first measurement only warms what both touch.
        vm.warp(block.timestamp + EPOCH);
        _gasOf(fewest);
        (uint256 few, uint256 many) = (_gasOf(fewest), _gasOf(most));
        vm.assume(few != 0 && many != 0);
        if ((few > many ? few - many : many - few) > few / 100) gasGrewWithPayees = true;
    }

    function _gasOf(bytes32 modelId) private returns (uint256 gas) {
        if (models.model(modelId).payeesPpm == 0 || models.serveEnd(modelId, 0) <= block.timestamp) return 0;
        uint256 state = vm.snapshotState();
        escrow.deposit(account(0), 1e6);
        Drafts.Batch memory draft;
        (draft.collector, draft.batchId, draft.receiptsRoot) = (account(0).collector, "gas", "root");
        draft.lanes = new IInferenceEscrow.Lane[](1);
        draft.lanes[0] = IInferenceEscrow.Lane(modelId, addressOf(PROVIDER), 0, _now());
        draft.rows = new Drafts.Row[](1);
        Drafts.Row memory row = draft.rows[0];
        (row.payer, row.thawSeconds, row.key) = (account(0).payer, THAW, account(0).payer);
        row.from = escrow.balance(idOf(0)).ownSpent;
        row.ceiling = row.from + 1e6;
        row.parts = new Drafts.Part[](1);
        row.parts[0] = Drafts.Part(0, 1e6);
        (row.r, row.vs) = _signCompact(PAYER, _digest(address(escrow), Messages.hashVoucher(idOf(0), row.key, row.ceiling, 0)));
        IInferenceEscrow.Batch memory batch = Drafts.encode(draft);
        vm.prank(batch.collector);
        uint256 before = gasleft();
        escrow.settleBatch(batch, "");
        gas = before - gasleft();
        vm.revertToState(state);
    }
}

/// README.md says each in words.
contract SystemInvariants is TestKit {
    SystemHandler internal handler;

    function setUp() public {
        handler = new SystemHandler();
        _target(address(handler));
    }

    function invariant_I1_TokensCoverWhatIsOwed() public view {
        uint256 owed = handler.escrow().owed();
        uint256 expected = handler.uncharged() + handler.totalCredits() + handler.royaltyIncome() - handler.royaltiesPaid();
        vm.assertEq(owed, expected, "owed is exact");
        vm.assertEq(handler.token().balanceOf(address(handler.escrow())), owed + handler.donated(), "held = owed + donated");
        vm.assertEq(handler.token().balanceOf(address(handler.providers())), handler.staked(), "stakes are held");
    }

    function invariant_I2_ChargesStayWithinDepositCeilingAndCap() public view {
        for (uint256 i = 0; i < handler.ACCOUNTS(); ++i) {
            bytes32 accountId = handler.idOf(i);
            IInferenceEscrow.Balance memory found = handler.escrow().balance(accountId);
            vm.assertLe(found.charged, found.deposit, "charged <= deposit");
            vm.assertEq(found.charged, handler.chargedUpTo(accountId), "only batches charge");
            vm.assertLe(found.ownSpent, handler.highestCeiling(accountId, handler.addressOf(handler.keyOf(i, 0))), "own <= ceiling");
            uint256 spent = found.ownSpent;
            for (uint256 which = 1; which < handler.KEYS(); ++which) {
                address key = handler.addressOf(handler.keyOf(i, which));
                IInferenceEscrow.Key memory grant = handler.escrow().key(accountId, key);
                vm.assertLe(grant.spent, handler.highestCeiling(accountId, key), "key <= ceiling");
                vm.assertLe(grant.spent, grant.cap, "key <= cap");
                spent += grant.spent;
            }
            vm.assertEq(spent, found.charged, "keys together = charged");
        }
    }

    function invariant_I3_EveryUnitIsCredited() public view {
        vm.assertEq(handler.totalCredits() + handler.claimed() + handler.royaltyIncome(), handler.settled(), "credited = gross");
        vm.assertFalse(handler.splitWasWrong());
    }

    function invariant_I4_ABadRowChangesNothingButItself() public view {
        vm.assertFalse(handler.rowWasWrong());
        vm.assertFalse(handler.repeatCharged());
    }

    function invariant_I5_ClaimsFollowTheirEpochsTable() public view {
        handler.checkTables();
        vm.assertFalse(handler.claimWasWrong());
    }

    function invariant_I6_OrderOfPullAndClaimDoesNotMatter() public view {
        handler.checkPots();
        vm.assertFalse(handler.orderMattered());
    }

    function invariant_I7_SettlementGasIsFlatInPayees() public view {
        vm.assertFalse(handler.gasGrewWithPayees());
    }

    function invariant_I8_ABlockedRecipientHurtsOnlyItself() public view {
        vm.assertFalse(handler.blockedHarmed());
    }

    function invariant_I9_MoneyLeavesOnlyToItsOwners() public view {
        uint256 out = handler.withdrawn() + handler.claimed() + handler.royaltiesPaid();
        uint256 held = handler.token().balanceOf(address(handler.escrow()));
        vm.assertEq(held + out, handler.deposited() + handler.donated(), "in = held + out");
    }

    function invariant_I10_WithdrawalNeverFails() public view {
        vm.assertFalse(handler.withdrawalFailed());
    }

    function invariant_I11_NothingServedAfterTheEndIsCredited() public view {
        vm.assertFalse(handler.lateWasCredited());
        vm.assertFalse(handler.rowWasWrong());
    }

    function invariant_I12_PurposesOnlyShrinkDownTheLineage() public view {
        handler.checkPurposesShrink();
    }

    function invariant_I13_OnlyItsOwnerChangesAConsent() public view {
        handler.checkConsentIsItsOwners();
        vm.assertFalse(handler.roleOverstepped());
    }

    function invariant_I14_SignaturesBindEverything() public view {
        vm.assertFalse(handler.forgeryPassed());
    }

    function invariant_I15_LineageIsBoundedAndExists() public view {
        handler.checkLineage();
    }

    function invariant_I16_SyncedEndsAreTheRecomputedOnes() public view {
        handler.checkEnds();
        vm.assertFalse(handler.syncWasWrong());
        vm.assertFalse(handler.endRose());
    }

    function invariant_I17_OneMemberOneVote() public view {
        handler.checkVotes();
        vm.assertFalse(handler.leavingFailed());
    }

    function invariant_I18_ExecutedMeansDecidedAndDelayed() public view {
        handler.checkProposals();
    }

    function invariant_I19_TheGuardiansPowerEndsByItself() public view {
        vm.assertFalse(handler.guardianOverstayed());
        vm.assertFalse(handler.roleOverstepped());
    }
}
