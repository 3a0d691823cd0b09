// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {Votes} from "@openzeppelin/contracts/governance/utils/Votes.sol";
import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {ICooperativeParameters} from "./interfaces/ICooperativeParameters.sol";
import {IMembership} from "./interfaces/IMembership.sol";
import {Messages} from "./libraries/Messages.sol";
import {Signatures} from "./libraries/Signatures.sol";

/// @title Chapter 1, contribute: members. Soulbound, one nullifier one vote, votes by timestamp.
contract Membership is IMembership, ERC721, Votes {
    uint256 private constant VOUCHES = 3;
    uint256 private constant MAX_GENESIS = 256;
    uint256 private constant PPM = 1_000_000;

    ICooperativeParameters public immutable PARAMETERS;
    uint40 public immutable PROBATION_SECONDS;
    uint40 public immutable GROWTH_WINDOW_SECONDS;
    uint32 public immutable GROWTH_FLOOR;
    uint32 public immutable GROWTH_PPM;
    uint40 public immutable ROTATION_SECONDS;
    uint256 private immutable GENESIS;

    uint256 private _lastId;
    /// @inheritdoc IMembership
    uint256 public override members;

    mapping(uint256 memberId => Member member) private _members;
    mapping(address account => uint256 memberId) private _memberIds;
    mapping(bytes32 nullifier => bool used) private _nullifierUsed;

    /// @dev Warning: whoever deploys vouches for the genesis members; they have no registrar's nullifier, so the registrar
    /// must not issue one to the same person later.
    constructor(
        address parameters,
        address[] memory genesis,
        uint40 probationSeconds,
        uint40 growthWindowSeconds,
        uint32 growthFloor,
        uint32 growthPpm,
        uint40 rotationSeconds
    ) ERC721("Granary Membership", "MEMBER") EIP712("Granary Membership", "1") {
        require(parameters.code.length > 0, MembershipAccountInvalid(parameters));
        require(growthWindowSeconds > 0 && growthFloor > 0 && growthPpm <= PPM && genesis.length <= MAX_GENESIS, MembershipSettingInvalid());
        PARAMETERS = ICooperativeParameters(parameters);
        PROBATION_SECONDS = probationSeconds;
        GROWTH_WINDOW_SECONDS = growthWindowSeconds;
        GROWTH_FLOOR = growthFloor;
        GROWTH_PPM = growthPpm;
        ROTATION_SECONDS = rotationSeconds;
        GENESIS = genesis.length;

        for (uint256 i = 0; i < genesis.length; ++i) {
            uint256 memberId = _admit(genesis[i], keccak256(abi.encode(genesis[i])), uint40(block.timestamp));
            _giveVote(memberId, genesis[i]);
        }
    }

    // Join

    /// @inheritdoc IMembership
    function join(Application calldata application, bytes calldata applicantSignature, bytes calldata registrarSignature, Vouch[] calldata vouches)
        external
        returns (uint256 memberId)
    {
        (address account, bytes32 nullifier, uint256 deadline) = (application.account, application.nullifier, application.deadline);
        require(block.timestamp <= deadline, MembershipSignatureExpired(block.timestamp, deadline));
        _requireRoomToGrow();
        _requireSignature(account, Messages.hashApplication(account, nullifier, deadline), applicantSignature);
        _requireSignature(PARAMETERS.registrar(), Messages.hashAdmission(account, nullifier, deadline), registrarSignature);
        _requireVouches(Messages.hashVouch(account, nullifier, deadline), vouches);

        return _admit(account, nullifier, uint40(block.timestamp) + PROBATION_SECONDS);
    }

    /// @inheritdoc IMembership
    function activate(uint256 memberId) external {
        address account = _requireOwned(memberId);
        Member storage entry = _members[memberId];
        require(block.timestamp >= entry.activeAt, MembershipOnProbation(memberId, entry.activeAt));
        if (!entry.votes) _giveVote(memberId, account);
    }

    function _admit(address account, bytes32 nullifier, uint40 activeAt) private returns (uint256 memberId) {
        require(_memberIds[account] == 0, MembershipAccountTaken(account));
        require(!_nullifierUsed[nullifier], MembershipNullifierUsed(nullifier));

        memberId = ++_lastId;
        ++members;
        _nullifierUsed[nullifier] = true;
        _memberIds[account] = memberId;
        Member storage entry = _members[memberId];
        (entry.joinedAt, entry.activeAt, entry.nullifier) = (uint40(block.timestamp), activeAt, nullifier);
        _mint(account, memberId);
        emit Locked(memberId);
        emit Joined(memberId, account, nullifier, activeAt);
    }

    function _giveVote(uint256 memberId, address account) private {
        _members[memberId].votes = true;
        _transferVotingUnits(address(0), account, 1);
        emit Activated(memberId);
    }

    /// Joins of the last window are counted exactly: ids rise with time, so the window is full when the join `limit` ids ago
    /// lies within it. The percentage is of those who had a vote when the window began. Genesis members do not count as joins.
    function _requireRoomToGrow() private view {
        uint256 joinedEver = _lastId - GENESIS;
        uint256 windowStart = block.timestamp > GROWTH_WINDOW_SECONDS ? block.timestamp - GROWTH_WINDOW_SECONDS : 0;
        uint256 limit = Math.max(GROWTH_FLOOR, (getPastTotalSupply(windowStart) * GROWTH_PPM) / PPM);
        bool room = joinedEver < limit || _members[_lastId - limit + 1].joinedAt <= windowStart;
        require(room, MembershipGrowthExceeded(limit, limit));
    }

    /// Looks at the first three vouches; more are not needed and not read.
    function _requireVouches(bytes32 structHash, Vouch[] calldata vouches) private view {
        require(vouches.length >= VOUCHES, MembershipVouchesTooFew(vouches.length, VOUCHES));
        for (uint256 i = 0; i < VOUCHES; ++i) {
            address voucher = vouches[i].voucher;
            require(_isBeyondProbation(voucher), MembershipVouchInvalid(voucher));
            for (uint256 j = 0; j < i; ++j) require(vouches[j].voucher != voucher, MembershipVouchInvalid(voucher));
            require(_isSigned(voucher, structHash, vouches[i].signature), MembershipVouchInvalid(voucher));
        }
    }

    // Leave

    /// @inheritdoc IMembership
    function leave() external {
        _leave(_requireMemberId(msg.sender), msg.sender);
    }

    /// @inheritdoc IMembership
    function leaveBySig(address account, bytes calldata signature) external {
        uint256 memberId = _requireMemberId(account);
        _requireSignature(account, Messages.hashLeave(memberId), signature);
        _leave(memberId, account);
    }

    function _leave(uint256 memberId, address account) private {
        Member storage entry = _members[memberId];
        if (entry.left) return;

        bool voted = entry.votes;
        (entry.left, entry.votes, entry.pendingKey, entry.rotatesAt) = (true, false, address(0), 0);
        --members;
        if (voted) _transferVotingUnits(account, address(0), 1);
        _burn(memberId);
        emit Left(memberId, account);
    }

    // Rotate

    /// @inheritdoc IMembership
    function startRotation(address newKey) external {
        _useNonce(msg.sender);
        _startRotation(_requirePresentMemberId(msg.sender), newKey);
    }

    /// @inheritdoc IMembership
    function startRotationBySig(uint256 memberId, address newKey, uint256 deadline, bytes calldata signature) external {
        address account = _requireOwned(memberId);
        require(block.timestamp <= deadline, MembershipSignatureExpired(block.timestamp, deadline));
        uint256 nonce = _useNonce(account);
        bytes32 structHash = Messages.hashStartRotation({memberId: memberId, newKey: newKey, nonce: nonce, deadline: deadline});
        _requireSignature(account, structHash, signature);
        _startRotation(memberId, newKey);
    }

    function _startRotation(uint256 memberId, address newKey) private {
        require(newKey != address(0), MembershipAccountInvalid(newKey));
        require(_memberIds[newKey] == 0, MembershipAccountTaken(newKey));

        uint40 rotatesAt = uint40(block.timestamp) + ROTATION_SECONDS;
        (_members[memberId].pendingKey, _members[memberId].rotatesAt) = (newKey, rotatesAt);
        emit RotationStarted(memberId, newKey, rotatesAt);
    }

    /// @inheritdoc IMembership
    function cancelRotation() external {
        _useNonce(msg.sender);
        _cancelRotation(_requirePresentMemberId(msg.sender));
    }

    /// @inheritdoc IMembership
    function cancelRotationBySig(uint256 memberId, address newKey, uint40 rotatesAt, bytes calldata signature) external {
        address account = _requireOwned(memberId);
        _requireSignature(account, Messages.hashCancelRotation(memberId, newKey, rotatesAt), signature);
        Member storage entry = _members[memberId];
        bool isPending = entry.pendingKey == newKey && entry.rotatesAt == rotatesAt;
        require(isPending || entry.pendingKey == address(0), MembershipOtherRotation(memberId, entry.pendingKey, entry.rotatesAt));
        _cancelRotation(memberId);
    }

    function _cancelRotation(uint256 memberId) private {
        if (_members[memberId].pendingKey == address(0)) return;

        (_members[memberId].pendingKey, _members[memberId].rotatesAt) = (address(0), 0);
        emit RotationCancelled(memberId);
    }

    /// @inheritdoc IMembership
    function finishRotation(uint256 memberId, bytes calldata newKeySignature) external {
        address from = _requireOwned(memberId);
        Member storage entry = _members[memberId];
        address to = entry.pendingKey;
        require(to != address(0) && block.timestamp >= entry.rotatesAt, MembershipRotationNotDue(memberId, entry.rotatesAt));
        require(_memberIds[to] == 0, MembershipAccountTaken(to));
        _requireSignature(to, Messages.hashAcceptRotation(memberId, to), newKeySignature);

        (entry.pendingKey, entry.rotatesAt) = (address(0), 0);
        delete _memberIds[from];
        _memberIds[to] = memberId;
        if (entry.votes) _transferVotingUnits(from, to, 1);
        _update(to, memberId, address(0));
        emit Rotated(memberId, from, to);
    }

    // Soulbound: no transfer, no approval, no delegation

    /// Minting, burning and rotation act for nobody; every public transfer passes its caller as `auth`.
    function _update(address to, uint256 memberId, address auth) internal override returns (address from) {
        require(auth == address(0), MembershipSoulbound(memberId));
        return super._update(to, memberId, auth);
    }

    function approve(address, uint256 memberId) public pure override {
        revert MembershipSoulbound(memberId);
    }

    function setApprovalForAll(address, bool) public view override {
        revert MembershipSoulbound(_memberIds[msg.sender]);
    }

    function delegate(address) public view override {
        revert MembershipVotesNotDelegable(msg.sender);
    }

    function delegateBySig(address, uint256, uint256, uint8, bytes32, bytes32) public view override {
        revert MembershipVotesNotDelegable(msg.sender);
    }

    // Votes

    /// @notice Everyone stands for themselves.
    function delegates(address account) public pure override returns (address) {
        return account;
    }

    function clock() public view override returns (uint48) {
        return uint48(block.timestamp);
    }

    /// @dev ERC-6372.
    function CLOCK_MODE() public pure override returns (string memory) {
        return "mode=timestamp";
    }

    function _getVotingUnits(address account) internal view override returns (uint256) {
        return _members[_memberIds[account]].votes ? 1 : 0;
    }

    // Views

    /// @inheritdoc IMembership
    function memberIdOf(address account) external view returns (uint256) {
        return _memberIds[account];
    }

    /// @inheritdoc IMembership
    function member(uint256 memberId) external view returns (Member memory) {
        return _members[memberId];
    }

    /// @inheritdoc IMembership
    function locked(uint256 memberId) external view returns (bool) {
        _requireOwned(memberId);
        return true;
    }

    /// @dev ERC-5192 has `locked` as its only function.
    function supportsInterface(bytes4 interfaceId) public view override returns (bool) {
        return interfaceId == IMembership.locked.selector || super.supportsInterface(interfaceId);
    }

    function _isBeyondProbation(address account) private view returns (bool) {
        uint256 memberId = _memberIds[account];
        return memberId != 0 && !_members[memberId].left && block.timestamp >= _members[memberId].activeAt;
    }

    function _requireMemberId(address account) private view returns (uint256 memberId) {
        memberId = _memberIds[account];
        require(memberId != 0, MembershipNotMember(account));
    }

    function _requirePresentMemberId(address account) private view returns (uint256 memberId) {
        memberId = _requireMemberId(account);
        require(!_members[memberId].left, MembershipNotMember(account));
    }

    function _requireSignature(address signer, bytes32 structHash, bytes calldata signature) private view {
        require(_isSigned(signer, structHash, signature), MembershipSignatureInvalid(signer));
    }

    function _isSigned(address signer, bytes32 structHash, bytes calldata signature) private view returns (bool) {
        return Signatures.isBy(signer, _hashTypedDataV4(structHash), signature);
    }
}
