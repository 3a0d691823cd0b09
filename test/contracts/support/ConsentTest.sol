// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {DatasetRegistry} from "../../../contracts/DatasetRegistry.sol";
import {IDatasetRegistry} from "../../../contracts/interfaces/IDatasetRegistry.sol";
import {TestKit} from "./Vm.sol";

/// A wallet whose one key signs for it (ERC-1271).
contract Wallet {
    address private immutable KEY;

    constructor(address key) {
        KEY = key;
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        address signer = ecrecover(digest, uint8(signature[64]), bytes32(signature[:32]), bytes32(signature[32:64]));
        return signer == KEY ? this.isValidSignature.selector : bytes4(0);
    }
}

/// A dataset registry, owners with keys, and terms that suit most tests.
abstract contract ConsentTest is TestKit {
    uint40 internal constant EPOCH = 1 hours;
    uint40 internal constant START = 1_800_000_000;
    uint40 internal constant UNTIL = START + 365 days;
    uint40 internal constant NEVER = type(uint40).max;
    uint256 internal constant OWNER_KEY = 0xA11CE;
    uint256 internal constant RECOVERY_KEY = 0x4EC0;
    bytes32 internal constant SALT = "salt";

    DatasetRegistry internal datasets;
    address internal owner = vm.addr(OWNER_KEY);
    address internal recovery = vm.addr(RECOVERY_KEY);
    uint256 private _registered;

    function setUp() public virtual {
        vm.warp(START);
        datasets = new DatasetRegistry(EPOCH);
    }

    function _terms() internal pure returns (IDatasetRegistry.Terms memory terms) {
        terms.validFrom = START - 1 days;
        terms.validUntil = UNTIL;
        terms.purposes = 0xff;
        terms.flags = 2;
        terms.royaltyPpm = 50_000;
        terms.withdrawal = IDatasetRegistry.WithdrawalPolicy.Stop;
        terms.retrainSeconds = 10 days;
        terms.jurisdictions = type(uint256).max;
    }

    function _with(IDatasetRegistry.WithdrawalPolicy policy) internal pure returns (IDatasetRegistry.Terms memory terms) {
        terms = _terms();
        terms.withdrawal = policy;
        if (policy == IDatasetRegistry.WithdrawalPolicy.Sunset) terms.sunsetSeconds = 5 days;
    }

    function _registration(IDatasetRegistry.Terms memory terms, bool isPool) internal returns (IDatasetRegistry.Registration memory) {
        return IDatasetRegistry.Registration({
            owner: owner,
            commitment: keccak256(abi.encode(++_registered)),
            termsHash: datasets.storeTerms(terms),
            salt: SALT,
            isPool: isPool,
            recovery: recovery
        });
    }

    function _single() internal returns (bytes32) {
        return _register(_terms(), false);
    }

    function _register(IDatasetRegistry.Terms memory terms, bool isPool) internal returns (bytes32) {
        IDatasetRegistry.Registration memory registration = _registration(terms, isPool);
        vm.prank(registration.owner);
        return datasets.register(registration);
    }

    function _narrow(bytes32 id, uint32 purposes, uint256 jurisdictions, uint40 endsAt) internal {
        vm.prank(owner);
        datasets.narrow(id, IDatasetRegistry.Narrowing(purposes, jurisdictions, endsAt));
    }

    function _withdraw(bytes32 id) internal {
        vm.prank(owner);
        datasets.withdraw(id);
    }

    function _leaf(address account, uint128 shares) internal pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(account, shares))));
    }

    function _pair(bytes32 a, bytes32 b) internal pure returns (bytes32) {
        return a < b ? keccak256(abi.encode(a, b)) : keccak256(abi.encode(b, a));
    }

    function _proof(bytes32 sibling) internal pure returns (bytes32[] memory proof) {
        proof = new bytes32[](1);
        proof[0] = sibling;
    }

    function _announce(bytes32 poolId, bytes32 root, uint128 totalShares, uint64 fromEpoch) internal {
        vm.prank(owner);
        datasets.announceShareTable(poolId, IDatasetRegistry.ShareTable(root, totalShares, fromEpoch, keccak256("table")));
    }

    function _nextEpoch() internal {
        vm.warp(block.timestamp + EPOCH);
    }

    function _epoch() internal view returns (uint64) {
        return uint64(block.timestamp / EPOCH);
    }

    /// The EIP-712 digest for a Granary contract, written out here so that contracts are not checked by their own code.
    function _digest(string memory contractName, address verifier, bytes32 structHash) internal view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256(bytes(string.concat("Granary ", contractName))),
                keccak256("1"),
                block.chainid,
                verifier
            )
        );
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }

    function _root(bytes32 poolId, uint64 epoch) internal view returns (bytes32 root) {
        (root,) = datasets.shareTableAt(poolId, epoch);
    }

    function _totalShares(bytes32 poolId, uint64 epoch) internal view returns (uint128 totalShares) {
        (, totalShares) = datasets.shareTableAt(poolId, epoch);
    }
}
