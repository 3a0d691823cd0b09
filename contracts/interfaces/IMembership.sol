// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

/// @title Chapter 1, contribute: members. Soulbound (ERC-721, ERC-5192), one nullifier one vote, votes by timestamp.
interface IMembership {
    struct Member {
        uint40 joinedAt;
        uint40 activeAt; // votes from here on
        bool left;
        bool votes; // activated
        bytes32 nullifier;
        address pendingKey;
        uint40 rotatesAt;
    }

    struct Vouch {
        address voucher;
        bytes signature; // over Vouch{account, nullifier, deadline}
    }

    struct Application {
        address account;
        bytes32 nullifier; // salted digest of the person's identifier, made by the registrar
        uint256 deadline;
    }

    event Joined(uint256 indexed memberId, address indexed account, bytes32 nullifier, uint40 activeAt);
    event Activated(uint256 indexed memberId);
    event Left(uint256 indexed memberId, address indexed account);
    event RotationStarted(uint256 indexed memberId, address newKey, uint40 rotatesAt);
    event RotationCancelled(uint256 indexed memberId);
    event Rotated(uint256 indexed memberId, address from, address to);
    event Locked(uint256 tokenId);

    error MembershipSoulbound(uint256 memberId);
    error MembershipNullifierUsed(bytes32 nullifier);
    error MembershipAccountTaken(address account);
    error MembershipVouchesTooFew(uint256 actual, uint256 least);
    error MembershipVouchInvalid(address voucher);
    error MembershipGrowthExceeded(uint256 joined, uint256 limit);
    error MembershipSignatureInvalid(address signer);
    error MembershipSignatureExpired(uint256 at, uint256 deadline);
    error MembershipNotMember(address account);
    error MembershipOnProbation(uint256 memberId, uint40 activeAt);
    error MembershipRotationNotDue(uint256 memberId, uint40 rotatesAt);
    error MembershipOtherRotation(uint256 memberId, address pendingKey, uint40 rotatesAt);
    error MembershipAccountInvalid(address account);
    error MembershipVotesNotDelegable(address account);
    error MembershipSettingInvalid();

    /// @notice Admits: the applicant's, the registrar's and three active members' signatures; anyone may relay.
    function join(Application calldata application, bytes calldata applicantSignature, bytes calldata registrarSignature, Vouch[] calldata vouches)
        external
        returns (uint256 memberId);
    /// @notice Gives the member its vote once probation is over; anyone may call.
    function activate(uint256 memberId) external;
    /// @notice Always works for the member; a repeat changes nothing. The nullifier is not freed.
    function leave() external;
    function leaveBySig(address account, bytes calldata signature) external;
    /// @notice Moves the vote to a new key after a delay; the old key may cancel. Uses up the key's `nonces`, as cancelRotation does: a
    /// rotation that was signed before and held back is then refused.
    function startRotation(address newKey) external;
    /// @notice As `startRotation`, by the present key's signature over StartRotation with its `nonces`: once cancelled, a rotation
    /// must not come back by a replay.
    function startRotationBySig(uint256 memberId, address newKey, uint256 deadline, bytes calldata signature) external;
    /// @notice By the member's present key; a repeat cancels nothing more.
    function cancelRotation() external;
    /// @notice As `cancelRotation`, by signature over the rotation it cancels: no nonce, no deadline, and it stops no other one.
    function cancelRotationBySig(uint256 memberId, address newKey, uint40 rotatesAt, bytes calldata signature) external;
    /// @notice Anyone may finish with the new key's signature over AcceptRotation.
    function finishRotation(uint256 memberId, bytes calldata newKeySignature) external;

    /// @notice 0 for none. Someone who left keeps the id, so that leaving can be repeated.
    function memberIdOf(address account) external view returns (uint256);
    function member(uint256 memberId) external view returns (Member memory);
    /// @notice Those who have not left, probation included.
    function members() external view returns (uint256 count);
    function locked(uint256 memberId) external view returns (bool);
}
