// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IGovernor} from "@openzeppelin/contracts/governance/IGovernor.sol";
import {Strings} from "@openzeppelin/contracts/utils/Strings.sol";
import {ICooperativeGovernor} from "../../../contracts/interfaces/ICooperativeGovernor.sol";
import {ICooperativeParameters} from "../../../contracts/interfaces/ICooperativeParameters.sol";
import {CooperativeTest} from "../support/Cooperative.sol";
import {SignatureAttacks} from "../support/SignatureAttacks.sol";

contract GovernorSignaturesTest is CooperativeTest, SignatureAttacks {
    uint256 private constant PROPOSE = 0;
    uint256 private constant CANCEL = 1;
    uint256 private constant VOTE = 2;
    uint256 private constant DEADLINE = START + 30 days;
    string private constant DESCRIPTION = "a proposal";
    string private constant PROPOSE_TYPE = "Propose(uint256 proposalId,address proposer,uint256 deadline)";

    address private proposer = vm.addr(genesisKey(0));

    function _count() internal pure override returns (uint256) {
        return 3;
    }

    function _asksKeyFirst(uint256 index) internal pure override returns (bool) {
        return index != VOTE;
    }

    function _prepare(uint256 index) internal override returns (Act memory act) {
        act.verifier = address(governor);
        act.domain = "CooperativeGovernor";
        act.key = genesisKey(0);
        act.refusal = IGovernor.GovernorInvalidSignature.selector;
        if (index == PROPOSE) {
            (act.name, act.deadline, act.expiry) = ("proposeBySig", DEADLINE, ICooperativeGovernor.GovernorSignatureExpired.selector);
            act.words = _words(PROPOSE_TYPE, abi.encode(_id(DESCRIPTION), proposer, DEADLINE));
            return act;
        }
        (address[] memory targets, uint256[] memory values, bytes[] memory calldatas) = _calls();
        vm.prank(proposer);
        governor.propose(targets, values, calldatas, DESCRIPTION);
        if (index == CANCEL) {
            act.name = "cancelBySig";
            act.words = _words("CancelProposal(uint256 proposalId)", abi.encode(_id(DESCRIPTION)));
        } else {
            vm.warp(governor.proposalSnapshot(_id(DESCRIPTION)) + 1);
            act.name = "castVoteBySig";
            act.words = _words(
                "Ballot(uint256 proposalId,uint8 support,address voter,uint256 nonce)", abi.encode(_id(DESCRIPTION), 1, proposer, 0)
            );
        }
    }

    function _encode(uint256 index, bytes memory signature) internal view override returns (bytes memory) {
        (address[] memory targets, uint256[] memory values, bytes[] memory calldatas) = _calls();
        if (index == PROPOSE) {
            return abi.encodeCall(ICooperativeGovernor.proposeBySig, (targets, values, calldatas, DESCRIPTION, proposer, DEADLINE, signature));
        }
        if (index == CANCEL) {
            return abi.encodeCall(ICooperativeGovernor.cancelBySig, (targets, values, calldatas, keccak256(bytes(DESCRIPTION)), signature));
        }
        return abi.encodeCall(IGovernor.castVoteBySig, (_id(DESCRIPTION), 1, proposer, signature));
    }

    function _state(uint256) internal view override returns (bytes32) {
        uint256 proposalId = _id(DESCRIPTION);
        (uint256 against, uint256 for_, uint256 abstain) = governor.proposalVotes(proposalId);
        bool isCanceled = governor.proposalSnapshot(proposalId) != 0 && governor.state(proposalId) == IGovernor.ProposalState.Canceled;
        return keccak256(abi.encode(governor.proposalProposer(proposalId), isCanceled, against, for_, abstain));
    }

    function test_ProposeBySig_IsTheSignersProposal() public {
        _propose(DESCRIPTION, genesisKey(0));
        vm.assertEq(governor.proposalProposer(_id(DESCRIPTION)), proposer);
        vm.assertTrue(governor.proposalClass(_id(DESCRIPTION)) == ICooperativeGovernor.ProposalClass.Ordinary);
    }

    function test_ProposeBySig_WorksInTheLastSecondOfItsDeadline() public {
        vm.warp(DEADLINE);
        _propose(DESCRIPTION, genesisKey(0));
        vm.assertEq(governor.proposalProposer(_id(DESCRIPTION)), proposer);
    }

    /// The relayer's own vote is no help to somebody who has none.
    function test_ProposeBySig_RevertWhen_TheSignerHasNoVote() public {
        (address[] memory targets, uint256[] memory values, bytes[] memory calldatas) = _calls();
        address stranger = vm.addr(0xBAD);
        Act memory act = _prepare(PROPOSE);
        act.words = _words(PROPOSE_TYPE, abi.encode(_id(DESCRIPTION), stranger, DEADLINE));
        bytes memory signature = _signWith(0xBAD, act);
        vm.expectRevert(abi.encodeWithSelector(IGovernor.GovernorInsufficientProposerVotes.selector, stranger, 0, 1));
        vm.prank(proposer);
        governor.proposeBySig(targets, values, calldatas, DESCRIPTION, stranger, DEADLINE, signature);
    }

    /// Whoever reads a proposal on its way can't make it their own, and then cancel it.
    function test_ProposeBySig_RevertWhen_TheDescriptionNamesAnotherProposer() public {
        string memory named = string.concat(DESCRIPTION, " #proposer=", Strings.toHexString(proposer));
        (address[] memory targets, uint256[] memory values, bytes[] memory calldatas) = _calls();
        address other = vm.addr(genesisKey(1));
        Act memory act = _prepare(PROPOSE);
        act.words = _words(PROPOSE_TYPE, abi.encode(_id(named), other, DEADLINE));
        bytes memory signature = _signWith(genesisKey(1), act);
        vm.expectRevert(abi.encodeWithSelector(IGovernor.GovernorRestrictedProposer.selector, other));
        governor.proposeBySig(targets, values, calldatas, named, other, DEADLINE, signature);
        _propose(named, genesisKey(0));
        vm.assertEq(governor.proposalProposer(_id(named)), proposer);
    }

    function test_CancelBySig_RevertWhen_VotingHasBegun() public {
        Act memory act = _prepare(CANCEL);
        vm.warp(governor.proposalSnapshot(_id(DESCRIPTION)) + 1);
        (address[] memory targets, uint256[] memory values, bytes[] memory calldatas) = _calls();
        bytes memory signature = _signWith(genesisKey(0), act);
        vm.expectRevert(abi.encodeWithSelector(IGovernor.GovernorUnableToCancel.selector, _id(DESCRIPTION), proposer));
        governor.cancelBySig(targets, values, calldatas, keccak256(bytes(DESCRIPTION)), signature);
    }

    function _propose(string memory description, uint256 key) private {
        (address[] memory targets, uint256[] memory values, bytes[] memory calldatas) = _calls();
        Act memory act = _prepare(PROPOSE);
        act.words = _words(PROPOSE_TYPE, abi.encode(_id(description), vm.addr(key), DEADLINE));
        governor.proposeBySig(targets, values, calldatas, description, vm.addr(key), DEADLINE, _signWith(key, act));
    }

    function _id(string memory description) private view returns (uint256) {
        (address[] memory targets, uint256[] memory values, bytes[] memory calldatas) = _calls();
        return governor.hashProposal(targets, values, calldatas, keccak256(bytes(description)));
    }

    function _calls() private view returns (address[] memory targets, uint256[] memory values, bytes[] memory calldatas) {
        (targets, values, calldatas) = (new address[](1), new uint256[](1), new bytes[](1));
        (targets[0], calldatas[0]) = (address(parameters), abi.encodeCall(ICooperativeParameters.setProtocolFee, (20_000)));
    }
}
