// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IInferenceEscrow} from "../../../contracts/interfaces/IInferenceEscrow.sol";
import {Messages} from "../../../contracts/libraries/Messages.sol";
import {Drafts} from "../../contracts/support/Drafts.sol";
import {ConsentActs} from "./ConsentActs.sol";

/// @title Payers, keys, collectors and providers. Each batch is worked out here first, row by row and lane by lane.
abstract contract MarketActs is ConsentActs {
    uint256 internal constant ROWS = 3;
    uint256 internal constant LANES = 2;

    struct Plan {
        Drafts.Batch batch;
        uint256[ROWS] accounts;
        uint256[ROWS] charges;
        uint256[ROWS] chargedBefore;
        uint256[LANES] gross;
        bool[LANES] open;
        uint256 treasury;
        uint256 collector;
        uint256 royalties;
        uint256 creditsBefore;
        uint256 treasuryBefore;
        uint256 collectorBefore;
        uint256 incomeBefore;
    }

    uint256 public deposited;
    uint256 public donated;
    uint256 public withdrawn;
    uint256 public claimed;
    uint256 public settled;
    uint256 public royaltyIncome;
    uint256 public staked;
    mapping(bytes32 accountId => uint256) public chargedUpTo;
    mapping(bytes32 accountId => mapping(address key => uint256)) public highestCeiling;
    uint64[] internal _epochs;

    bool public rowWasWrong;
    bool public splitWasWrong;
    bool public repeatCharged;
    bool public lateWasCredited;
    bool public blockedHarmed;
    uint256 private _batches;
    uint256 private _thawNonces;

    // Payers

    function deposit(uint256 seed, uint64 amount) external {
        _deposit(seed, 1 + amount % 300e6);
    }

    function _deposit(uint256 index, uint128 amount) internal {
        escrow.deposit(account(index), amount);
        deposited += amount;
    }

    function donate(uint16 amount) external {
        token.transfer(address(escrow), amount);
        donated += amount;
    }

    function startThaw(uint256 index, uint64 amount, bool bySignature) external {
        IInferenceEscrow.Balance memory found = escrow.balance(idOf(index));
        vm.assume(found.deposit > found.charged);
        uint128 part = uint128(_bound(amount, 1, found.deposit - found.charged));
        if (bySignature) {
            uint256 nonce = ++_thawNonces;
            bytes32 structHash = Messages.hashStartThaw(idOf(index), part, nonce, block.timestamp);
            bytes memory signature = _signFor(keyOf(index, 0), address(escrow), structHash);
            escrow.startThawBySig(account(index), part, nonce, block.timestamp, signature);
        } else {
            vm.prank(account(index).payer);
            escrow.startThaw(account(index), part);
        }
    }

    function cancelThaw(uint256 index) external {
        vm.assume(index % 4 == 0 && escrow.balance(idOf(index)).thawing != 0);
        vm.prank(account(index).payer);
        escrow.cancelThaw(account(index));
    }

    function withdraw(uint256 index) external {
        IInferenceEscrow.Balance memory found = escrow.balance(idOf(index));
        vm.assume(found.thawing != 0 && block.timestamp >= found.thawEndsAt);
        address payer = account(index).payer;
        uint256 before = token.balanceOf(payer);
        escrow.withdraw(account(index), payer);
        withdrawn += token.balanceOf(payer) - before;
    }

    function grantKey(uint256 index, uint256 which, uint64 cap, uint40 period, bool bySignature) external {
        address key = addressOf(keyOf(index, 1 + which % 2));
        IInferenceEscrow.Key memory found = escrow.key(idOf(index), key);
        vm.assume(found.revokedAt == 0);
        uint128 newCap = found.cap + cap % 100e6;
        uint40 notAfter = _now() + 1 + period % 1 days;
        if (notAfter < found.notAfter) notAfter = found.notAfter;
        if (bySignature) {
            bytes32 structHash = Messages.hashGrantKey(idOf(index), key, newCap, notAfter, found.nonce + 1);
            bytes memory signature = _signFor(keyOf(index, 0), address(escrow), structHash);
            escrow.grantKeyBySig(account(index), key, newCap, notAfter, found.nonce + 1, signature);
        } else {
            vm.prank(account(index).payer);
            escrow.grantKey(account(index), key, newCap, notAfter, found.nonce + 1);
        }
    }

    function revokeKey(uint256 index, uint256 which) external {
        vm.assume(which % 16 == 0);
        address key = addressOf(keyOf(index, 1 + (which >> 4) % 2));
        vm.prank(account(index).payer);
        escrow.revokeKey(account(index), key);
    }

    // Collectors

    function settle(uint256 seed) external {
        _settle(seed, false);
    }

    function settleRelayed(uint256 seed) external {
        _settle(seed, true);
    }

    function settleSynced(uint256 seed) external {
        _sync(_models[(seed >> 8) % _models.length]);
        _sync(_models[((seed >> 8) + 1) % _models.length]);
        Plan memory plan = _settle(seed, false);
        for (uint256 i = 0; i < LANES; ++i) {
            IInferenceEscrow.Lane memory lane = plan.batch.lanes[i];
            if (plan.gross[i] != 0 && lane.lastServedAt >= referenceEnd(lane.modelId, lane.purpose)) lateWasCredited = true;
        }
    }

    function setCollectorFee(uint256 which, uint32 feePpm) external {
        vm.prank(addressOf(COLLECTOR + which % 2));
        escrow.setCollectorFee(feePpm % 100_001);
    }

    function _settle(uint256 seed, bool relayed) internal returns (Plan memory plan) {
        plan = _plan(seed);
        IInferenceEscrow.Batch memory batch = Drafts.encode(plan.batch);
        bytes memory signature = "";
        if (relayed) signature = _signFor(COLLECTOR + seed % 2, address(escrow), _batchHash(batch));
        else vm.prank(batch.collector);
        uint256 gross = escrow.settleBatch(batch, signature);
        _compare(plan, gross);
        // The same id again, whatever it holds.
        vm.prank(batch.collector);
        if (escrow.settleBatch(batch, "") != 0) repeatCharged = true;
    }

    function _batchHash(IInferenceEscrow.Batch memory batch) private pure returns (bytes32) {
        return Messages.hashSettleBatch(
            batch.collector, batch.batchId, keccak256(abi.encode(batch.lanes)), keccak256(batch.rows), batch.receiptsRoot
        );
    }

    function _plan(uint256 seed) private returns (Plan memory plan) {
        plan.batch.collector = addressOf(COLLECTOR + seed % 2);
        plan.batch.batchId = bytes32(++_batches);
        plan.batch.receiptsRoot = bytes32(seed | 1);
        plan.batch.lanes = new IInferenceEscrow.Lane[](LANES);
        for (uint256 i = 0; i < LANES; ++i) {
            plan.batch.lanes[i] = _lane(_mix(seed, i), _models[((seed >> 8) + i) % _models.length]);
            plan.open[i] = _isOpen(plan.batch.lanes[i]);
        }
        plan.batch.rows = new Drafts.Row[](ROWS);
        for (uint256 i = 0; i < ROWS; ++i) {
            plan.accounts[i] = (seed % 2) * 6 + ((seed >> 16) + i) % 6;
            plan.chargedBefore[i] = escrow.balance(idOf(plan.accounts[i])).charged;
            _planRow(plan, i, _mix(seed, 100 + i));
        }
        _planSplit(plan);
    }

    function _lane(uint256 seed, bytes32 modelId) private view returns (IInferenceEscrow.Lane memory lane) {
        lane.modelId = modelId;
        lane.provider = seed % 16 == 0 ? address(0) : addressOf(PROVIDER + (seed >> 8) % 2);
        lane.purpose = uint8((seed >> 16) % 3 == 0 ? (seed >> 24) % 9 : 0);
        lane.lastServedAt = _now() - uint40((seed >> 32) % 64 minutes);
        if ((seed >> 64) % 32 == 0) lane.lastServedAt = _now() + 1;
    }

    function _isOpen(IInferenceEscrow.Lane memory lane) private view returns (bool) {
        if (lane.provider == address(0) || lane.lastServedAt > block.timestamp) return false;
        if (lane.lastServedAt + SETTLEMENT < block.timestamp) return false;
        return lane.lastServedAt < models.serveEnd(lane.modelId, lane.purpose);
    }

    function _planRow(Plan memory plan, uint256 i, uint256 seed) private {
        uint256 which = (seed >> 8) % KEYS;
        Drafts.Row memory row = _row(plan, i, seed, which);
        plan.batch.rows[i] = row;
        uint256 sum = 0;
        for (uint256 j = 0; j < LANES; ++j) if (plan.open[j]) sum += row.parts[j].amount;
        if (sum == 0 || !_isGood(plan.accounts[i], row, sum, which == 0) || (seed >> 28) % 12 == 0) return;
        plan.charges[i] = sum;
        for (uint256 j = 0; j < LANES; ++j) if (plan.open[j]) plan.gross[j] += row.parts[j].amount;
    }

    /// One in three is bad in some way: stale, over its ceiling, forged; cap and funds run out by themselves.
    function _row(Plan memory plan, uint256 i, uint256 seed, uint256 which) private returns (Drafts.Row memory row) {
        IInferenceEscrow.Account memory owner = account(plan.accounts[i]);
        bytes32 accountId = idOf(plan.accounts[i]);
        uint256 signer = keyOf(plan.accounts[i], which);
        (row.payer, row.thawSeconds, row.salt, row.key) = (owner.payer, owner.thawSeconds, owner.salt, addressOf(signer));
        row.from = which == 0 ? escrow.balance(accountId).ownSpent : escrow.key(accountId, row.key).spent;
        if ((seed >> 16) % 12 == 0) row.from += 1;
        row.parts = new Drafts.Part[](LANES);
        for (uint256 j = 0; j < LANES; ++j) row.parts[j] = Drafts.Part(uint8(j), uint128((seed >> (32 + 64 * j)) % 30e6));
        uint128 most = row.from + row.parts[0].amount + row.parts[1].amount;
        row.ceiling = (seed >> 24) % 12 == 0 ? row.from + (most - row.from) / 2 : most;
        bool forged = (seed >> 28) % 12 == 0;
        if (!forged && row.ceiling > highestCeiling[accountId][row.key]) highestCeiling[accountId][row.key] = row.ceiling;
        bytes32 digest = _digest(address(escrow), Messages.hashVoucher(accountId, row.key, row.ceiling, row.usageHead));
        (row.r, row.vs) = _signCompact(forged ? DEPLOYER : signer, digest);
    }

    function _isGood(uint256 index, Drafts.Row memory row, uint256 sum, bool own) private view returns (bool) {
        IInferenceEscrow.Balance memory found = escrow.balance(idOf(index));
        if (row.from + sum > row.ceiling || sum > found.deposit - found.charged) return false;
        if (own) return row.from == found.ownSpent;
        IInferenceEscrow.Key memory grant = escrow.key(idOf(index), row.key);
        return row.from == grant.spent && row.from + sum <= grant.cap && block.timestamp <= grant.notAfter + THAW;
    }

    function _planSplit(Plan memory plan) private view {
        for (uint256 i = 0; i < LANES; ++i) {
            plan.treasury += plan.gross[i] * parameters.protocolFeePpm() / 1_000_000;
            plan.collector += plan.gross[i] * escrow.collectorFeePpm(plan.batch.collector) / 1_000_000;
            plan.royalties += plan.gross[i] * models.model(plan.batch.lanes[i].modelId).payeesPpm / 1_000_000;
        }
        plan.creditsBefore = totalCredits();
        plan.treasuryBefore = escrow.credit(parameters.treasury());
        plan.collectorBefore = escrow.credit(plan.batch.collector);
        plan.incomeBefore = _incomeOf(plan.batch.lanes);
    }

    function _compare(Plan memory plan, uint256 gross) private {
        if (gross != plan.gross[0] + plan.gross[1]) rowWasWrong = true;
        for (uint256 i = 0; i < ROWS; ++i) {
            bytes32 accountId = idOf(plan.accounts[i]);
            uint256 charged = escrow.balance(accountId).charged;
            if (charged != plan.chargedBefore[i] + plan.charges[i]) rowWasWrong = true;
            chargedUpTo[accountId] = charged;
        }
        bool wrong = escrow.credit(parameters.treasury()) != plan.treasuryBefore + plan.treasury
            || escrow.credit(plan.batch.collector) != plan.collectorBefore + plan.collector
            || _incomeOf(plan.batch.lanes) != plan.incomeBefore + plan.royalties
            || totalCredits() != plan.creditsBefore + gross - plan.royalties;
        if (wrong) splitWasWrong = true;
        settled += gross;
        royaltyIncome += plan.royalties;
        if (plan.royalties != 0 && (_epochs.length == 0 || _epochs[_epochs.length - 1] != _epoch())) _epochs.push(_epoch());
    }

    function _incomeOf(IInferenceEscrow.Lane[] memory lanes) private view returns (uint256 sum) {
        sum = royalties.income(lanes[0].modelId, _epoch());
        if (lanes[1].modelId != lanes[0].modelId) sum += royalties.income(lanes[1].modelId, _epoch());
    }

    // Credits

    /// A blocked owner can't be paid at its own address, and still has its money elsewhere; nobody else notices.
    function claimCredit(uint256 seed) external {
        address owner = creditors()[seed % creditors().length];
        uint256 due = escrow.credit(owner);
        vm.assume(due != 0);
        if (token.isBlocked(owner)) {
            try escrow.claimCreditFor(owner) {
                blockedHarmed = true;
            } catch {}
            if (escrow.credit(owner) != due) blockedHarmed = true;
            vm.prank(owner);
            escrow.claimCredit(ELSEWHERE);
        } else {
            escrow.claimCreditFor(owner);
        }
        claimed += due;
    }

    function block_(uint256 seed) external {
        address[6] memory who = [_person(seed), _person(seed), creditors()[2], creditors()[3], creditors()[4], creditors()[5]];
        address account_ = who[(seed >> 8) % 6];
        token.setBlocked(account_, !token.isBlocked(account_));
    }

    function totalCredits() public view returns (uint256 sum) {
        address[] memory all = creditors();
        for (uint256 i = 0; i < all.length; ++i) sum += escrow.credit(all[i]);
    }

    // Providers

    function stake(uint256 seed, uint64 amount) external {
        address operator = addressOf(PROVIDER + seed % 2);
        amount = 1 + amount % 50e6;
        token.mint(address(this), amount);
        vm.assume(!token.isBlocked(operator));
        token.transfer(operator, amount);
        vm.startPrank(operator);
        providers.register(operator, bytes32(seed), "worker");
        token.approve(address(providers), amount);
        providers.stake(amount);
        vm.stopPrank();
        staked += amount;
    }

    function unstake(uint256 seed) external {
        address operator = addressOf(PROVIDER + seed % 2);
        uint128 held = providers.provider(operator).stake;
        uint128 leaving = providers.provider(operator).unstaking;
        vm.assume(held != 0 || (leaving != 0 && block.timestamp >= providers.provider(operator).unstakeAt));
        vm.startPrank(operator);
        if (leaving != 0 && block.timestamp >= providers.provider(operator).unstakeAt) staked -= providers.unstake(ELSEWHERE);
        else providers.startUnstaking(uint128(_bound(seed, 1, held)));
        vm.stopPrank();
    }

    function pass(uint256 time) external {
        vm.warp(block.timestamp + 1 + time % 3 hours);
    }
}
