// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IVotes} from "@openzeppelin/contracts/governance/utils/IVotes.sol";
import {CooperativeGovernor} from "../../../contracts/CooperativeGovernor.sol";
import {CooperativeParameters} from "../../../contracts/CooperativeParameters.sol";
import {CooperativeTimelock} from "../../../contracts/CooperativeTimelock.sol";
import {DatasetRegistry} from "../../../contracts/DatasetRegistry.sol";
import {InferenceEscrow} from "../../../contracts/InferenceEscrow.sol";
import {Membership} from "../../../contracts/Membership.sol";
import {ModelRegistry} from "../../../contracts/ModelRegistry.sol";
import {ProviderRegistry} from "../../../contracts/ProviderRegistry.sol";
import {RoyaltyLedger} from "../../../contracts/RoyaltyLedger.sol";
import {TestDollar} from "../../../contracts/TestDollar.sol";
import {ICooperativeGovernor} from "../../../contracts/interfaces/ICooperativeGovernor.sol";
import {IInferenceEscrow} from "../../../contracts/interfaces/IInferenceEscrow.sol";
import {TestKit} from "../../contracts/support/Vm.sol";

/// A dollar whose issuer refuses some recipients.
contract BlockingDollar is TestDollar {
    error Blocked(address to);

    mapping(address account => bool) public isBlocked;

    function setBlocked(address account, bool blocked) external {
        isBlocked[account] = blocked;
    }

    function _update(address from, address to, uint256 value) internal override {
        require(!isBlocked[to], Blocked(to));
        super._update(from, to, value);
    }
}

/// @title All contracts as deployment sets them up, everyone's keys, and how time passes.
abstract contract SystemWorld is TestKit {
    uint256 internal constant START = 1_800_000_000;
    uint40 internal constant EPOCH = 1 hours;
    uint40 internal constant SETTLEMENT = 1 hours;
    uint32 internal constant THAW = 2 hours;
    uint256 internal constant TIMELOCK_SECONDS = 30 minutes;
    uint40 internal constant PROBATION = 1 hours;
    uint32 internal constant QUORUM_PPM = 300_000;
    uint32 internal constant THRESHOLD_PPM = 600_000;
    uint40 internal constant MANDATE = 8 days;

    uint256 internal constant PEOPLE = 8;
    uint256 internal constant ACCOUNTS = 12; // three payers, two collectors, two salts
    uint256 internal constant GRANTED_KEYS = 32;
    uint256 internal constant PERSON = 0x1000;
    uint256 internal constant PAYER = 0x2000;
    uint256 internal constant GRANTED = 0x3000;
    uint256 internal constant COLLECTOR = 0x4000;
    uint256 internal constant PROVIDER = 0x5000;
    uint256 internal constant REGISTRAR = 0x6000;
    uint256 internal constant GUARDIAN = 0x7000;
    uint256 internal constant DEPLOYER = 0x8000;
    address internal constant SECOND_TREASURY = address(0x7EA5);
    /// Where those go whose own address is blocked.
    address internal constant ELSEWHERE = address(0xE15E);

    BlockingDollar internal token;
    CooperativeTimelock internal timelock;
    CooperativeParameters internal parameters;
    Membership internal membership;
    CooperativeGovernor internal governor;
    DatasetRegistry internal datasets;
    ModelRegistry internal models;
    InferenceEscrow internal escrow;
    RoyaltyLedger internal royalties;
    ProviderRegistry internal providers;

    mapping(uint256 key => address) private _addresses;
    mapping(address verifier => bytes32) private _domains;
    bytes32[ACCOUNTS] private _ids;
    /// The first invariant that an act saw broken; the next act fails by its name, before the broken state makes another fail.
    bytes32 private _violated;

    constructor() {
        vm.warp(START);
        _meetAll(PERSON, PEOPLE);
        _meetAll(PAYER, 3);
        _meetAll(GRANTED, GRANTED_KEYS);
        _meetAll(COLLECTOR, 2);
        _meetAll(PROVIDER, 2);
        _meetAll(REGISTRAR, 2);
        _meetAll(GUARDIAN, 2);
        _meetAll(DEPLOYER, 1);
        token = new BlockingDollar();
        _foundCooperative();
        datasets = new DatasetRegistry(EPOCH);
        models = new ModelRegistry(address(datasets), address(timelock), address(governor));
        escrow = new InferenceEscrow(address(token), address(datasets), address(models), address(parameters), SETTLEMENT);
        royalties = RoyaltyLedger(escrow.ROYALTIES());
        providers = new ProviderRegistry(address(token), address(models), 10e6, 1 days);
        _name("InferenceEscrow", address(escrow));
        _name("DatasetRegistry", address(datasets));
        _name("RoyaltyLedger", address(royalties));
        _name("ModelRegistry", address(models));
        _name("Membership", address(membership));
        _name("CooperativeGovernor", address(governor));
        for (uint256 i = 0; i < ACCOUNTS; ++i) _ids[i] = escrow.accountIdOf(account(i));
        token.mint(address(this), 1e12);
        token.mint(address(timelock), 1e12);
        token.approve(address(escrow), type(uint256).max);
        vm.warp(START + 1);
    }

    function _foundCooperative() private {
        address[] memory anyone = new address[](1);
        vm.startPrank(addressOf(DEPLOYER));
        timelock = new CooperativeTimelock(TIMELOCK_SECONDS, new address[](0), anyone, addressOf(DEPLOYER));
        string[] memory purposes = new string[](1);
        purposes[0] = "research";
        parameters = new CooperativeParameters(address(timelock), 10_000, address(timelock), addressOf(REGISTRAR), purposes);
        address[] memory genesis = new address[](PEOPLE);
        for (uint256 i = 0; i < PEOPLE; ++i) genesis[i] = addressOf(PERSON + i);
        membership = new Membership(address(parameters), genesis, PROBATION, 1 days, 8, 50_000, 2 hours);
        governor = new CooperativeGovernor(IVotes(address(membership)), timelock, address(parameters), _settings());
        timelock.grantRole(timelock.PROPOSER_ROLE(), address(governor));
        timelock.grantRole(timelock.CANCELLER_ROLE(), address(governor));
        timelock.renounceRole(timelock.DEFAULT_ADMIN_ROLE(), addressOf(DEPLOYER));
        vm.stopPrank();
    }

    function _settings() private view returns (ICooperativeGovernor.Settings memory) {
        ICooperativeGovernor.ClassRule memory rule = ICooperativeGovernor.ClassRule({quorumPpm: QUORUM_PPM, thresholdPpm: THRESHOLD_PPM});
        return ICooperativeGovernor.Settings({
            votingDelaySeconds: 10 minutes,
            votingPeriodSeconds: 6 hours,
            lateQuorumSeconds: 10 minutes,
            rules: [rule, rule, rule],
            guardian: addressOf(GUARDIAN),
            mandateSeconds: MANDATE
        });
    }

    // Who is who

    function account(uint256 index) internal view returns (IInferenceEscrow.Account memory) {
        return IInferenceEscrow.Account({
            payer: addressOf(PAYER + index % 3), collector: addressOf(COLLECTOR + index / 6), thawSeconds: THAW, salt: bytes32(index / 3 % 2)
        });
    }

    function idOf(uint256 index) internal view returns (bytes32) {
        return _ids[index];
    }

    function addressOf(uint256 key) internal view returns (address) {
        return _addresses[key];
    }

    function _person(uint256 seed) internal view returns (address) {
        return addressOf(PERSON + seed % PEOPLE);
    }

    function _meet(uint256 key) internal {
        _addresses[key] = vm.addr(key);
    }

    function _meetAll(uint256 first, uint256 count) private {
        for (uint256 i = 0; i < count; ++i) _meet(first + i);
    }

    // Time

    /// Spreads what the runner draws, which is often small, extreme or repeated. Some time passes too: no call is spent on that alone.
    function _begin(uint256 seed) internal returns (uint256 mixed) {
        if (_violated != 0) vm.assertTrue(false, string(abi.encodePacked(_violated)));
        mixed = _mix(seed, 0);
        uint256 kind = mixed >> 250;
        if (kind < 12) vm.warp(block.timestamp + 1 + (mixed >> 200) % 10 minutes);
        if (kind > 60) vm.warp(block.timestamp + 1 + (mixed >> 200) % 3 hours);
    }

    function _wrong(bytes32 what) internal returns (bool) {
        if (_violated == 0) _violated = what;
        return true;
    }

    function _warpTo(uint256 at) internal {
        if (block.timestamp < at) vm.warp(at);
    }

    function _mix(uint256 seed, uint256 salt) internal pure returns (uint256 mixed) {
        assembly ("memory-safe") {
            mstore(0x00, seed)
            mstore(0x20, salt)
            mixed := keccak256(0x00, 0x40)
        }
    }

    function _now() internal view returns (uint40) {
        return uint40(block.timestamp);
    }

    function _epoch() internal view returns (uint64) {
        return uint64(block.timestamp / EPOCH);
    }

    // Signing, by domains written out here so that contracts are not checked by their own code

    function _name(string memory name, address verifier) private {
        _domains[verifier] = _domain(name, block.chainid, verifier);
    }

    function _domain(string memory name, uint256 chainId, address verifier) internal pure returns (bytes32) {
        bytes32 domainType = keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
        return keccak256(abi.encode(domainType, keccak256(bytes(string.concat("Granary ", name))), keccak256("1"), chainId, verifier));
    }

    function _digest(address verifier, bytes32 structHash) internal view returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", _domains[verifier], structHash));
    }

    function _signFor(uint256 key, address verifier, bytes32 structHash) internal view returns (bytes memory) {
        return _sign(key, _digest(verifier, structHash));
    }
}
