// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {ICooperativeGovernor} from "../../../contracts/interfaces/ICooperativeGovernor.sol";
import {IDatasetRegistry} from "../../../contracts/interfaces/IDatasetRegistry.sol";
import {IModelRegistry} from "../../../contracts/interfaces/IModelRegistry.sol";
import {IRoyaltyLedger} from "../../../contracts/interfaces/IRoyaltyLedger.sol";
import {MemberActs} from "./MemberActs.sol";

/// @title What members may decide, what they may be talked into deciding, and what each decision changes.
/// @dev Not among them: updateTimelock, and settings with which nobody could ever vote again. A majority may; nothing would happen after it.
abstract contract Decisions is MemberActs {
    uint256 private constant KINDS = 20;
    uint8 internal constant CLAIM_CREDIT = 13;
    uint8 private constant HOSTILE = 16; // and above

    ICooperativeGovernor.ClassRule[3] internal _rules;
    uint256 internal _delaySeconds = TIMELOCK_SECONDS;
    uint256 internal _guardianKey = GUARDIAN;
    uint40 internal _mandateEndsAt;
    uint256 internal _mandate = 1;
    mapping(uint256 model => uint40) internal _suspendedUntil;
    bool public roleOverstepped;
    bool public decisionWasLost;

    constructor() {
        for (uint256 i = 0; i < 3; ++i) _rules[i] = ICooperativeGovernor.ClassRule(QUORUM_PPM, THRESHOLD_PPM);
        _mandateEndsAt = governor.mandateEndsAt();
    }

    /// Every function that the timelock may call, half of them with sensible arguments and half with any; and what only a person may do.
    function _decisionOf(uint256 seed) internal view returns (uint8 kind, address target, bytes memory data, bool mustFail) {
        kind = uint8(seed % KINDS);
        bool sensible = seed >> 8 & 1 == 0;
        uint256 word = seed >> 16;
        if (kind >= HOSTILE) {
            (target, data) = hostileCall(word);
            mustFail = true;
            if (kind == HOSTILE) (target, data) = (address(governor), abi.encodeCall(governor.relay, (target, 0, data)));
        } else if (kind < 6) {
            (target, data, mustFail) = _ofParameters(kind, sensible, word);
        } else if (kind < 12) {
            (target, data, mustFail) = _ofGovernor(kind, sensible, word);
        } else {
            (target, data, mustFail) = _ofTheRest(kind, sensible, word);
        }
    }

    function _ofParameters(uint8 kind, bool sensible, uint256 word) private view returns (address target, bytes memory data, bool mustFail) {
        target = address(parameters);
        uint256 fee = uint32(sensible ? word % 50_001 : word);
        if (kind == 1) return (target, abi.encodeCall(parameters.setTreasury, (word & 1 == 0 ? address(timelock) : SECOND_TREASURY)), false);
        if (kind == 2) return (target, abi.encodeCall(parameters.setTreasury, (address(0))), true);
        if (kind == 3) return (target, abi.encodeCall(parameters.setRegistrar, (addressOf(REGISTRAR + word % 2))), false);
        if (kind == 4 && parameters.purposes() < 24) {
            bytes memory name = abi.encodePacked(sensible ? word : 0, _proposedSoFar());
            return (target, abi.encodeCall(parameters.addPurpose, (string(name))), false);
        }
        if (kind == 5 && !sensible) return (target, abi.encodeCall(parameters.addPurpose, (string(new bytes(65)))), true);
        return (target, abi.encodeCall(parameters.setProtocolFee, (uint32(fee))), fee > 50_000);
    }

    function _ofGovernor(uint8 kind, bool sensible, uint256 word) private view returns (address target, bytes memory data, bool mustFail) {
        target = address(governor);
        if (kind == 6) {
            uint40 endsAt = uint40(sensible ? block.timestamp + word % 16 days : word % 2 ** 40);
            // Between proposal and execution pass at most a few weeks.
            bool near = endsAt > block.timestamp + 366 days && endsAt < block.timestamp + 466 days;
            if (near) endsAt = 0;
            data = abi.encodeCall(governor.setGuardian, (addressOf(GUARDIAN + word % 2), endsAt));
            return (target, data, endsAt > block.timestamp + 366 days);
        }
        if (kind == 7) {
            uint32 quorum = uint32(sensible ? 10_000 + word % 400_000 : word);
            uint32 threshold = uint32(sensible ? 500_000 + (word >> 32) % 200_000 : word >> 32);
            bool fits = quorum >= 10_000 && quorum <= 600_000 && threshold >= 500_000 && threshold <= 900_000;
            ICooperativeGovernor.ProposalClass class = ICooperativeGovernor.ProposalClass((word >> 64) % 3);
            return (target, abi.encodeCall(governor.setClassRule, (class, ICooperativeGovernor.ClassRule(quorum, threshold))), !fits);
        }
        if (kind == 8) return (target, abi.encodeCall(governor.setVotingDelay, (uint48(word % 1 hours))), false);
        if (kind == 9) return (target, abi.encodeCall(governor.setVotingPeriod, (sensible ? uint32(1 hours + word % 7 hours) : 0)), !sensible);
        if (kind == 10) return (target, abi.encodeCall(governor.setLateQuorumVoteExtension, (uint48(word % 30 minutes))), false);
        return (target, abi.encodeCall(governor.setProposalThreshold, (word % 2)), false);
    }

    function _ofTheRest(uint8 kind, bool sensible, uint256 word) private view returns (address target, bytes memory data, bool mustFail) {
        if (kind == 12) return (address(timelock), abi.encodeCall(timelock.updateDelay, (word % 2 hours)), false);
        if (kind == CLAIM_CREDIT) return (address(escrow), abi.encodeCall(escrow.claimCredit, (address(timelock))), false);
        if (kind == 14) {
            uint256 amount = sensible ? word % 1000 : 1e12 + word % 2 ** 200;
            return (address(token), abi.encodeCall(token.transfer, (ELSEWHERE, amount)), amount >= 1e12);
        }
        uint40 until = uint40(sensible ? block.timestamp + word % 30 days : word % 2 ** 40);
        bytes32 modelId = (word >> 40) % 8 == 0 ? bytes32(word) : _models[(word >> 43) % _models.length].id;
        return (address(models), abi.encodeCall(models.suspend, (modelId, until)), (word >> 40) % 8 == 0);
    }

    /// What an executed decision must have changed, here and there.
    function _note(uint8 kind, bytes memory decision) internal {
        bytes memory data = _arguments(decision);
        bytes4 selector = bytes4(decision);
        if (selector == parameters.setProtocolFee.selector) _kept(parameters.protocolFeePpm() == abi.decode(data, (uint32)));
        if (selector == parameters.setTreasury.selector) _kept(parameters.treasury() == abi.decode(data, (address)));
        if (selector == parameters.setRegistrar.selector) {
            _registrarKey = abi.decode(data, (address)) == addressOf(REGISTRAR) ? REGISTRAR : REGISTRAR + 1;
            _kept(parameters.registrar() == addressOf(_registrarKey));
        }
        if (kind == 6) {
            address guardian;
            (guardian, _mandateEndsAt) = abi.decode(data, (address, uint40));
            _guardianKey = guardian == addressOf(GUARDIAN) ? GUARDIAN : GUARDIAN + 1;
            ++_mandate;
            _kept(governor.guardian() == guardian && governor.mandateEndsAt() == _mandateEndsAt);
        }
        if (kind == 7) {
            (uint256 class, ICooperativeGovernor.ClassRule memory rule) = abi.decode(data, (uint256, ICooperativeGovernor.ClassRule));
            _rules[class] = rule;
        }
        if (kind == 12) {
            _delaySeconds = abi.decode(data, (uint256));
            _kept(timelock.getMinDelay() == _delaySeconds);
        }
        if (kind == CLAIM_CREDIT) {
            claimed += due[address(timelock)];
            due[address(timelock)] = 0;
        }
        if (kind == 15) {
            (bytes32 modelId, uint40 until) = abi.decode(data, (bytes32, uint40));
            for (uint256 i = 0; i < _models.length; ++i) if (_models[i].id == modelId) _suspendedUntil[i] = until;
            _kept(models.model(modelId).suspendedUntil == until);
        }
    }

    function _kept(bool same) private {
        if (!same) decisionWasLost = _wrong("I18: what was decided is done");
    }

    function _arguments(bytes memory decision) private pure returns (bytes memory data) {
        data = new bytes(decision.length - 4);
        for (uint256 i = 0; i < data.length; i += 32) {
            assembly ("memory-safe") {
                mstore(add(add(data, 0x20), i), mload(add(add(decision, 0x24), i)))
            }
        }
    }

    /// Against whom it concerns: only the person itself may do these. In one of four some word is another than a thief would send.
    function hostileCall(uint256 seed) internal view returns (address target, bytes memory data) {
        (target, data) = _againstAPerson(seed >> 8, _offers[_offerAt(seed >> 24)]);
        if (seed & 3 != 0 || data.length < 36) return (target, data);
        uint256[4] memory words = [seed >> 16, 0, block.timestamp, type(uint256).max];
        uint256 word = words[(seed >> 2) & 3];
        uint256 at = 36 + 32 * ((seed >> 4) % ((data.length - 4) / 32));
        assembly ("memory-safe") {
            mstore(add(data, at), word)
        }
    }

    function _againstAPerson(uint256 seed, Offered storage offer) private view returns (address target, bytes memory data) {
        uint256 kind = seed % 18;
        seed >>= 8;
        address person = _person(offer.owner);
        bytes32 pool = _offers[_poolAt(seed)].id;
        if (kind == 0) return (address(datasets), abi.encodeCall(datasets.withdraw, (offer.id)));
        if (kind == 1) return (address(datasets), abi.encodeCall(datasets.narrow, (offer.id, IDatasetRegistry.Narrowing(0xff, 1, 0))));
        if (kind == 2) return (address(datasets), abi.encodeCall(datasets.announceShareTable, (pool, IDatasetRegistry.ShareTable("r", 1, _epoch() + 1, "d"))));
        if (kind == 3) {
            bytes32 termsHash = datasets.dataset(offer.id).termsHash;
            return (address(datasets), abi.encodeCall(datasets.register, (IDatasetRegistry.Registration(person, "c", termsHash, "s", false, person))));
        }
        if (kind == 4) return (address(datasets), abi.encodeCall(datasets.withdrawFromPoolBySig, (pool, person, new bytes(65))));
        if (kind == 5) return (address(datasets), abi.encodeCall(datasets.withdrawBySig, (offer.id, person, new bytes(65))));
        if (kind == 6) return (address(models), abi.encodeCall(models.register, (_anyModel(person))));
        if (kind == 7) return (address(royalties), abi.encodeCall(royalties.creditIncome, (_models[0].id, _epoch(), 1e6)));
        if (kind == 8) {
            uint64[] memory epochs = _one(_epoch() - 1);
            return (address(royalties), abi.encodeCall(royalties.claim, (IRoyaltyLedger.Claim(offer.id, person, epochs, 0, new bytes32[](0)), ELSEWHERE)));
        }
        if (kind == 9) return (address(escrow), abi.encodeCall(escrow.payRoyalty, (ELSEWHERE, uint128(1 + seed % 1e6))));
        if (kind == 10) return (address(escrow), abi.encodeCall(escrow.withdraw, (account(seed % ACCOUNTS), ELSEWHERE)));
        if (kind == 11) return (address(escrow), abi.encodeCall(escrow.startThaw, (account(seed % ACCOUNTS), 1)));
        if (kind == 12) return (address(escrow), abi.encodeCall(escrow.cancelThaw, (account(seed % ACCOUNTS))));
        if (kind == 13) return (address(escrow), abi.encodeCall(escrow.grantKey, (account(seed % ACCOUNTS), addressOf(DEPLOYER), 1e12, NEVER, 1 << 31)));
        if (kind == 14) return (address(escrow), abi.encodeCall(escrow.revokeKey, (account(seed % ACCOUNTS), addressOf(GRANTED))));
        if (kind == 15) return (address(membership), abi.encodeCall(membership.leaveBySig, (person, new bytes(65))));
        uint256 memberId = 1 + seed % _members.length;
        if (kind == 16) return (address(membership), abi.encodeCall(membership.transferFrom, (addressOf(_members[memberId - 1].key), ELSEWHERE, memberId)));
        return (address(membership), abi.encodeCall(membership.approve, (ELSEWHERE, memberId)));
    }

    function _anyModel(address author) private pure returns (IModelRegistry.Registration memory) {
        return IModelRegistry.Registration(author, "o", "m", new IModelRegistry.DatasetShare[](0), new bytes32[](0), 1, 1000, 0);
    }

    function _proposedSoFar() internal view virtual returns (uint256);
}
