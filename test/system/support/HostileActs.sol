// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IDatasetRegistry} from "../../../contracts/interfaces/IDatasetRegistry.sol";
import {Messages} from "../../../contracts/libraries/Messages.sol";
import {GovernanceActs} from "./GovernanceActs.sol";

/// @title Every role against people and their money, and signatures that were made for something else.
abstract contract HostileActs is GovernanceActs {
    bool public roleOverstepped;
    bool public forgeryPassed;

    /// Deployer, registrar, guardian, governor, timelock, collectors, providers: none may act for a person.
    function roleAttacks(uint256 seed) external {
        (address target, bytes memory data) = hostileCall(seed);
        vm.prank(_role(seed));
        (bool done,) = target.call(data);
        if (done) roleOverstepped = true;
    }

    /// The timelock with any bytes at any contract, as a majority could make it.
    function governArbitrarily(uint256 seed, bytes calldata data) external {
        address[6] memory targets =
            [address(datasets), address(models), address(escrow), address(royalties), address(membership), address(providers)];
        vm.prank(address(timelock));
        (bool done,) = targets[seed % 6].call(data);
        vm.assume(done);
    }

    /// The timelock does at once what a proposal would do after its delay.
    function governAtOnce(uint256 seed) external {
        (address target, bytes memory data) = _callOf(seed);
        vm.assume(target == address(parameters) || target == address(models));
        vm.prank(address(timelock));
        (bool done,) = target.call(data);
        vm.assume(done);
    }

    /// A genuine signature over another chain, another contract, or with one parameter changed.
    function forge(uint256 seed) external {
        Offered storage offer = _offers[seed % _offers.length];
        IDatasetRegistry.Narrowing memory narrowing = IDatasetRegistry.Narrowing(0xff, 1, 0);
        uint256 deadline = block.timestamp + 1;
        bytes32 structHash = keccak256(abi.encode(Messages.NARROW_DATASET, offer.id, narrowing, deadline));
        bytes32 domain = _domain("DatasetRegistry", block.chainid, address(datasets));
        uint256 kind = (seed >> 8) % 7;
        if (kind == 0) domain = _domain("DatasetRegistry", block.chainid + 1, address(datasets));
        if (kind == 1) domain = _domain("DatasetRegistry", block.chainid, address(models));
        if (kind == 2) domain = _domain("ModelRegistry", block.chainid, address(datasets));
        if (kind == 3) narrowing.removePurposes = 0x7f;
        if (kind == 4) narrowing.removeJurisdictions = 2;
        if (kind == 5) narrowing.endsAt = _now();
        if (kind == 6) deadline += 1;
        bytes memory signature = _sign(offer.owner, keccak256(abi.encodePacked(hex"1901", domain, structHash)));
        try datasets.narrowBySig(offer.id, narrowing, deadline, signature) {
            forgeryPassed = true;
        } catch {}
        _forgeMoney(seed >> 16);
    }

    /// A thaw and a withdrawal from a pool, signed by somebody else or for something else.
    function _forgeMoney(uint256 seed) private {
        bytes32 structHash = Messages.hashStartThaw(idOf(seed), 1, seed, block.timestamp);
        bytes memory signature = _signFor(keyOf(seed, 0), address(escrow), structHash);
        try escrow.startThawBySig(account(seed), 2, seed, block.timestamp, signature) {
            forgeryPassed = true;
        } catch {}
        try escrow.startThawBySig(account(seed + 1), 1, seed, block.timestamp, signature) {
            forgeryPassed = true;
        } catch {}
        bytes32 pool = _poolAt(seed);
        uint256 key = PERSON + seed % PEOPLE;
        signature = _signFor(key, address(datasets), Messages.hashWithdrawFromPool(pool, addressOf(key)));
        try datasets.withdrawFromPoolBySig(pool, addressOf(PERSON + (seed + 1) % PEOPLE), signature) {
            forgeryPassed = true;
        } catch {}
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
}
