// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {WalletDouble} from "./MarketDoubles.sol";
import {TestKit} from "./Vm.sol";

/// @title What every act by signature must withstand; a test per contract says which acts there are, and how each is signed and sent.
abstract contract SignatureAttacks is TestKit {
    uint256 private constant CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
    uint256 private constant WALLET_KEY = 0x3A11E7;
    uint256 private constant STRANGER_KEY = 0x57A46E4;

    struct Act {
        string name;
        address verifier;
        string domain; // after "Granary "
        bytes32[] words; // type hash, then each field's 32 bytes: written out, so that contracts are not checked by their own code
        uint256 key; // of the signer
        bytes4 refusal; // of a wrong signature
        bytes4 expiry; // of a late one; zero for acts without a deadline
        uint256 deadline;
        bool idempotent; // a repeat is taken and changes nothing
    }

    uint256 private _at;

    function _count() internal pure virtual returns (uint256);
    /// Brings about the state in which the act is possible, and describes it.
    function _prepare(uint256 index) internal virtual returns (Act memory);
    function _encode(uint256 index, bytes memory signature) internal view virtual returns (bytes memory call);
    /// Everything that the act may change.
    function _state(uint256 index) internal view virtual returns (bytes32);

    /// OpenZeppelin's own acts ask code first; ours ask the account's key first.
    function _asksKeyFirst(uint256) internal pure virtual returns (bool) {
        return true;
    }

    function test_EveryAct_IsTakenAsItWasSigned() public {
        for (uint256 i = 0; i < _count(); ++i) {
            uint256 before = _snapshot();
            Act memory act = _prepare(i);
            bytes32 state = _state(i);
            _expectTaken(i, act, _signWith(act.key, act));
            vm.assertTrue(_state(i) != state, string.concat(act.name, " did nothing"));
            _restore(before);
        }
    }

    function test_EveryAct_RevertWhen_SignedForAnotherChain() public {
        for (uint256 i = 0; i < _count(); ++i) {
            uint256 before = _snapshot();
            Act memory act = _prepare(i);
            _expectRefused(i, act, _sign(act.key, _digestOn(block.chainid + 1, act.verifier, act)), act.refusal);
            _restore(before);
        }
    }

    function test_EveryAct_RevertWhen_SignedForAnotherContract() public {
        for (uint256 i = 0; i < _count(); ++i) {
            uint256 before = _snapshot();
            Act memory act = _prepare(i);
            _expectRefused(i, act, _sign(act.key, _digestOn(block.chainid, address(this), act)), act.refusal);
            _restore(before);
        }
    }

    function test_EveryAct_RevertWhen_AnyFieldDiffersFromWhatWasSigned() public {
        for (uint256 i = 0; i < _count(); ++i) {
            uint256 before = _snapshot();
            Act memory act = _prepare(i);
            for (uint256 field = 0; field < act.words.length; ++field) {
                bytes32 asCalled = act.words[field];
                act.words[field] = bytes32(uint256(asCalled) ^ 1);
                _expectRefused(i, act, _signWith(act.key, act), act.refusal);
                act.words[field] = asCalled;
            }
            _restore(before);
        }
    }

    function test_EveryAct_RevertWhen_SIsInTheUpperHalf() public {
        for (uint256 i = 0; i < _count(); ++i) {
            uint256 before = _snapshot();
            Act memory act = _prepare(i);
            (uint8 v, bytes32 r, bytes32 s) = vm.sign(act.key, _digestOn(block.chainid, act.verifier, act));
            bytes memory twin = abi.encodePacked(r, bytes32(CURVE_ORDER - uint256(s)), v == 27 ? uint8(28) : uint8(27));
            _expectRefused(i, act, twin, act.refusal);
            _restore(before);
        }
    }

    function test_EveryAct_RevertWhen_NobodyOrAnotherKeySigned() public {
        for (uint256 i = 0; i < _count(); ++i) {
            uint256 before = _snapshot();
            Act memory act = _prepare(i);
            _expectRefused(i, act, _signWith(STRANGER_KEY, act), act.refusal);
            _expectRefused(i, act, "", act.refusal);
            _expectRefused(i, act, new bytes(65), act.refusal);
            _restore(before);
        }
    }

    function test_EveryAct_RevertWhen_Expired() public {
        for (uint256 i = 0; i < _count(); ++i) {
            uint256 before = _snapshot();
            Act memory act = _prepare(i);
            if (act.expiry != bytes4(0)) {
                vm.warp(act.deadline + 1);
                _expectRefused(i, act, _signWith(act.key, act), act.expiry);
            }
            _restore(before);
        }
    }

    function test_EveryAct_ReplayedIsRefusedOrChangesNothing() public {
        for (uint256 i = 0; i < _count(); ++i) {
            uint256 before = _snapshot();
            Act memory act = _prepare(i);
            bytes memory signature = _signWith(act.key, act);
            _expectTaken(i, act, signature);
            bytes32 state = _state(i);
            vm.warp(block.timestamp + 1);
            (bool ok,) = act.verifier.call(_encode(i, signature));
            vm.assertTrue(ok == act.idempotent, string.concat(act.name, " replayed"));
            vm.assertTrue(_state(i) == state, string.concat(act.name, " changed something again"));
            _restore(before);
        }
    }

    function test_EveryAct_RevertWhen_AContractWalletChangedItsMind() public {
        bytes memory code = address(new WalletDouble(vm.addr(WALLET_KEY))).code;
        for (uint256 i = 0; i < _count(); ++i) {
            uint256 before = _snapshot();
            Act memory act = _prepare(i);
            address signer = vm.addr(act.key);
            vm.etch(signer, code);
            bytes memory signature = _signWith(WALLET_KEY, act);
            WalletDouble(signer).setWilling(false);
            _expectRefused(i, act, signature, act.refusal);
            WalletDouble(signer).setWilling(true);
            _expectTaken(i, act, signature);
            _restore(before);
        }
    }

    /// An account that delegated itself (EIP-7702) to code without ERC-1271 has its key still.
    function test_EveryAct_IsTakenByTheOwnKeyOfAnAccountThatRunsOtherCode() public {
        for (uint256 i = 0; i < _count(); ++i) {
            if (!_asksKeyFirst(i)) continue;
            uint256 before = _snapshot();
            Act memory act = _prepare(i);
            vm.etch(vm.addr(act.key), hex"00");
            _expectTaken(i, act, _signWith(act.key, act));
            _restore(before);
        }
    }

    function _snapshot() private returns (uint256) {
        _at = block.timestamp;
        return vm.snapshotState();
    }

    /// Not every runner of the cheatcodes brings the clock back with the state.
    function _restore(uint256 before) private {
        vm.revertToState(before);
        vm.warp(_at);
    }

    function _expectTaken(uint256 index, Act memory act, bytes memory signature) private {
        (bool ok, bytes memory data) = act.verifier.call(_encode(index, signature));
        if (ok) return;
        assembly ("memory-safe") {
            revert(add(data, 32), mload(data))
        }
    }

    function _expectRefused(uint256 index, Act memory act, bytes memory signature, bytes4 selector) private {
        bytes32 state = _state(index);
        (bool ok, bytes memory data) = act.verifier.call(_encode(index, signature));
        vm.assertTrue(!ok, string.concat(act.name, " was taken"));
        vm.assertTrue(bytes4(data) == selector, string.concat(act.name, " was refused for another reason"));
        vm.assertTrue(_state(index) == state, act.name);
    }

    function _signWith(uint256 key, Act memory act) internal view returns (bytes memory) {
        return _sign(key, _digestOn(block.chainid, act.verifier, act));
    }

    function _digestOn(uint256 chainId, address verifier, Act memory act) private pure returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256(bytes(string.concat("Granary ", act.domain))),
                keccak256("1"),
                chainId,
                verifier
            )
        );
        return keccak256(abi.encodePacked(hex"1901", domain, keccak256(abi.encodePacked(act.words))));
    }

    /// The words of a message whose fields were encoded one after the other.
    function _words(string memory messageType, bytes memory fields) internal pure returns (bytes32[] memory words) {
        words = new bytes32[](1 + fields.length / 32);
        words[0] = keccak256(bytes(messageType));
        for (uint256 i = 1; i < words.length; ++i) {
            bytes32 word;
            assembly ("memory-safe") {
                word := mload(add(fields, mul(i, 32)))
            }
            words[i] = word;
        }
    }
}
