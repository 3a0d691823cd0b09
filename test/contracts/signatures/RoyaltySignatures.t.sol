// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {RoyaltyLedger} from "../../../contracts/RoyaltyLedger.sol";
import {IRoyaltyLedger} from "../../../contracts/interfaces/IRoyaltyLedger.sol";
import {LineageTest} from "../support/LineageTest.sol";
import {SignatureAttacks} from "../support/SignatureAttacks.sol";

/// The test is the escrow. An owner claims a dataset alone, an account claims its shares of a pool.
contract RoyaltySignaturesTest is LineageTest, SignatureAttacks {
    uint256 private constant SINGLE = 0;
    uint256 private constant DEADLINE = START + 1 days;
    uint256 private constant NONCE = 7;
    uint128 private constant MOST = 5;
    address private constant TO = address(0x70);

    RoyaltyLedger private ledger;
    bytes32 private single;
    bytes32 private pool;
    uint64 private epoch;
    mapping(address account => uint256) private received;

    function setUp() public override {
        super.setUp();
        ledger = new RoyaltyLedger(address(datasets), address(models));
        single = _single();
        pool = _poolOf(owner, recovery);
        epoch = _epoch();
        bytes32[2] memory sold = [_modelOf(single), _modelOf(pool)];
        for (uint256 i = 0; i < 2; ++i) ledger.creditIncome(sold[i], epoch, 3000);
        _nextEpoch();
        for (uint256 i = 0; i < 2; ++i) ledger.pull(sold[i], 0, _claim(SINGLE).epochs);
    }

    function payRoyalty(address to, uint128 amount) external {
        received[to] += amount;
    }

    function _count() internal pure override returns (uint256) {
        return 2;
    }

    function _prepare(uint256 index) internal view override returns (Act memory act) {
        act.name = index == SINGLE ? "claimBySig" : "claimBySig of shares";
        act.verifier = address(ledger);
        act.domain = "RoyaltyLedger";
        act.key = OWNER_KEY;
        act.words = _words(
            "ClaimRoyalty(bytes32 payeeId,address account,address to,bytes32 epochsHash,uint128 maxRelayerFee,uint256 nonce,uint256 deadline)",
            abi.encode(_claim(index).payeeId, owner, TO, keccak256(abi.encode(epoch)), MOST, NONCE, DEADLINE)
        );
        act.refusal = IRoyaltyLedger.RoyaltySignatureInvalid.selector;
        act.expiry = IRoyaltyLedger.RoyaltySignatureExpired.selector;
        act.deadline = DEADLINE;
    }

    function _encode(uint256 index, bytes memory signature) internal view override returns (bytes memory) {
        return abi.encodeCall(IRoyaltyLedger.claimBySig, (_claim(index), TO, 3, MOST, NONCE, DEADLINE, signature));
    }

    function _state(uint256) internal view override returns (bytes32) {
        return keccak256(abi.encode(received[TO], received[address(this)], ledger.pool(single, epoch), ledger.pool(pool, epoch)));
    }

    function _claim(uint256 index) private view returns (IRoyaltyLedger.Claim memory claim) {
        claim.account = owner;
        claim.epochs = new uint64[](1);
        claim.epochs[0] = epoch;
        claim.payeeId = index == SINGLE ? single : pool;
        if (index != SINGLE) (claim.shares, claim.proof) = (3, _proof(_leaf(recovery, 4)));
    }
}
