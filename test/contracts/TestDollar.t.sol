// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {ERC3009} from "@openzeppelin/contracts/token/ERC20/extensions/draft-ERC3009.sol";
import {TestDollar} from "../../contracts/TestDollar.sol";
import {WalletDouble} from "./support/MarketDoubles.sol";
import {TestKit} from "./support/Vm.sol";

contract TestDollarTest is TestKit {
    uint256 internal constant OWNER_KEY = 0xA11CE;
    bytes32 internal constant NONCE = keccak256("nonce");

    TestDollar internal token;
    address internal owner = vm.addr(OWNER_KEY);

    function setUp() public {
        vm.warp(1_800_000_000);
        token = new TestDollar();
        token.mint(owner, 1_000e6);
    }

    function test_Constructor_RevertWhen_NotDevelopmentChain() public {
        vm.chainId(8453);
        vm.expectRevert(abi.encodeWithSelector(TestDollar.TestDollarNotDevelopmentChain.selector, 8453));
        new TestDollar();
        vm.chainId(1337);
        new TestDollar();
    }

    function test_Metadata_IsThatOfTheDomain() public view {
        vm.assertEq(token.name(), "Granary Test Dollar");
        vm.assertEq(token.symbol(), "tUSD");
        vm.assertEq(token.decimals(), 6);
        (, string memory name, string memory version,,,,) = token.eip712Domain();
        vm.assertEq(name, "Granary Test Dollar");
        vm.assertEq(version, "1");
    }

    function test_Mint_RevertWhen_AboveOneMillionDollars() public {
        uint256 limit = token.MAX_MINT();
        token.mint(address(1), limit);
        vm.expectRevert(abi.encodeWithSelector(TestDollar.TestDollarMintTooLarge.selector, limit + 1, limit));
        token.mint(address(1), limit + 1);
    }

    function testFuzz_ReceiveWithAuthorization_MovesOnce(uint256 value) public {
        value = _bound(value, 0, 1_000e6);
        bytes memory signature = _sign(OWNER_KEY, _authorization("Receive", value, address(this)));
        token.receiveWithAuthorization(owner, address(this), value, 0, type(uint256).max, NONCE, signature);
        vm.assertEq(token.balanceOf(address(this)), value);
        vm.assertTrue(token.authorizationState(owner, NONCE));
        vm.expectRevert(abi.encodeWithSelector(ERC3009.ERC3009UsedAuthorization.selector, owner, NONCE));
        token.receiveWithAuthorization(owner, address(this), value, 0, type(uint256).max, NONCE, signature);
    }

    function test_ReceiveWithAuthorization_AcceptsSplitSignature() public {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(OWNER_KEY, _authorization("Receive", 5, address(this)));
        token.receiveWithAuthorization(owner, address(this), 5, 0, type(uint256).max, NONCE, v, r, s);
        vm.assertEq(token.balanceOf(address(this)), 5);
    }

    function test_ReceiveWithAuthorization_RevertWhen_NotTheReceiver() public {
        bytes memory signature = _sign(OWNER_KEY, _authorization("Receive", 5, address(1)));
        vm.expectRevert();
        token.receiveWithAuthorization(owner, address(1), 5, 0, type(uint256).max, NONCE, signature);
    }

    function test_ReceiveWithAuthorization_RevertWhen_NotYetOrNoLongerValid() public {
        for (uint256 i = 0; i < 2; ++i) {
            uint256 after_ = i == 0 ? block.timestamp : 0;
            uint256 before = i == 0 ? type(uint256).max : block.timestamp;
            bytes32 structHash = keccak256(
                abi.encode(
                    keccak256(
                        "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
                    ),
                    owner,
                    address(this),
                    5,
                    after_,
                    before,
                    NONCE
                )
            );
            bytes memory signature = _sign(OWNER_KEY, MessageHashUtils.toTypedDataHash(token.DOMAIN_SEPARATOR(), structHash));
            vm.expectRevert(abi.encodeWithSelector(ERC3009.ERC3009InvalidAuthorizationTime.selector, after_, before));
            token.receiveWithAuthorization(owner, address(this), 5, after_, before, NONCE, signature);
        }
    }

    function testFuzz_TransferWithAuthorization_RevertWhen_NotTheOwnersSignature(uint256 key) public {
        key = _bound(key, 1, type(uint128).max);
        vm.assume(key != OWNER_KEY);
        bytes memory signature = _sign(key, _authorization("Transfer", 5, address(1)));
        vm.expectRevert(ERC3009.ERC3009InvalidSignature.selector);
        token.transferWithAuthorization(owner, address(1), 5, 0, type(uint256).max, NONCE, signature);
    }

    function test_TransferWithAuthorization_AsksAContractWallet() public {
        WalletDouble wallet = new WalletDouble(owner);
        token.mint(address(wallet), 10);
        owner = address(wallet);
        bytes memory signature = _sign(OWNER_KEY, _authorization("Transfer", 5, address(1)));
        wallet.setWilling(false);
        vm.expectRevert(ERC3009.ERC3009InvalidSignature.selector);
        token.transferWithAuthorization(owner, address(1), 5, 0, type(uint256).max, NONCE, signature);
        wallet.setWilling(true);
        token.transferWithAuthorization(owner, address(1), 5, 0, type(uint256).max, NONCE, signature);
        vm.assertEq(token.balanceOf(address(1)), 5);
    }

    function test_CancelAuthorization_UsesTheNonceUp() public {
        bytes32 structHash = keccak256(abi.encode(keccak256("CancelAuthorization(address authorizer,bytes32 nonce)"), owner, NONCE));
        token.cancelAuthorization(owner, NONCE, _sign(OWNER_KEY, MessageHashUtils.toTypedDataHash(token.DOMAIN_SEPARATOR(), structHash)));
        vm.assertTrue(token.authorizationState(owner, NONCE));
        bytes memory signature = _sign(OWNER_KEY, _authorization("Transfer", 5, address(1)));
        vm.expectRevert(abi.encodeWithSelector(ERC3009.ERC3009UsedAuthorization.selector, owner, NONCE));
        token.transferWithAuthorization(owner, address(1), 5, 0, type(uint256).max, NONCE, signature);
    }

    function test_Permit_SetsTheAllowance() public {
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"),
                owner,
                address(2),
                77,
                0,
                block.timestamp
            )
        );
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(OWNER_KEY, MessageHashUtils.toTypedDataHash(token.DOMAIN_SEPARATOR(), structHash));
        token.permit(owner, address(2), 77, block.timestamp, v, r, s);
        vm.assertEq(token.allowance(owner, address(2)), 77);
    }

    /// Digest of EIP-3009's Transfer- or ReceiveWithAuthorization, valid at any time.
    function _authorization(string memory verb, uint256 value, address to) private view returns (bytes32) {
        bytes32 typeHash = keccak256(
            abi.encodePacked(
                verb, "WithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
            )
        );
        bytes32 structHash = keccak256(abi.encode(typeHash, owner, to, value, 0, type(uint256).max, NONCE));
        return MessageHashUtils.toTypedDataHash(token.DOMAIN_SEPARATOR(), structHash);
    }
}
