// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IInferenceEscrow} from "../../../contracts/interfaces/IInferenceEscrow.sol";
import {IModelRegistry} from "../../../contracts/interfaces/IModelRegistry.sol";
import {Messages} from "../../../contracts/libraries/Messages.sol";
import {Drafts} from "../../contracts/support/Drafts.sol";
import {HostileActs} from "./HostileActs.sol";

/// @title Everybody's acts on the real contracts, and the checks that read what the acts have kept.
/// @dev Acts are counted; `attack…` succeed when they are refused and are counted apart; `probe…` leave nothing behind and are not counted.
contract SystemHandler is HostileActs {
    bool public gasGrewWithPayees;

    /// Interesting from the first call on: funded accounts, a pool with a table, models of one payee, of 32 and of two generations.
    constructor() {
        // By a variant of terms under which trained models stay.
        for (uint256 i = 0; i < MAX_PAYEES; ++i) _registerDataset(uint256(266 << 24) | (i % PEOPLE) << 8, false);
        uint256 pool = _offers.length;
        _registerDataset(1 << 32, true);
        for (uint256 i = 0; i < WINDOW - 1; ++i) _registerDataset(_mix(i, 2), false);
        _announce(pool, _mix(1, 3));
        vm.warp(block.timestamp + 3 * EPOCH);
        _found(pool);
        for (uint256 i = 0; i < ACCOUNTS; ++i) {
            _deposit(i, 100e6);
            _leashes[i][1] = Leash(50e6, 0, _now() + 1 days, 1, 0, false);
            vm.prank(account(i).payer);
            escrow.grantKey(account(i), addressOf(keyOf(i, 1)), 50e6, _now() + 1 days, 1);
        }
    }

    /// Model 0 pays its author only; model 1 pays 31 datasets that keep what was trained, and its author; model 2 pays a pool.
    function _found(uint256 pool) private {
        Draft memory draft = _drafted(0, 0, 0, false);
        (draft.registration.authorPpm, draft.registration.derivativePpm) = (100_000, 10_000);
        _publish(draft);
        draft = _drafted(0, MAX_PAYEES - 1, 0, false);
        draft.registration.authorPpm = 100_000;
        _publish(draft);
        draft = _drafted((pool - (_offers.length - WINDOW)) << 48 | 1 << 112 | 1 << 104, 1, 0, false);
        _publish(draft);
        _publish(_drafted(1 << 112 | 1 << 104, 1, 1, false));
    }

    // I7

    /// From one state, gas of a batch of one row and one lane: for one payee and for 32.
    function probeGas(uint256 seed) external {
        vm.assume(_begin(seed) & 15 == 0);
        // A new epoch, so that neither has income yet; the first measurement only warms what both touch.
        vm.warp((uint256(_epoch()) + 1) * EPOCH);
        _gasOf(0);
        (uint256 few, uint256 many) = (_gasOf(0), _gasOf(1));
        if ((few > many ? few - many : many - few) > few / 100) gasGrewWithPayees = _wrong("I7: one payee or 32");
    }

    function _gasOf(uint256 model) private returns (uint256 gas) {
        uint256 state = vm.snapshotState();
        escrow.deposit(account(0), 1e6);
        Drafts.Row memory row;
        (row.payer, row.thawSeconds, row.key) = (account(0).payer, THAW, account(0).payer);
        row.from = _purses[0].own;
        row.ceiling = row.from + 1e6;
        row.parts = new Drafts.Part[](1);
        row.parts[0] = Drafts.Part(0, 1e6);
        (row.r, row.vs) = _signCompact(PAYER, _digest(address(escrow), Messages.hashVoucher(idOf(0), row.key, row.ceiling, 0)));
        IInferenceEscrow.Batch memory batch;
        (batch.collector, batch.batchId, batch.receiptsRoot) = (account(0).collector, "gas", "root");
        batch.lanes = new IInferenceEscrow.Lane[](1);
        batch.lanes[0] = IInferenceEscrow.Lane(_models[model].id, addressOf(PROVIDER), 0, _now());
        batch.rows = Drafts.encode(row);
        vm.prank(batch.collector);
        uint256 before = gasleft();
        escrow.settleBatch(batch, "");
        gas = before - gasleft();
        vm.revertToState(state);
    }

    // The checks; here so that they can read the ghosts

    function checkOwed() external view {
        uint256 uncharged = 0;
        for (uint256 i = 0; i < ACCOUNTS; ++i) uncharged += _purses[i].deposit - _purses[i].charged;
        uint256 owed = escrow.owed();
        vm.assertEq(owed, uncharged + _credits() + royaltyIncome - royaltiesPaid, "I1: owed is exact");
        vm.assertEq(token.balanceOf(address(escrow)), owed + donated, "I1: held = owed + donated");
        vm.assertEq(token.balanceOf(address(providers)), staked, "I1: stakes are held");
    }

    function checkAccounts() external view {
        for (uint256 i = 0; i < ACCOUNTS; ++i) {
            IInferenceEscrow.Balance memory found = escrow.balance(idOf(i));
            vm.assertLe(found.charged, found.deposit, "I2: charged <= deposit");
            vm.assertEq(found.deposit, _purses[i].deposit, "I2: deposit");
            vm.assertEq(found.charged, _purses[i].charged, "I2: only good rows charge");
            vm.assertLe(found.ownSpent, _vouchers[i * KEYS].ceiling, "I2: own <= ceiling");
            uint256 spent = found.ownSpent + _retired[i];
            for (uint256 which = 1; which < KEYS; ++which) {
                IInferenceEscrow.Key memory grant = escrow.key(idOf(i), addressOf(keyOf(i, which)));
                vm.assertLe(grant.spent, _vouchers[i * KEYS + which].ceiling, "I2: key <= ceiling");
                vm.assertLe(grant.spent, grant.cap, "I2: key <= cap");
                vm.assertEq(grant.cap, _leashes[i][which].cap, "I2: cap as granted");
                spent += grant.spent;
            }
            vm.assertEq(spent, found.charged, "I2: keys together = charged");
        }
    }

    function checkCredits() external view {
        vm.assertEq(_credits() + claimed + royaltyIncome, settled, "I3: credited = gross");
        for (uint256 i = 0; i < 6; ++i) vm.assertEq(escrow.credit(_creditors[i]), due[_creditors[i]], "I3: each credit is exact");
        for (uint256 i = _models.length; i > 0 && _models.length - i < LATEST; --i) {
            uint64[] storage epochs = _epochsOf[i - 1];
            for (uint256 j = epochs.length; j > 0 && epochs.length - j < 4; --j) {
                uint64 epoch = epochs[j - 1];
                vm.assertEq(royalties.income(_models[i - 1].id, epoch), _income[i - 1][epoch], "I3: income is exact");
            }
        }
    }

    function _credits() private view returns (uint256 sum) {
        for (uint256 i = 0; i < 6; ++i) sum += due[_creditors[i]];
    }

    /// Each unit that came in is held or went to an owner.
    function checkFlows() external view {
        uint256 out = withdrawn + claimed + royaltiesPaid;
        vm.assertEq(token.balanceOf(address(escrow)) + out, deposited + donated, "I9: in = held + out");
        vm.assertTrue(!payoutWasWrong, "I9: each payout is exact");
    }

    function checkTables() external view {
        for (uint256 i = _pools.length; i > 0 && _pools.length - i < 4; --i) {
            bytes32 pool = _offers[_pools[i - 1]].id;
            for (uint64 epoch = _epoch() > 6 ? _epoch() - 6 : 0; epoch <= _epoch(); ++epoch) {
                (bool found, uint256 index) = _tableAt(pool, epoch);
                (bytes32 root, uint128 totalShares) = datasets.shareTableAt(pool, epoch);
                vm.assertEq(uint256(root), found ? uint256(_tables[pool][index].root) : 0, "I5: the epoch's table");
                vm.assertEq(totalShares, found ? _tables[pool][index].total : 0, "I5: the epoch's shares");
                for (uint256 j = 0; found && j < PEOPLE; ++j) {
                    vm.assertEq(royalties.drawn(pool, epoch, _person(j)), _drawn[pool][epoch][j], "I5: drawn as due");
                }
            }
        }
        vm.assertTrue(!claimWasWrong, "I5: each claim its share");
    }

    /// A pot holds what all pulls put there, each exactly its share of the income, and pays at most that.
    function checkPots() external view {
        for (uint256 i = _models.length; i > 0 && _models.length - i < LATEST; --i) {
            uint256 seats = _models[i - 1].seats.length;
            uint64[] storage epochs = _epochsOf[i - 1];
            for (uint256 j = epochs.length; j > 0 && epochs.length - j < 3; --j) {
                for (uint256 seat = 0; seat < seats && seat < 4; ++seat) _checkPot(i - 1, seat, epochs[j - 1]);
            }
        }
        vm.assertTrue(!pullWasWrong, "I6: each pull its share");
        vm.assertTrue(!orderMattered, "I6: any order draws the same");
    }

    function _checkPot(uint256 model, uint256 seat, uint64 epoch) private view {
        bytes32 payee = _models[model].seats[seat].id;
        vm.assertEq(royalties.pulled(_models[model].id, seat, epoch), _pulled[model][seat][epoch], "I6: pulled is the share");
        vm.assertEq(royalties.pool(payee, epoch), _pots[payee][epoch].pooled, "I6: pot = pulls");
        vm.assertEq(royalties.paid(payee, epoch), _pots[payee][epoch].paid, "I6: paid = claims");
        vm.assertLe(_pots[payee][epoch].paid, _pots[payee][epoch].pooled, "I6: paid <= pot");
    }

    function checkConsent() external view {
        uint256 count = _offers.length;
        for (uint256 i = count > WINDOW ? count - WINDOW : 0; i < count; ++i) vm.assertTrue(_isAsKept(i), "I13: as its owner left it");
        vm.assertTrue(_isAsKept((block.timestamp >> 3) % count), "I13: as its owner left it");
        vm.assertTrue(!consentWasWrong, "I13: as its owner left it");
    }

    function checkPurposes() external view {
        for (uint256 i = _models.length; i > 0 && _models.length - i < LATEST; --i) {
            Published storage model = _models[i - 1];
            uint256 purposes = models.model(model.id).purposes;
            for (uint256 j = 0; j < model.parents.length; ++j) vm.assertEq(purposes & ~uint256(_models[model.parents[j]].purposes), 0, "I12: parent's");
            for (uint256 j = 0; j < model.seats.length; ++j) {
                if (model.seats[j].isDataset) vm.assertEq(purposes & ~uint256(_offers[model.seats[j].offer].offered), 0, "I12: terms'");
            }
        }
    }

    function checkLineage() external view {
        for (uint256 i = _models.length; i > 0 && _models.length - i < LATEST; --i) _checkLineage(_models[i - 1]);
        _checkLineage(_models[(block.timestamp >> 3) % _models.length]);
        vm.assertTrue(!lineageWasWrong, "I15: bounds of lineages");
    }

    function _checkLineage(Published storage model) private view {
        IModelRegistry.Payee[] memory payees = models.payees(model.id);
        vm.assertLe(payees.length, MAX_PAYEES, "I15: at most 32 payees, the author included");
        vm.assertEq(payees.length, model.seats.length, "I15: the payees of the reference");
        uint256 ppm = 0;
        for (uint256 j = 0; j < payees.length; ++j) {
            ppm += payees[j].ppm;
            address owner = payees[j].isDataset ? datasets.ownerOf(payees[j].id) : models.authorOf(payees[j].id);
            vm.assertTrue(owner != address(0), "I15: every payee exists");
        }
        vm.assertEq(ppm, model.payeesPpm, "I15: shares add up");
        vm.assertLe(ppm, 850_000, "I15: fees fit");
    }

    function checkEnds() external view {
        for (uint256 i = _models.length; i > 0 && _models.length - i < LATEST; --i) {
            Published storage model = _models[i - 1];
            uint40[PURPOSES] memory live = _referenceEnds(model);
            for (uint8 purpose = 0; purpose < PURPOSES; ++purpose) {
                uint40 stored = models.serveEnd(model.id, purpose);
                vm.assertEq(stored, model.ends[purpose], "I16: only a sync moves an end");
                vm.assertLe(live[purpose], stored, "I16: recomputed <= stored");
            }
        }
        vm.assertTrue(!syncWasWrong, "I16: synced = recomputed");
        vm.assertTrue(!endRose, "I16: no end rises");
    }
}
