// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IGovernor} from "@openzeppelin/contracts/governance/IGovernor.sol";
import {ICooperativeGovernor} from "../../../contracts/interfaces/ICooperativeGovernor.sol";
import {IMembership} from "../../../contracts/interfaces/IMembership.sol";
import {Messages} from "../../../contracts/libraries/Messages.sol";
import {RoyaltyActs} from "./RoyaltyActs.sol";

/// @title Members, proposals and the guardian.
abstract contract GovernanceActs is RoyaltyActs {
    uint256 internal constant MAX_PROPOSALS = 12;
    uint256 internal constant NEWCOMER = 0x100000;

    struct Proposal {
        uint256 id;
        address target;
        bytes data;
        uint256 forVotes;
        uint256 againstVotes;
        uint256 electorate;
        uint256 queuedAt;
        uint256 executedAt;
        bool guardianSaidNo;
    }

    Proposal[] internal _proposals;
    mapping(uint256 proposal => mapping(uint256 key => bool)) private _voted;
    uint256[] internal _memberKeys;
    uint256 public newcomers;
    uint256 public leavers;
    bool public guardianOverstayed;
    bool public leavingFailed;

    // Members

    function join(uint256 seed) external {
        uint256 key = NEWCOMER + newcomers;
        vm.assume(newcomers < 40);
        _meet(key);
        IMembership.Application memory application = IMembership.Application(addressOf(key), bytes32(key), block.timestamp);
        IMembership.Vouch[] memory vouches = new IMembership.Vouch[](3);
        for (uint256 i = 0; i < 3; ++i) {
            uint256 voucher = PERSON + (seed % PEOPLE + i) % PEOPLE;
            bytes32 vouch = Messages.hashVouch(application.account, application.nullifier, application.deadline);
            vouches[i] = IMembership.Vouch(addressOf(voucher), _signFor(voucher, address(membership), vouch));
        }
        bytes memory own = _signFor(key, address(membership), Messages.hashApplication(application.account, application.nullifier, application.deadline));
        bytes32 admission = Messages.hashAdmission(application.account, application.nullifier, application.deadline);
        bytes memory registrars = _signFor(REGISTRAR, address(membership), admission);
        try membership.join(application, own, registrars, vouches) {
            ++newcomers;
            _memberKeys.push(key);
        } catch {
            // The window is full, a voucher has left, or the registrar is another now.
            vm.assume(false);
        }
    }

    function activate(uint256 seed) external {
        uint256 memberId = 1 + seed % _memberKeys.length;
        IMembership.Member memory found = membership.member(memberId);
        vm.assume(!found.left && !found.votes && block.timestamp >= found.activeAt);
        membership.activate(memberId);
    }

    /// In any state; seldom, so that there is somebody left to govern.
    function leave(uint256 seed) external {
        vm.assume(seed % 16 == 0);
        uint256 memberId = 1 + (seed >> 8) % _memberKeys.length;
        uint256 key = _memberKeys[memberId - 1];
        bool there = !membership.member(memberId).left;
        try membership.leaveBySig(addressOf(key), _signFor(key, address(membership), Messages.hashLeave(memberId))) {
            if (there) ++leavers;
        } catch {
            leavingFailed = true;
        }
    }

    // Proposals

    function propose(uint256 seed) external {
        vm.assume(_proposals.length < MAX_PROPOSALS);
        address proposer = _person(seed >> 8);
        vm.assume(membership.getPastVotes(proposer, block.timestamp - 1) != 0);
        (address target, bytes memory data) = _callOf(seed);
        vm.prank(proposer);
        uint256 id = governor.propose(_only(target), new uint256[](1), _only(data), _description(_proposals.length));
        Proposal storage proposal = _proposals.push();
        (proposal.id, proposal.target, proposal.data) = (id, target, data);
    }

    /// What a majority may wish for, or may be talked into.
    function _callOf(uint256 seed) internal view returns (address target, bytes memory data) {
        uint256 kind = (seed >> 16) % 9;
        if (kind == 0) return (address(parameters), abi.encodeCall(parameters.setProtocolFee, (uint32((seed >> 24) % 50_001))));
        if (kind == 1) return (address(parameters), abi.encodeCall(parameters.setTreasury, ((seed >> 24) % 2 == 0 ? address(timelock) : SECOND_TREASURY)));
        if (kind == 2) return (address(parameters), abi.encodeCall(parameters.addPurpose, (_description(seed >> 224))));
        if (kind == 3) return (address(models), abi.encodeCall(models.suspend, (_models[(seed >> 24) % _models.length], _now() + uint40((seed >> 32) % 30 days))));
        if (kind == 4) return (address(token), abi.encodeCall(token.transfer, (ELSEWHERE, (seed >> 24) % 1000)));
        if (kind == 5) return (address(governor), abi.encodeCall(governor.setGuardian, (addressOf(GUARDIAN), _now() + uint40((seed >> 24) % 3 days))));
        return hostileCall(seed >> 24);
    }

    /// Against whom it concerns; only the person itself may do these.
    function hostileCall(uint256 seed) public view returns (address target, bytes memory data) {
        bytes32 datasetId = _offers[(seed >> 8) % _offers.length].id;
        uint256 kind = (seed >> 16) % 9;
        if (kind == 0) return (address(datasets), abi.encodeCall(datasets.withdraw, (datasetId)));
        if (kind == 1) return (address(escrow), abi.encodeCall(escrow.payRoyalty, (ELSEWHERE, uint128(1 + (seed >> 24) % 1e6))));
        if (kind == 2) return (address(escrow), abi.encodeCall(escrow.withdraw, (account(seed >> 24), ELSEWHERE)));
        if (kind == 3) return (address(escrow), abi.encodeCall(escrow.startThaw, (account(seed >> 24), 1)));
        if (kind == 4) return (address(escrow), abi.encodeCall(escrow.grantKey, (account(seed >> 24), addressOf(DEPLOYER), 1e12, NEVER, 99)));
        if (kind == 5) return (address(escrow), abi.encodeCall(escrow.revokeKey, (account(seed >> 24), addressOf(GRANTED + 1))));
        if (kind == 6) return (address(royalties), abi.encodeCall(royalties.creditIncome, (_models[0], _epoch(), 1e6)));
        if (kind == 7) return (address(membership), abi.encodeCall(membership.transferFrom, (_person(seed >> 24), ELSEWHERE, 1 + (seed >> 24) % 6)));
        return (address(escrow), abi.encodeCall(escrow.cancelThaw, (account(seed >> 24))));
    }

    function vote(uint256 seed) external {
        (uint256 which, Proposal storage proposal) = _proposalAt(seed);
        vm.assume(governor.state(proposal.id) == IGovernor.ProposalState.Active);
        uint256 key = _memberKeys[(seed >> 8) % _memberKeys.length];
        uint256 weight = membership.getPastVotes(addressOf(key), governor.proposalSnapshot(proposal.id));
        vm.assume(weight != 0 && !_voted[which][key]);
        _voted[which][key] = true;
        vm.prank(addressOf(key));
        governor.castVote(proposal.id, (seed >> 16) % 4 == 0 ? 0 : 1);
        if ((seed >> 16) % 4 == 0) proposal.againstVotes += weight;
        else proposal.forVotes += weight;
        proposal.electorate = membership.getPastTotalSupply(governor.proposalSnapshot(proposal.id));
    }

    /// At any time; nothing but a success of the vote lets it through.
    function queue(uint256 seed) external {
        (uint256 which, Proposal storage proposal) = _proposalAt(seed);
        try governor.queue(_only(proposal.target), new uint256[](1), _only(proposal.data), keccak256(bytes(_description(which)))) {
            proposal.queuedAt = block.timestamp;
        } catch {
            vm.assume(false);
        }
    }

    /// At any time, too early included; it may also fail because of what it calls.
    function execute(uint256 seed) external {
        (uint256 which, Proposal storage proposal) = _proposalAt(seed);
        uint256 treasuryCredit = totalCredits();
        try governor.execute(_only(proposal.target), new uint256[](1), _only(proposal.data), keccak256(bytes(_description(which)))) {
            proposal.executedAt = block.timestamp;
            claimed += treasuryCredit - totalCredits();
        } catch {
            vm.assume(false);
        }
    }

    // Guardian

    function guardianCancel(uint256 seed) external {
        vm.assume(seed % 16 == 0);
        (uint256 which, Proposal storage proposal) = _proposalAt(seed >> 8);
        vm.prank(governor.guardian());
        try governor.guardianCancel(_only(proposal.target), new uint256[](1), _only(proposal.data), keccak256(bytes(_description(which)))) {
            proposal.guardianSaidNo = true;
            if (block.timestamp >= governor.mandateEndsAt()) guardianOverstayed = true;
        } catch {
            vm.assume(false);
        }
    }

    function guardianSuspend(uint256 seed) external {
        bytes32 modelId = _models[seed % _models.length];
        uint40 until = _now() + uint40((seed >> 8) % 20 days);
        vm.prank(governor.guardian());
        try governor.guardianSuspend(address(models), modelId, until) {
            if (block.timestamp >= governor.mandateEndsAt() || until > block.timestamp + 14 days) guardianOverstayed = true;
        } catch {
            vm.assume(false);
        }
    }

    function _proposalAt(uint256 seed) private view returns (uint256 which, Proposal storage proposal) {
        vm.assume(_proposals.length != 0);
        which = seed % _proposals.length;
        proposal = _proposals[which];
    }

    function _description(uint256 number) private pure returns (string memory) {
        return string(abi.encodePacked(bytes32(number)));
    }

    function _only(address one) private pure returns (address[] memory list) {
        list = new address[](1);
        list[0] = one;
    }

    function _only(bytes memory one) private pure returns (bytes[] memory list) {
        list = new bytes[](1);
        list[0] = one;
    }
}
