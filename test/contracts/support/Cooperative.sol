// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IVotes} from "@openzeppelin/contracts/governance/utils/IVotes.sol";
import {CooperativeGovernor} from "../../../contracts/CooperativeGovernor.sol";
import {CooperativeParameters} from "../../../contracts/CooperativeParameters.sol";
import {CooperativeTimelock} from "../../../contracts/CooperativeTimelock.sol";
import {ICooperativeGovernor} from "../../../contracts/interfaces/ICooperativeGovernor.sol";
import {IMembership} from "../../../contracts/interfaces/IMembership.sol";
import {Messages} from "../../../contracts/libraries/Messages.sol";
import {Membership} from "../../../contracts/Membership.sol";
import {TestKit} from "./Vm.sol";

/// A cooperative with ten genesis members, as deployment sets it up, with delays of a test's own.
abstract contract CooperativeTest is TestKit {
    uint256 internal constant GENESIS = 10;
    uint256 internal constant REGISTRAR_KEY = 0xE6157;
    uint256 internal constant START = 1_800_000_000;
    uint40 internal constant PROBATION = 5 days;
    uint40 internal constant WINDOW = 30 days;
    uint40 internal constant ROTATION = 7 days;
    uint32 internal constant FLOOR = 4;
    address internal constant GUARDIAN = address(0x64A2D);

    CooperativeTimelock internal timelock;
    CooperativeParameters internal parameters;
    Membership internal membership;
    CooperativeGovernor internal governor;

    function setUp() public virtual {
        vm.warp(START);
        address[] memory anyone = new address[](1);
        timelock = new CooperativeTimelock(2 days, new address[](0), anyone, address(this));
        string[] memory purposes = new string[](1);
        purposes[0] = "research";
        parameters = new CooperativeParameters(address(timelock), 10_000, address(timelock), vm.addr(REGISTRAR_KEY), purposes);
        address[] memory genesis = new address[](GENESIS);
        for (uint256 i = 0; i < GENESIS; ++i) genesis[i] = vm.addr(genesisKey(i));
        membership = new Membership(address(parameters), genesis, PROBATION, WINDOW, FLOOR, 50_000, ROTATION);
        governor = new CooperativeGovernor(IVotes(address(membership)), timelock, address(parameters), settings());
        timelock.grantRole(timelock.PROPOSER_ROLE(), address(governor));
        timelock.grantRole(timelock.CANCELLER_ROLE(), address(governor));
        timelock.renounceRole(timelock.DEFAULT_ADMIN_ROLE(), address(this));
        vm.warp(START + 1);
    }

    function settings() internal pure returns (ICooperativeGovernor.Settings memory) {
        ICooperativeGovernor.ClassRule[3] memory rules = [
            ICooperativeGovernor.ClassRule({quorumPpm: 200_000, thresholdPpm: 500_000}),
            ICooperativeGovernor.ClassRule({quorumPpm: 300_000, thresholdPpm: 600_000}),
            ICooperativeGovernor.ClassRule({quorumPpm: 400_000, thresholdPpm: 666_666})
        ];
        return ICooperativeGovernor.Settings({
            votingDelaySeconds: 1 days,
            votingPeriodSeconds: 5 days,
            lateQuorumSeconds: 2 days,
            rules: rules,
            guardian: GUARDIAN,
            mandateSeconds: 180 days
        });
    }

    function genesisKey(uint256 index) internal pure returns (uint256) {
        return 0x1000 + index;
    }

    function applicationOf(uint256 key, bytes32 nullifier) internal view returns (IMembership.Application memory) {
        return IMembership.Application({account: vm.addr(key), nullifier: nullifier, deadline: block.timestamp + 1 days});
    }

    /// Admits with every signature it needs, vouched for by the first three genesis members.
    function join(uint256 key, bytes32 nullifier) internal returns (uint256 memberId) {
        IMembership.Application memory application = applicationOf(key, nullifier);
        return membership.join(application, signApplication(key, application), signAdmission(REGISTRAR_KEY, application), vouchesFor(application));
    }

    function signApplication(uint256 key, IMembership.Application memory a) internal view returns (bytes memory) {
        return sign(key, Messages.hashApplication(a.account, a.nullifier, a.deadline));
    }

    function signAdmission(uint256 key, IMembership.Application memory a) internal view returns (bytes memory) {
        return sign(key, Messages.hashAdmission(a.account, a.nullifier, a.deadline));
    }

    function vouchesFor(IMembership.Application memory a) internal view returns (IMembership.Vouch[] memory vouches) {
        vouches = new IMembership.Vouch[](3);
        for (uint256 i = 0; i < 3; ++i) vouches[i] = vouchBy(genesisKey(i), a);
    }

    function vouchBy(uint256 key, IMembership.Application memory a) internal view returns (IMembership.Vouch memory) {
        return IMembership.Vouch({voucher: vm.addr(key), signature: sign(key, Messages.hashVouch(a.account, a.nullifier, a.deadline))});
    }

    function sign(uint256 key, bytes32 structHash) internal view returns (bytes memory) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Granary Membership"),
                keccak256("1"),
                block.chainid,
                address(membership)
            )
        );
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, keccak256(abi.encodePacked(hex"1901", domain, structHash)));
        return abi.encodePacked(r, s, v);
    }
}
