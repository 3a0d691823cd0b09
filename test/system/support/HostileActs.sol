// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IGovernor} from "@openzeppelin/contracts/governance/IGovernor.sol";
import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {ICooperativeGovernor} from "../../../contracts/interfaces/ICooperativeGovernor.sol";
import {IDatasetRegistry} from "../../../contracts/interfaces/IDatasetRegistry.sol";
import {Messages} from "../../../contracts/libraries/Messages.sol";
import {GovernanceActs} from "./GovernanceActs.sol";

/// @title The guardian, every role against people and their money, and signatures that were made for something else.
abstract contract HostileActs is GovernanceActs {
    bool public guardianOverstayed;
    bool public forgeryPassed;
    mapping(uint256 model => uint256 mandate) private _suspendedIn;

    // Guardian

    function guardianCancel(uint256 seed) external {
        seed = _begin(seed);
        vm.assume(_live.length != 0 && seed & 3 == 0 && block.timestamp < _mandateEndsAt);
        uint256 which = _live[(seed >> 8) % _live.length];
        Proposal storage proposal = _proposals[which];
        IGovernor.ProposalState state = governor.state(proposal.id);
        bool open = state == IGovernor.ProposalState.Pending || state == IGovernor.ProposalState.Active
            || state == IGovernor.ProposalState.Succeeded || state == IGovernor.ProposalState.Queued;
        vm.assume(open && !proposal.over && bytes4(proposal.data) != governor.setGuardian.selector);
        _cancel(which);
        (proposal.guardianSaidNo, proposal.over) = (true, true);
    }

    function guardianSuspend(uint256 seed) external {
        seed = _begin(seed);
        uint256 model = _modelAt(seed >> 8);
        vm.assume(block.timestamp < _mandateEndsAt && _suspendedIn[model] != _mandate);
        uint40 until = _now() + 1 + uint40((seed >> 32) % 14 days);
        vm.prank(addressOf(_guardianKey));
        governor.guardianSuspend(address(models), _models[model].id, until);
        _suspendedIn[model] = _mandate;
        // It does not lift what members decided.
        if (until > _suspendedUntil[model]) _suspendedUntil[model] = until;
        if (models.model(_models[model].id).suspendedUntil != _suspendedUntil[model]) guardianOverstayed = _wrong("I19: the guardian's bounds");
    }

    /// After its mandate, against its own replacement, for longer than 14 days, twice in a mandate, or by somebody else.
    function attackAsGuardian(uint256 seed) external {
        seed = _begin(seed);
        if (seed & 15 == 0) _warpTo(_mandateEndsAt);
        bool over = block.timestamp >= _mandateEndsAt;
        uint256 model = _modelAt(seed >> 8);
        uint256 kind = (seed >> 24) % 3;
        if (kind == 0 && _live.length != 0) {
            uint256 which = _live[(seed >> 32) % _live.length];
            vm.assume(over || bytes4(_proposals[which].data) == governor.setGuardian.selector);
            try this.cancelFor(which) {
                guardianOverstayed = _wrong("I19: the guardian's bounds");
            } catch {}
            return;
        }
        uint40 until = _now() + 1 + uint40((seed >> 32) % (kind == 1 ? 14 days : 5000 days));
        bool long = until > block.timestamp + 14 days;
        address by = addressOf(kind == 2 && !over && !long ? GUARDIAN + GUARDIAN + 1 - _guardianKey : _guardianKey);
        vm.assume(over || long || kind == 2 || _suspendedIn[model] == _mandate);
        vm.prank(by);
        try governor.guardianSuspend(address(models), _models[model].id, until) {
            guardianOverstayed = _wrong("I19: the guardian's bounds");
        } catch {}
    }

    /// For this contract's own tries.
    function cancelFor(uint256 which) external {
        _cancel(which);
    }

    function _cancel(uint256 which) private {
        Proposal storage proposal = _proposals[which];
        vm.prank(addressOf(_guardianKey));
        governor.guardianCancel(_only(proposal.target), new uint256[](1), _only(proposal.data), keccak256(bytes(_description(which))));
    }

    /// The guardian's own and the members' word, and the longer of the two.
    function checkSuspensions() external view {
        for (uint256 i = _models.length; i > 0 && _models.length - i < LATEST; --i) {
            vm.assertEq(models.model(_models[i - 1].id).suspendedUntil, _suspendedUntil[i - 1], "I19: suspended only by the acts that may");
        }
    }

    // Roles

    /// Deployer, registrar, guardian, governor, timelock, collectors, providers: none may act for a person.
    function attackAsRole(uint256 seed) external {
        seed = _begin(seed);
        (address target, bytes memory data) = hostileCall(seed);
        _attack(_role(seed >> 200), target, data);
    }

    /// What is only the timelock's or the governor's, by everyone else; by the governor too, but for suspending models.
    function attackOffice(uint256 seed) external {
        seed = _begin(seed);
        address role = _role(seed >> 200);
        vm.assume(role != address(timelock));
        (, address target, bytes memory data,) = _decisionOf(_mix(seed, 5));
        vm.assume(target != address(token) && bytes4(data) != escrow.claimCredit.selector && bytes4(data) != models.suspend.selector);
        _attack(role, target, data);
        bytes32 proposerRole = timelock.PROPOSER_ROLE();
        _attack(role, address(timelock), abi.encodeCall(IAccessControl.grantRole, (proposerRole, role)));
    }

    function _attack(address role, address target, bytes memory data) private {
        vm.prank(role);
        (bool done,) = target.call(data);
        if (done) roleOverstepped = _wrong("I13, I19: no role oversteps");
    }

    function _role(uint256 seed) private view returns (address) {
        address[9] memory roles = [
            addressOf(DEPLOYER),
            addressOf(REGISTRAR),
            addressOf(GUARDIAN),
            address(governor),
            address(timelock),
            addressOf(COLLECTOR),
            addressOf(COLLECTOR + 1),
            addressOf(PROVIDER),
            addressOf(PROVIDER + 1)
        ];
        return roles[seed % 9];
    }

    // Forgery: a genuine signature over another chain, another contract, or with one parameter changed

    function attackBySignature(uint256 seed) external {
        seed = _begin(seed);
        if (seed & 1 == 0) _forgeConsent(seed >> 8);
        else _forgeMoney(seed >> 8);
    }

    function _forgeConsent(uint256 seed) private {
        Offered storage offer = _offers[_offerAt(seed)];
        vm.assume(_now() < offer.endsAt);
        IDatasetRegistry.Narrowing memory narrowing = IDatasetRegistry.Narrowing(0xff, type(uint256).max, 0);
        uint256 deadline = block.timestamp + 1;
        bytes32 structHash = keccak256(abi.encode(Messages.NARROW_DATASET, offer.id, narrowing, deadline));
        bytes32 domain = _domain("DatasetRegistry", block.chainid, address(datasets));
        uint256 kind = (seed >> 16) % 8;
        bytes32 id = offer.id;
        if (kind == 0) domain = _domain("DatasetRegistry", block.chainid + 1, address(datasets));
        if (kind == 1) domain = _domain("DatasetRegistry", block.chainid, address(models));
        if (kind == 2) domain = _domain("ModelRegistry", block.chainid, address(datasets));
        if (kind == 3) narrowing.removePurposes = 0x7f;
        if (kind == 4) narrowing.removeJurisdictions -= 2;
        if (kind == 5) narrowing.endsAt = _now();
        if (kind == 6) deadline += 1;
        if (kind == 7) vm.assume((id = _offers[_offerAt(seed >> 24)].id) != offer.id);
        bytes memory signature = _sign(PERSON + offer.owner, keccak256(abi.encodePacked(hex"1901", domain, structHash)));
        try datasets.narrowBySig(id, narrowing, deadline, signature) {
            forgeryPassed = _wrong("I14: signatures bind");
        } catch {}
    }

    /// A thaw of another amount, of another account or with another nonce, and a key with a higher cap.
    function _forgeMoney(uint256 seed) private {
        uint256 index = seed % ACCOUNTS;
        uint256 nonce = 1 << 128 | seed >> 128;
        uint256 kind = (seed >> 8) % 4;
        if (kind == 3) {
            address key = addressOf(GRANTED + (seed >> 16) % GRANTED_KEYS);
            bytes memory grant = _signFor(keyOf(index, 0), address(escrow), Messages.hashGrantKey(idOf(index), key, 1e12, NEVER, type(uint32).max));
            try escrow.grantKeyBySig(account(index), key, 1e12 + 1, NEVER, type(uint32).max, grant) {
                forgeryPassed = _wrong("I14: signatures bind");
            } catch {}
            return;
        }
        vm.assume(_purses[index].deposit > _purses[index].charged + 1);
        bytes memory signature = _signFor(keyOf(index, 0), address(escrow), Messages.hashStartThaw(idOf(index), 1, nonce, block.timestamp));
        uint256 of_ = kind == 0 ? (index + 3) % 6 + index / 6 * 6 : index; // the same payer's other account
        try escrow.startThawBySig(account(of_), kind == 1 ? 2 : 1, kind == 2 ? nonce + 1 : nonce, block.timestamp, signature) {
            forgeryPassed = _wrong("I14: signatures bind");
        } catch {}
    }
}
