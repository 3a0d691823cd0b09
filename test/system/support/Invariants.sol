// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {TestKit} from "../../contracts/support/Vm.sol";
import {SystemHandler} from "./SystemHandler.sol";

/// @title What suites share: one handler, which of its acts they take, and a last look at the end of every run.
/// @dev Each invariant is a campaign of its own. What went wrong stays wrong in every later state, so the one of the campaign is looked
/// at every few dozen calls, and `afterInvariant` looks at all of the suite's when a run is over.
abstract contract SuiteKit is TestKit {
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    SystemHandler internal handler;
    bytes4[] private _acts;

    function setUp() public {
        handler = new SystemHandler();
        _target(address(handler));
        _chooseActs();
    }

    function _chooseActs() internal virtual;

    /// The runner reads it, and takes an act as often as it is named.
    function targetSelectors() external view returns (FuzzSelector[] memory list) {
        list = new FuzzSelector[](1);
        list[0] = FuzzSelector(address(handler), _acts);
    }

    function _act(bytes4 selector) internal {
        _acts.push(selector);
    }

    function _moneyActs() internal {
        _act(handler.deposit.selector);
        _act(handler.startThaw.selector);
        _act(handler.cancelThaw.selector);
        _act(handler.withdraw.selector);
        _act(handler.attackWithdrawal.selector);
        _act(handler.grantKey.selector);
        _act(handler.revokeKey.selector);
        _act(handler.settle.selector);
        _act(handler.settleOlder.selector);
        _act(handler.attackRepeatedBatch.selector);
        _act(handler.setCollectorFee.selector);
        _act(handler.claimCredit.selector);
        _act(handler.stake.selector);
        _act(handler.unstake.selector);
        _act(handler.probeDonation.selector);
    }

    function _consentActs() internal {
        _act(handler.registerDataset.selector);
        _act(handler.narrow.selector);
        _act(handler.withdrawDataset.selector);
        _act(handler.probeRepeatedWithdrawal.selector);
        _act(handler.withdrawFromPool.selector);
        _act(handler.proveExit.selector);
        _act(handler.attackExit.selector);
        _act(handler.registerModel.selector);
        _act(handler.registerWideModel.selector);
        _act(handler.attackLineage.selector);
        _act(handler.sync.selector);
        _act(handler.attackBySignature.selector);
        _act(handler.attackAsRole.selector);
    }

    function _poolActs() internal {
        _act(handler.announceShareTable.selector);
        _act(handler.pull.selector);
        _act(handler.claimAlone.selector);
        _act(handler.claimShare.selector);
        _act(handler.attackClaim.selector);
        _act(handler.probeTwoOrders.selector);
    }

    function _governmentActs() internal {
        _act(handler.join.selector);
        _act(handler.attackJoin.selector);
        _act(handler.activate.selector);
        _act(handler.leave.selector);
        _act(handler.rotate.selector);
        _act(handler.propose.selector);
        _act(handler.vote.selector);
        _act(handler.vote.selector);
        _act(handler.queue.selector);
        _act(handler.execute.selector);
        _act(handler.attackByDecision.selector);
        _act(handler.attackHaste.selector);
        _act(handler.guardianCancel.selector);
        _act(handler.guardianSuspend.selector);
        _act(handler.attackAsGuardian.selector);
        _act(handler.attackOffice.selector);
    }
}

abstract contract MoneyInvariants is SuiteKit {
    function _lookAtMoney() internal view {
        invariant_I1_TokensCoverWhatIsOwed();
        invariant_I2_ChargesStayWithinDepositCeilingAndCap();
        invariant_I3_EveryUnitIsCredited();
        invariant_I4_ABadRowChangesNothingButItself();
        invariant_I7_SettlementGasIsFlatInPayees();
        invariant_I8_ABlockedRecipientHurtsOnlyItself();
        invariant_I9_MoneyLeavesOnlyToItsOwners();
    }

    function invariant_I1_TokensCoverWhatIsOwed() public view {
        handler.checkOwed();
    }

    function invariant_I2_ChargesStayWithinDepositCeilingAndCap() public view {
        handler.checkAccounts();
    }

    function invariant_I3_EveryUnitIsCredited() public view {
        handler.checkCredits();
    }

    function invariant_I4_ABadRowChangesNothingButItself() public view {
        vm.assertTrue(!handler.rowWasWrong(), "I4: each row by the reference");
        vm.assertTrue(!handler.repeatCharged(), "I4: no batch twice");
    }

    function invariant_I7_SettlementGasIsFlatInPayees() public view {
        vm.assertTrue(!handler.gasGrewWithPayees(), "I7: one payee or 32");
    }

    function invariant_I8_ABlockedRecipientHurtsOnlyItself() public view {
        vm.assertTrue(!handler.blockedHarmed(), "I8: the blocked only");
    }

    function invariant_I9_MoneyLeavesOnlyToItsOwners() public view {
        handler.checkFlows();
    }
}

abstract contract PoolInvariants is SuiteKit {
    function _lookAtPools() internal view {
        invariant_I5_ClaimsFollowTheirEpochsTable();
        invariant_I6_OrderOfPullAndClaimDoesNotMatter();
    }

    function invariant_I5_ClaimsFollowTheirEpochsTable() public view {
        handler.checkTables();
    }

    function invariant_I6_OrderOfPullAndClaimDoesNotMatter() public view {
        handler.checkPots();
    }
}

abstract contract ConsentInvariants is SuiteKit {
    function _lookAtConsent() internal view {
        invariant_I10_WithdrawalNeverFails();
        invariant_I11_NothingServedAfterTheEndIsCredited();
        invariant_I12_PurposesOnlyShrinkDownTheLineage();
        invariant_I13_OnlyItsOwnerChangesAConsent();
        invariant_I14_SignaturesBindEverything();
        invariant_I15_LineageIsBoundedAndExists();
        invariant_I16_SyncedEndsAreTheRecomputedOnes();
    }

    function invariant_I10_WithdrawalNeverFails() public view {
        vm.assertTrue(!handler.withdrawalFailed(), "I10: withdrawal never fails");
    }

    function invariant_I11_NothingServedAfterTheEndIsCredited() public view {
        vm.assertTrue(!handler.lateWasCredited(), "I11: nothing late is credited");
    }

    function invariant_I12_PurposesOnlyShrinkDownTheLineage() public view {
        handler.checkPurposes();
        vm.assertTrue(!handler.purposesWidened(), "I12: no purpose is added");
    }

    function invariant_I13_OnlyItsOwnerChangesAConsent() public view {
        handler.checkConsent();
        vm.assertTrue(!handler.exitWasWrong(), "I13: exits are the leaver's");
        vm.assertTrue(!handler.roleOverstepped(), "I13: no role acts for a person");
    }

    function invariant_I14_SignaturesBindEverything() public view {
        vm.assertTrue(!handler.forgeryPassed(), "I14: signatures bind everything");
    }

    function invariant_I15_LineageIsBoundedAndExists() public view {
        handler.checkLineage();
    }

    function invariant_I16_SyncedEndsAreTheRecomputedOnes() public view {
        handler.checkEnds();
    }
}

abstract contract GovernmentInvariants is SuiteKit {
    function _lookAtGovernment() internal {
        invariant_I17_OneMemberOneVote();
        invariant_I18_ExecutedMeansDecidedAndDelayed();
        invariant_I19_TheGuardiansPowerEndsByItself();
    }

    function invariant_I17_OneMemberOneVote() public {
        handler.checkVotes();
        vm.assertTrue(!handler.joinedWrongly(), "I17: nobody joins past the rules");
        vm.assertTrue(!handler.leavingFailed(), "I17: leaving never fails");
        handler.checkVoteSupply();
    }

    function invariant_I18_ExecutedMeansDecidedAndDelayed() public view {
        handler.checkProposals();
        vm.assertTrue(!handler.executedWrongly(), "I18: decided and delayed");
        vm.assertTrue(!handler.decisionWasLost(), "I18: what was decided is done");
    }

    function invariant_I19_TheGuardiansPowerEndsByItself() public view {
        handler.checkSuspensions();
        vm.assertTrue(!handler.guardianOverstayed(), "I19: the guardian's bounds");
        vm.assertTrue(!handler.roleOverstepped(), "I19: no role beyond its office");
    }
}
