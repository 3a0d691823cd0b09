// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IInferenceEscrow} from "../../../contracts/interfaces/IInferenceEscrow.sol";
import {Messages} from "../../../contracts/libraries/Messages.sol";
import {Drafts} from "../../contracts/support/Drafts.sol";
import {PayerActs} from "./PayerActs.sol";

/// @title Collectors and providers. Each batch is worked out here first, row by row and lane by lane, from what this contract kept.
abstract contract MarketActs is PayerActs {
    struct Plan {
        IInferenceEscrow.Batch batch;
        uint256 collector;
        uint256[] models;
        bool[] open;
        bool anyLate;
        bool books; // or only tries
        uint256[] gross;
        uint256 sum;
    }

    address[6] internal _creditors;
    mapping(address creditor => uint256) public due;
    mapping(uint256 model => mapping(uint64 epoch => uint256)) internal _income;
    mapping(uint256 model => uint64[]) internal _epochsOf;
    uint256 public claimed;
    uint256 public settled;
    uint256 public royaltyIncome;
    uint256 public staked;
    uint256 private _batches;
    mapping(uint256 collector => uint256) private _lastBatch;

    bool public rowWasWrong;
    bool public repeatCharged;
    bool public lateWasCredited;
    bool public blockedHarmed;

    constructor() {
        _creditors = [address(timelock), SECOND_TREASURY, addressOf(COLLECTOR), addressOf(COLLECTOR + 1), addressOf(PROVIDER), addressOf(PROVIDER + 1)];
    }

    // Settle

    function settle(uint256 seed) external {
        _settle(_begin(seed));
    }

    /// A second handler of the same act: the runner takes each as often.
    function settleOlder(uint256 seed) external {
        _settle(_mix(_begin(seed), 1));
    }

    /// Right after a sync nothing is credited past an end that the reference knows.
    function settleSynced(uint256 seed) external {
        seed = _begin(seed);
        for (uint256 i = 0; i < _laneCount(seed); ++i) _sync(_modelOfLane(seed, i));
        _settle(seed);
    }

    /// The id of the batch before, with rows that are good.
    function attackRepeatedBatch(uint256 seed) external {
        seed = _begin(seed);
        uint256 collector = seed % 2;
        vm.assume(_lastBatch[collector] != 0);
        Plan memory plan = _plan(seed, _lastBatch[collector], false);
        vm.assume(plan.sum != 0);
        vm.prank(plan.batch.collector);
        if (escrow.settleBatch(plan.batch, "") != 0) repeatCharged = _wrong("I4: no batch twice");
    }

    function setCollectorFee(uint256 seed) external {
        seed = _begin(seed);
        vm.prank(addressOf(COLLECTOR + seed % 2));
        escrow.setCollectorFee(uint32((seed >> 8) % 100_001));
    }

    function _settle(uint256 seed) private {
        uint256 id = ++_batches;
        Plan memory plan = _plan(seed, id, true);
        _lastBatch[plan.collector] = id;
        uint256 gross;
        if (seed >> 232 & 7 == 0) {
            gross = escrow.settleBatch(plan.batch, _signFor(COLLECTOR + plan.collector, address(escrow), _batchHash(plan.batch)));
        } else {
            vm.prank(plan.batch.collector);
            gross = escrow.settleBatch(plan.batch, "");
        }
        if (gross > plan.sum && plan.anyLate) lateWasCredited = _wrong("I11: nothing late is credited");
        if (gross != plan.sum) rowWasWrong = _wrong("I4: each row by the reference");
        _credit(plan);
    }

    function _batchHash(IInferenceEscrow.Batch memory batch) private pure returns (bytes32) {
        bytes32 lanes = keccak256(abi.encode(batch.lanes));
        return Messages.hashSettleBatch(batch.collector, batch.batchId, lanes, keccak256(batch.rows), batch.receiptsRoot);
    }

    // Plan: mostly a row or three on a lane or two, now and then more

    function _plan(uint256 seed, uint256 id, bool books) private returns (Plan memory plan) {
        uint256 lanes = _laneCount(seed);
        (plan.collector, plan.books) = (seed % 2, books);
        plan.batch.collector = addressOf(COLLECTOR + plan.collector);
        plan.batch.batchId = bytes32(id);
        plan.batch.receiptsRoot = bytes32(seed | 1);
        plan.batch.lanes = new IInferenceEscrow.Lane[](lanes);
        (plan.models, plan.open, plan.gross) = (new uint256[](lanes), new bool[](lanes), new uint256[](lanes));
        for (uint256 i = 0; i < lanes; ++i) _planLane(plan, i, _modelOfLane(seed, i), _mix(seed, 200 + i));
        uint256 kind = (seed >> 24) % 16;
        uint256 rows = kind < 8 ? 1 : kind < 12 ? 2 : kind < 15 ? 3 : 9;
        bytes memory encoded;
        for (uint256 i = 0; i < rows; ++i) encoded = bytes.concat(encoded, _planRow(plan, _mix(seed, 100 + i)));
        plan.batch.rows = encoded;
        for (uint256 i = 0; i < lanes; ++i) plan.sum += plan.gross[i];
    }

    function _laneCount(uint256 seed) private pure returns (uint256) {
        uint256 kind = (seed >> 16) % 8;
        return kind < 4 ? 1 : kind < 7 ? 2 : 4;
    }

    function _modelOfLane(uint256 seed, uint256 lane) private view returns (uint256) {
        return (_modelAt(seed >> 8) + lane) % _models.length;
    }

    function _planLane(Plan memory plan, uint256 i, uint256 model, uint256 seed) private view {
        IInferenceEscrow.Lane memory lane = plan.batch.lanes[i];
        plan.models[i] = model;
        lane.modelId = _models[model].id;
        lane.provider = seed % 16 == 0 ? address(0) : addressOf(PROVIDER + (seed >> 8) % 2);
        lane.purpose = uint8((seed >> 16) % 4 == 0 ? (seed >> 24) % (PURPOSES + 1) : 0);
        lane.lastServedAt = _now() - uint40((seed >> 32) % 61 minutes);
        if ((seed >> 64) % 32 == 0) lane.lastServedAt = _now() + 1;
        uint40 end = lane.purpose < PURPOSES ? _models[model].ends[lane.purpose] : 0;
        bool late = lane.lastServedAt >= end || lane.lastServedAt + SETTLEMENT < block.timestamp;
        if (late) plan.anyLate = true;
        plan.open[i] = !late && lane.provider != address(0) && lane.lastServedAt <= block.timestamp;
    }

    /// Some are stale, over their ceiling or forged; cap, period and funds run out by themselves. What is good is booked.
    function _planRow(Plan memory plan, uint256 seed) private returns (bytes memory) {
        (uint256 index, uint256 which) = (plan.collector * 6 + seed % 6, (seed >> 8) % KEYS);
        Leash memory leash = _leashes[index][which];
        Drafts.Row memory row = _row(index, which, which == 0 ? _purses[index].own : leash.spent, seed);
        uint256 kind = (seed >> 16) % 24;
        if (kind == 0) row.from += 1;
        uint256 sum = _parts(plan, row, seed);
        bool good = kind == 1 ? _overCharge(plan, row) : _sign(row, index, which, kind, sum) && sum != 0;
        Purse memory purse = _purses[index];
        good = good && sum <= purse.deposit - purse.charged;
        if (which != 0) good = good && row.from + sum <= leash.cap && block.timestamp <= uint256(leash.notAfter) + THAW;
        if (good) _book(plan, row, index, which, uint80(sum));
        return Drafts.encode(row);
    }

    function _row(uint256 index, uint256 which, uint256 from, uint256 seed) private view returns (Drafts.Row memory row) {
        IInferenceEscrow.Account memory owner = account(index);
        (row.payer, row.thawSeconds, row.salt, row.from) = (owner.payer, owner.thawSeconds, owner.salt, uint128(from));
        row.key = addressOf(keyOf(index, which));
        Voucher storage voucher = _vouchers[index * KEYS + which];
        (row.ceiling, row.r, row.vs) = (voucher.ceiling, voucher.r, voucher.vs);
        row.parts = new Drafts.Part[]((seed >> 28) % 32 == 0 ? 5 : 1 + (seed >> 33) % 2);
    }

    function _parts(Plan memory plan, Drafts.Row memory row, uint256 seed) private pure returns (uint256 sum) {
        uint256 most = seed >> 40 & 15 == 0 ? 300e6 : 10e6;
        for (uint256 i = 0; i < row.parts.length; ++i) {
            uint256 lane = ((seed >> 48) + i) % plan.open.length;
            row.parts[i] = Drafts.Part(uint8(lane), uint128(_mix(seed, i) % most));
            if (plan.open[lane]) sum += row.parts[i].amount;
        }
    }

    /// At least one unit more than was ever signed for.
    function _overCharge(Plan memory plan, Drafts.Row memory row) private pure returns (bool good) {
        for (uint256 i = 0; i < row.parts.length; ++i) if (plan.open[row.parts[i].lane]) row.parts[i].amount += row.ceiling - row.from + 1;
        return false;
    }

    /// The voucher in hand if it covers the sum, else a new one with some room; whether it is genuine.
    function _sign(Drafts.Row memory row, uint256 index, uint256 which, uint256 kind, uint256 sum) private returns (bool) {
        Voucher storage voucher = _vouchers[index * KEYS + which];
        if (row.from + sum > row.ceiling) {
            uint256 room = kind % 4 == 0 ? 0 : 50e6 * (kind % 8);
            (row.ceiling, row.usageHead) = (uint128(row.from + sum + room), bytes32(0));
            bytes32 structHash = Messages.hashVoucher(idOf(index), row.key, row.ceiling, row.usageHead);
            (row.r, row.vs) = _signCompact(keyOf(index, which), _digest(address(escrow), structHash));
            (voucher.ceiling, voucher.r, voucher.vs) = (row.ceiling, row.r, row.vs);
        }
        if (kind == 2) row.ceiling += 1e6;
        if (kind == 3) row.usageHead = "other";
        if (kind == 4) (row.r, row.vs) = (_vouchers[0].r, row.vs ^ bytes32(uint256(1)));
        return kind > 4;
    }

    function _book(Plan memory plan, Drafts.Row memory row, uint256 index, uint256 which, uint80 sum) private {
        for (uint256 i = 0; i < row.parts.length; ++i) {
            if (plan.open[row.parts[i].lane]) plan.gross[row.parts[i].lane] += row.parts[i].amount;
        }
        if (!plan.books) return;
        _purses[index].charged += sum;
        if (which == 0) _purses[index].own += sum;
        else _leashes[index][which].spent += sum;
    }

    /// Fees and royalties round down for each lane; the provider takes the rest.
    function _credit(Plan memory plan) private {
        if (plan.sum == 0) return;
        settled += plan.sum;
        (uint256 protocolPpm, uint256 collectorPpm) = (parameters.protocolFeePpm(), escrow.collectorFeePpm(plan.batch.collector));
        address treasury = parameters.treasury();
        for (uint256 i = 0; i < plan.gross.length; ++i) {
            uint256 gross = plan.gross[i];
            if (gross == 0) continue;
            uint256 protocol = gross * protocolPpm / 1_000_000;
            uint256 collector = gross * collectorPpm / 1_000_000;
            uint256 royalty = gross * _models[plan.models[i]].payeesPpm / 1_000_000;
            due[treasury] += protocol;
            due[plan.batch.collector] += collector;
            due[plan.batch.lanes[i].provider] += gross - protocol - collector - royalty;
            royaltyIncome += royalty;
            if (royalty != 0 && _income[plan.models[i]][_epoch()] == 0) _epochsOf[plan.models[i]].push(_epoch());
            _income[plan.models[i]][_epoch()] += royalty;
        }
    }

    // Credits

    /// A blocked owner can't be paid at its own address, and still has its money elsewhere; nobody else notices.
    function claimCredit(uint256 seed) external {
        seed = _begin(seed);
        address owner = _creditors[seed % 6];
        for (uint256 i = 1; i < 6 && due[owner] == 0; ++i) owner = _creditors[(seed + i) % 6];
        uint256 amount = due[owner];
        vm.assume(amount != 0);
        bool blocked = _block(owner, seed >> 8);
        if (blocked) {
            try escrow.claimCreditFor(owner) {
                blockedHarmed = _wrong("I8: the blocked only");
                return;
            } catch {}
        }
        if (blocked || seed >> 16 & 3 == 0) {
            vm.prank(owner);
            if (escrow.claimCredit(ELSEWHERE) != amount) payoutWasWrong = _wrong("I9: each payout is exact");
        } else if (escrow.claimCreditFor(owner) != amount) {
            payoutWasWrong = _wrong("I9: each payout is exact");
        }
        due[owner] = 0;
        claimed += amount;
    }

    /// The issuer's mood: one in eight is blocked, until it is asked again.
    function _block(address owner, uint256 seed) internal returns (bool blocked) {
        blocked = seed & 7 == 0 && owner != address(timelock);
        if (token.isBlocked(owner) != blocked) token.setBlocked(owner, blocked);
    }

    // Providers

    function stake(uint256 seed) external {
        seed = _begin(seed);
        address operator = addressOf(PROVIDER + seed % 2);
        uint128 amount = 1 + uint128((seed >> 8) % 50e6);
        _block(operator, 1);
        token.transfer(operator, amount);
        vm.startPrank(operator);
        if (providers.provider(operator).sessionKey == address(0)) providers.register(operator, bytes32(seed), "worker");
        token.approve(address(providers), amount);
        providers.stake(amount);
        vm.stopPrank();
        staked += amount;
    }

    function unstake(uint256 seed) external {
        seed = _begin(seed);
        address operator = addressOf(PROVIDER + seed % 2);
        uint128 held = providers.provider(operator).stake;
        uint128 leaving = providers.provider(operator).unstaking;
        bool over = leaving != 0 && block.timestamp >= providers.provider(operator).unstakeAt;
        vm.assume(held != 0 || over);
        vm.startPrank(operator);
        if (over) staked -= providers.unstake(ELSEWHERE);
        else providers.startUnstaking(uint128(1 + (seed >> 8) % held));
        vm.stopPrank();
    }
}
