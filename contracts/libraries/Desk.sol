// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.34;

import {Batches} from "./Batches.sol";
import {Messages} from "./Messages.sol";

/// Where a row lies while it is judged: a word for each field, so that each message is hashed where it stands, as abi.encode has it.
/// What a batch's rows have in common is written once; every row overwrites the rest.
struct Desk {
    uint256 prefix; //          0x000  what a digest is made of, by EIP-191: 0x1901 in its last two bytes,
    bytes32 domainSeparator; // 0x020
    bytes32 structHash; //      0x040  and the hash of one message after the other
    bytes32 accountType; //     0x060  Account
    uint256 payer; //           0x080
    address collector; //       0x0a0
    address token; //           0x0c0
    uint256 thawSeconds; //     0x0e0
    bytes32 salt; //            0x100
    bytes32 voucherType; //     0x120  Voucher
    bytes32 accountId; //       0x140
    address key; //             0x160
    uint256 ceiling; //         0x180
    bytes32 usageHead; //       0x1a0
    bytes32 digest; //          0x1c0  what ecrecover takes
    uint256 v; //               0x1e0
    bytes32 r; //               0x200
    uint256 s; //               0x220
    uint256 from; //            0x240  the rest of the row
    uint256 isGranted; //       0x260  0 or 1
    uint256 parts; //           0x280  where in calldata its parts begin
    uint256 partsEnd; //        0x2a0
    Batches.Totals totals; //   0x2c0  what the lanes take in
    bytes32 batchId;
    uint256 rows; //            where in calldata the first row begins
    uint256 row; //             how many rows came before this one
}

/// The words that no row changes.
function openDesk(bytes32 domainSeparator, address collector, address token) pure returns (Desk memory desk) {
    desk.prefix = 0x1901;
    desk.domainSeparator = domainSeparator;
    desk.accountType = Messages.ACCOUNT;
    desk.collector = collector;
    desk.token = token;
    desk.voucherType = Messages.VOUCHER;
}
