// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IGovernor} from "@openzeppelin/contracts/governance/IGovernor.sol";
import {ICooperativeGovernor} from "../../../contracts/interfaces/ICooperativeGovernor.sol";
import {ICooperativeParameters} from "../../../contracts/interfaces/ICooperativeParameters.sol";
import {IInferenceEscrow} from "../../../contracts/interfaces/IInferenceEscrow.sol";
import {Decisions} from "./Decisions.sol";

/// @title Proposals on their whole way: proposed, voted on, queued and executed, and refused wherever the way is left.
abstract contract GovernanceActs is Decisions {
    uint256 private constant LIVE = 4;

    struct Proposal {
        uint256 id;
        address target;
        uint40 snapshot;
        uint40 queuedAt;
        uint8 kind;
        bool mustFail;
        bytes data;
        uint32 quorumPpm; // of its class when it was proposed
        uint32 thresholdPpm;
        uint32 delaySeconds; // the timelock's when it was queued
        uint32 forVotes;
        uint32 againstVotes;
        uint32 abstainVotes;
        bool guardianSaidNo;
        bool over;
        bool executed;
    }

    Proposal[] internal _proposals;
    uint256[] internal _live;
    mapping(uint256 proposal => mapping(uint256 key => bool)) private _voted;
    uint256 public executions;
    bool public executedWrongly;

    function propose(uint256 seed) external {
        seed = _begin(seed);
        for (uint256 i = _live.length; i > 0 && _live.length == LIVE; --i) if (_isOver(_live[i - 1])) _drop(i - 1);
        vm.assume(_live.length < LIVE);
        Member storage proposer = _members[(seed >> 8) % _members.length];
        vm.assume(membership.getPastVotes(addressOf(proposer.key), block.timestamp - 1) != 0);
        (uint8 kind, address target, bytes memory data, bool mustFail) = _decisionOf(_mix(seed, 3));
        vm.prank(addressOf(proposer.key));
        uint256 id = governor.propose(_only(target), new uint256[](1), _only(data), _description(_proposals.length));
        _live.push(_proposals.length);
        Proposal storage proposal = _proposals.push();
        (proposal.id, proposal.target, proposal.data, proposal.kind, proposal.mustFail) = (id, target, data, kind, mustFail);
        proposal.snapshot = uint40(governor.proposalSnapshot(id));
        uint256 class = _classOf(target, data);
        (proposal.quorumPpm, proposal.thresholdPpm) = (_rules[class].quorumPpm, _rules[class].thresholdPpm);
    }

    /// Fees and purposes are ordinary; what pays from the treasury is so where no contract of the cooperative obeys; all else is constitutional.
    function _classOf(address target, bytes memory data) private view returns (uint256) {
        bytes4 selector = bytes4(data);
        if (target == address(parameters)) {
            bool ordinary = selector == ICooperativeParameters.setProtocolFee.selector || selector == ICooperativeParameters.addPurpose.selector;
            return uint256(ordinary ? ICooperativeGovernor.ProposalClass.Ordinary : ICooperativeGovernor.ProposalClass.Constitutional);
        }
        bool pays = selector == token.transfer.selector || selector == IInferenceEscrow.claimCredit.selector;
        bool obeys = target == address(governor) || target == address(timelock) || target == address(membership);
        return uint256(pays && !obeys ? ICooperativeGovernor.ProposalClass.Treasury : ICooperativeGovernor.ProposalClass.Constitutional);
    }

    /// Mostly for it, so that much is decided.
    function vote(uint256 seed) external {
        seed = _begin(seed);
        (bool found, uint256 which) = _liveIn(seed, IGovernor.ProposalState.Active);
        if (!found) {
            (found, which) = _liveIn(seed, IGovernor.ProposalState.Pending);
            vm.assume(found);
            _warpTo(_proposals[which].snapshot + 1);
        }
        Proposal storage proposal = _proposals[which];
        for (uint256 i = 0; i < 12; ++i) {
            uint256 key = _members[((seed >> 8) + i) % _members.length].key;
            if (_voted[which][key] || membership.getPastVotes(addressOf(key), proposal.snapshot) == 0) continue;
            _voted[which][key] = true;
            uint256 kind = (seed >> 32) % 16;
            // One in three is contested.
            uint8 support = kind < (which % 3 == 0 ? 8 : 12) ? 1 : kind < 15 ? 0 : 2;
            if (seed >> 40 & 7 == 0) {
                _voteBySignature(proposal.id, key, support);
            } else {
                vm.prank(addressOf(key));
                governor.castVote(proposal.id, support);
            }
            if (support == 0) ++proposal.againstVotes;
            else if (support == 1) ++proposal.forVotes;
            else ++proposal.abstainVotes;
            return;
        }
        vm.assume(false);
    }

    function _voteBySignature(uint256 id, uint256 key, uint8 support) private {
        address voter = addressOf(key);
        bytes32 structHash = keccak256(abi.encode(governor.BALLOT_TYPEHASH(), id, support, voter, governor.nonces(voter)));
        governor.castVoteBySig(id, support, voter, _signFor(key, address(governor), structHash));
    }

    /// What has its votes, if need be after the rest of the voting period.
    function queue(uint256 seed) external {
        seed = _begin(seed);
        (bool found, uint256 which) = _liveIn(seed, IGovernor.ProposalState.Succeeded);
        if (!found) {
            (found, which) = _liveIn(seed, IGovernor.ProposalState.Active);
            vm.assume(found && _proposals[which].forVotes > 1);
            _warpTo(governor.proposalDeadline(_proposals[which].id) + 1);
            vm.assume(governor.state(_proposals[which].id) == IGovernor.ProposalState.Succeeded);
        }
        Proposal storage proposal = _proposals[which];
        governor.queue(_only(proposal.target), new uint256[](1), _only(proposal.data), keccak256(bytes(_description(which))));
        (proposal.queuedAt, proposal.delaySeconds) = (_now(), uint32(_delaySeconds));
    }

    function execute(uint256 seed) external {
        seed = _begin(seed);
        (bool found, uint256 which) = _liveIn(seed, IGovernor.ProposalState.Queued);
        vm.assume(found && !_mustFail(which));
        Proposal storage proposal = _proposals[which];
        _warpTo(uint256(proposal.queuedAt) + proposal.delaySeconds);
        _execute(which);
        if (!_wasDecided(proposal)) executedWrongly = _wrong("I18: decided and delayed");
        (proposal.executed, proposal.over) = (true, true);
        ++executions;
        _note(proposal.kind, proposal.data);
    }

    /// Decided and due, but not within anyone's power: the whole execution is refused.
    function attackByDecision(uint256 seed) external {
        seed = _begin(seed);
        (bool found, uint256 which) = _liveIn(seed, IGovernor.ProposalState.Queued);
        vm.assume(found && _mustFail(which));
        Proposal storage proposal = _proposals[which];
        _warpTo(uint256(proposal.queuedAt) + proposal.delaySeconds);
        try this.executeFor(which) {
            roleOverstepped = _wrong("I13, I19: no role oversteps");
        } catch {}
        proposal.over = true;
    }

    /// Queued before it is decided, or executed before it is queued and its delay is over.
    function attackHaste(uint256 seed) external {
        seed = _begin(seed);
        vm.assume(_live.length != 0);
        uint256 which = _live[seed % _live.length];
        Proposal storage proposal = _proposals[which];
        IGovernor.ProposalState state = governor.state(proposal.id);
        if (seed >> 8 & 1 == 0) {
            vm.assume(state != IGovernor.ProposalState.Succeeded);
            try governor.queue(_only(proposal.target), new uint256[](1), _only(proposal.data), keccak256(bytes(_description(which)))) {
                executedWrongly = _wrong("I18: decided and delayed");
            } catch {}
            return;
        }
        bool due = proposal.queuedAt != 0 && block.timestamp >= uint256(proposal.queuedAt) + proposal.delaySeconds;
        vm.assume(!due || state != IGovernor.ProposalState.Queued);
        try this.executeFor(which) {
            executedWrongly = _wrong("I18: decided and delayed");
        } catch {}
    }

    /// For this contract's own tries.
    function executeFor(uint256 which) external {
        vm.assume(msg.sender == address(this));
        _execute(which);
    }

    function _execute(uint256 which) private {
        Proposal storage proposal = _proposals[which];
        governor.execute(_only(proposal.target), new uint256[](1), _only(proposal.data), keccak256(bytes(_description(which))));
    }

    function _mustFail(uint256 which) private view returns (bool) {
        Proposal storage proposal = _proposals[which];
        return proposal.mustFail || (proposal.kind == CLAIM_CREDIT && due[address(timelock)] == 0);
    }

    /// By this contract's own count of votes: quorum and threshold of its class when it was proposed, the delay, and no guardian's no.
    function _wasDecided(Proposal storage proposal) private view returns (bool) {
        uint256 electorate = membership.getPastTotalSupply(proposal.snapshot);
        (uint256 inFavour, uint256 against) = (proposal.forVotes, proposal.againstVotes);
        return (inFavour + proposal.abstainVotes) * 1_000_000 >= electorate * proposal.quorumPpm
            && inFavour * 1_000_000 > (inFavour + against) * proposal.thresholdPpm && proposal.queuedAt != 0
            && block.timestamp >= uint256(proposal.queuedAt) + proposal.delaySeconds && !proposal.guardianSaidNo;
    }

    /// Executed are those that the acts above executed, no others.
    function checkProposals() external view {
        for (uint256 i = 0; i < _live.length; ++i) {
            Proposal storage proposal = _proposals[_live[i]];
            bool executed = governor.state(proposal.id) == IGovernor.ProposalState.Executed;
            vm.assertTrue(executed == proposal.executed, "I18: executed by its act");
        }
        vm.assertTrue(!executedWrongly, "I18: decided and delayed");
    }

    function _proposedSoFar() internal view override returns (uint256) {
        return _proposals.length;
    }

    function _liveIn(uint256 seed, IGovernor.ProposalState state) private view returns (bool found, uint256 which) {
        uint256 count = _live.length;
        for (uint256 i = 0; i < count; ++i) {
            which = _live[((seed >> 128) + i) % count];
            if (!_proposals[which].over && governor.state(_proposals[which].id) == state) return (true, which);
        }
    }

    function _isOver(uint256 which) private view returns (bool) {
        if (_proposals[which].over) return true;
        IGovernor.ProposalState state = governor.state(_proposals[which].id);
        return state == IGovernor.ProposalState.Defeated || state == IGovernor.ProposalState.Canceled || state == IGovernor.ProposalState.Expired;
    }

    function _drop(uint256 at) private {
        _live[at] = _live[_live.length - 1];
        _live.pop();
    }

    function _description(uint256 number) internal pure returns (string memory) {
        return string(abi.encodePacked(bytes32(number + 1)));
    }

    function _only(address one) internal pure returns (address[] memory list) {
        list = new address[](1);
        list[0] = one;
    }

    function _only(bytes memory one) internal pure returns (bytes[] memory list) {
        list = new bytes[](1);
        list[0] = one;
    }
}
