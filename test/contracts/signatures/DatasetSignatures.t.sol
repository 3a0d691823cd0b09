// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {IDatasetRegistry} from "../../../contracts/interfaces/IDatasetRegistry.sol";
import {ConsentTest} from "../support/ConsentTest.sol";
import {SignatureAttacks} from "../support/SignatureAttacks.sol";

contract DatasetSignaturesTest is ConsentTest, SignatureAttacks {
    uint256 private constant REGISTER = 0;
    uint256 private constant NARROW = 1;
    uint256 private constant WITHDRAW = 2;
    uint256 private constant WITHDRAW_BY_RECOVERY = 3;
    uint256 private constant LEAVE_POOL = 4;
    uint256 private constant ANNOUNCE = 5;
    uint256 private constant DEADLINE = START + 1 days;

    bytes32 private single;
    bytes32 private pool;
    IDatasetRegistry.Registration private registration;
    IDatasetRegistry.Narrowing private narrowing = IDatasetRegistry.Narrowing({removePurposes: 2, removeJurisdictions: 4, endsAt: START + 9});
    IDatasetRegistry.ShareTable private table =
        IDatasetRegistry.ShareTable({root: "root", totalShares: 7, fromEpoch: START / EPOCH + 1, dataDigest: "digest"});

    function setUp() public override {
        super.setUp();
        single = _single();
        pool = _register(_terms(), true);
        registration = _registration(_terms(), false);
    }

    function _count() internal pure override returns (uint256) {
        return 6;
    }

    function _prepare(uint256 index) internal view override returns (Act memory act) {
        act.verifier = address(datasets);
        act.domain = "DatasetRegistry";
        act.key = index == WITHDRAW_BY_RECOVERY ? RECOVERY_KEY : OWNER_KEY;
        act.refusal = IDatasetRegistry.DatasetSignatureInvalid.selector;
        act.deadline = DEADLINE;
        if (index == REGISTER) {
            (act.name, act.expiry) = ("registerBySig", IDatasetRegistry.DatasetSignatureExpired.selector);
            act.words = _words(
                "RegisterDataset(address owner,bytes32 commitment,bytes32 termsHash,bytes32 salt,bool isPool,address recovery,uint256 deadline)",
                abi.encode(registration, DEADLINE)
            );
        } else if (index == NARROW) {
            (act.name, act.expiry) = ("narrowBySig", IDatasetRegistry.DatasetSignatureExpired.selector);
            act.words = _words(
                "NarrowDataset(bytes32 datasetId,uint32 removePurposes,uint256 removeJurisdictions,uint40 endsAt,uint256 deadline)",
                abi.encode(single, narrowing, DEADLINE)
            );
        } else if (index == WITHDRAW || index == WITHDRAW_BY_RECOVERY) {
            (act.name, act.idempotent) = ("withdrawBySig", true);
            act.words = _words("WithdrawDataset(bytes32 datasetId)", abi.encode(single));
        } else if (index == LEAVE_POOL) {
            (act.name, act.idempotent) = ("withdrawFromPoolBySig", true);
            act.words = _words("WithdrawFromPool(bytes32 poolId,address account)", abi.encode(pool, owner));
        } else {
            (act.name, act.expiry) = ("announceShareTableBySig", IDatasetRegistry.DatasetSignatureExpired.selector);
            act.words = _words(
                "AnnounceShareTable(bytes32 poolId,bytes32 root,uint128 totalShares,uint64 fromEpoch,bytes32 dataDigest,uint256 deadline)",
                abi.encode(pool, table, DEADLINE)
            );
        }
    }

    function _encode(uint256 index, bytes memory signature) internal view override returns (bytes memory) {
        if (index == REGISTER) return abi.encodeCall(IDatasetRegistry.registerBySig, (registration, DEADLINE, signature));
        if (index == NARROW) return abi.encodeCall(IDatasetRegistry.narrowBySig, (single, narrowing, DEADLINE, signature));
        if (index == WITHDRAW) return abi.encodeCall(IDatasetRegistry.withdrawBySig, (single, owner, signature));
        if (index == WITHDRAW_BY_RECOVERY) return abi.encodeCall(IDatasetRegistry.withdrawBySig, (single, recovery, signature));
        if (index == LEAVE_POOL) return abi.encodeCall(IDatasetRegistry.withdrawFromPoolBySig, (pool, owner, signature));
        return abi.encodeCall(IDatasetRegistry.announceShareTableBySig, (pool, table, DEADLINE, signature));
    }

    function _state(uint256) internal view override returns (bytes32) {
        bytes32 registered = datasets.datasetIdOf(registration.owner, registration.commitment, registration.salt);
        return keccak256(
            abi.encode(
                datasets.dataset(registered),
                datasets.dataset(single),
                datasets.serveEnds(single, type(uint32).max, START),
                datasets.leftPool(pool, owner),
                datasets.shareTables(pool),
                _root(pool, table.fromEpoch)
            )
        );
    }

    function test_AnnounceBySig_IsTheStewardsAct() public {
        Act memory act = _prepare(ANNOUNCE);
        act.words[1] = single;
        bytes memory signature = _signWith(OWNER_KEY, act);
        vm.expectRevert(abi.encodeWithSelector(IDatasetRegistry.DatasetNotPool.selector, single));
        datasets.announceShareTableBySig(single, table, DEADLINE, signature);
        datasets.announceShareTableBySig(pool, table, DEADLINE, _signWith(OWNER_KEY, _prepare(ANNOUNCE)));
        vm.assertEq(_root(pool, table.fromEpoch), "root");
        vm.assertEq(_totalShares(pool, table.fromEpoch), 7);
    }
}
