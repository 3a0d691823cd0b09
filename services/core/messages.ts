import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js'
import { getBytes, recoverAddress, type TypedDataDomain, TypedDataEncoder, type TypedDataField } from 'ethers'
import { digestOfHashes, hashStruct } from './struct-hash.ts'

/**
 * Every EIP-712 message of Granary: the one off-chain source. contracts/libraries/Messages.sol mirrors it, and
 * test/messages.test.ts holds the two against each other on random values.
 */
export const messages = {
  DatasetRegistry: {
    RegisterDataset: [
      field('owner', 'address'),
      field('commitment', 'bytes32'),
      field('termsHash', 'bytes32'),
      field('salt', 'bytes32'),
      field('isPool', 'bool'),
      field('recovery', 'address'),
      field('deadline', 'uint256'),
    ],
    NarrowDataset: [
      field('datasetId', 'bytes32'),
      field('removePurposes', 'uint32'),
      field('removeJurisdictions', 'uint256'),
      field('endsAt', 'uint40'),
      field('deadline', 'uint256'),
    ],
    WithdrawDataset: [field('datasetId', 'bytes32')],
    WithdrawFromPool: [field('poolId', 'bytes32'), field('account', 'address')],
    AnnounceShareTable: [
      field('poolId', 'bytes32'),
      field('root', 'bytes32'),
      field('totalShares', 'uint128'),
      field('fromEpoch', 'uint64'),
      field('dataDigest', 'bytes32'),
      field('deadline', 'uint256'),
    ],
  },
  ModelRegistry: {
    RegisterModel: [field('modelId', 'bytes32'), field('author', 'address'), field('deadline', 'uint256')],
  },
  InferenceEscrow: {
    Account: [
      field('payer', 'address'),
      field('collector', 'address'),
      field('token', 'address'),
      field('thawSeconds', 'uint32'),
      field('salt', 'bytes32'),
    ],
    Voucher: [field('accountId', 'bytes32'), field('key', 'address'), field('ceiling', 'uint128'), field('usageHead', 'bytes32')],
    GrantKey: [
      field('accountId', 'bytes32'),
      field('key', 'address'),
      field('cap', 'uint128'),
      field('notAfter', 'uint40'),
      field('nonce', 'uint32'),
    ],
    RevokeKey: [field('accountId', 'bytes32'), field('key', 'address')],
    StartThaw: [
      field('accountId', 'bytes32'),
      field('amount', 'uint128'),
      field('nonce', 'uint256'),
      field('deadline', 'uint256'),
    ],
    CancelThaw: [field('accountId', 'bytes32'), field('nonce', 'uint256'), field('deadline', 'uint256')],
    Withdraw: [field('accountId', 'bytes32'), field('to', 'address'), field('nonce', 'uint256'), field('deadline', 'uint256')],
    ClaimCredit: [field('account', 'address'), field('to', 'address'), field('nonce', 'uint256'), field('deadline', 'uint256')],
    SettleBatch: [
      field('collector', 'address'),
      field('batchId', 'bytes32'),
      field('lanesHash', 'bytes32'),
      field('rowsHash', 'bytes32'),
      field('receiptsRoot', 'bytes32'),
    ],
    // Signed off chain; their domain is the escrow, so that a challenge can bring them on chain.
    Session: [
      field('accountId', 'bytes32'),
      field('key', 'address'),
      field('ephemeralKey', 'bytes32'),
      field('expiresAt', 'uint40'),
    ],
    JobReceipt: [
      field('jobId', 'bytes32'),
      field('modelId', 'bytes32'),
      field('provider', 'address'),
      field('purpose', 'uint8'),
      field('consentBlock', 'uint64'),
      field('inputCommitment', 'bytes32'),
      field('outputCommitment', 'bytes32'),
      field('units', 'uint64'),
      field('unitPrice', 'uint128'),
      field('servedAt', 'uint40'),
      field('computeMicros', 'uint32'),
    ],
    Receipt: [
      field('jobHash', 'bytes32'),
      field('accountId', 'bytes32'),
      field('key', 'address'),
      field('sequence', 'uint64'),
      field('charged', 'uint128'),
      field('previousHead', 'bytes32'),
    ],
    // Of the collector, over the heads of all receipts that were committed together: see receipt-signature.ts.
    Receipts: [field('root', 'bytes32')],
  },
  X402Router: {
    // Of the collector or the house account's key.
    Sweep: [field('total', 'uint128')],
    Refund: [field('from', 'address'), field('nonce', 'bytes32'), field('amount', 'uint128')],
  },
  ProviderRegistry: {
    WorkerHello: [field('sessionKey', 'address'), field('challenge', 'bytes32'), field('gateway', 'address')],
    RegisterProvider: [
      field('operator', 'address'),
      field('sessionKey', 'address'),
      field('encryptionKey', 'bytes32'),
      field('name', 'string'),
      field('nonce', 'uint256'),
      field('deadline', 'uint256'),
    ],
    SetOffer: [
      field('operator', 'address'),
      field('modelId', 'bytes32'),
      field('unit', 'uint8'),
      field('unitPrice', 'uint128'),
      field('nonce', 'uint256'),
      field('deadline', 'uint256'),
    ],
    EndOffer: [
      field('operator', 'address'),
      field('modelId', 'bytes32'),
      field('nonce', 'uint256'),
      field('deadline', 'uint256'),
    ],
    StartUnstaking: [
      field('operator', 'address'),
      field('amount', 'uint128'),
      field('nonce', 'uint256'),
      field('deadline', 'uint256'),
    ],
    Unstake: [field('operator', 'address'), field('to', 'address'), field('nonce', 'uint256'), field('deadline', 'uint256')],
  },
  RoyaltyLedger: {
    ClaimRoyalty: [
      field('payeeId', 'bytes32'),
      field('account', 'address'),
      field('to', 'address'),
      field('epochsHash', 'bytes32'),
      field('maxRelayerFee', 'uint128'),
      field('nonce', 'uint256'),
      field('deadline', 'uint256'),
    ],
  },
  Membership: {
    Application: [field('account', 'address'), field('nullifier', 'bytes32'), field('deadline', 'uint256')],
    Admission: [field('account', 'address'), field('nullifier', 'bytes32'), field('deadline', 'uint256')],
    Vouch: [field('account', 'address'), field('nullifier', 'bytes32'), field('deadline', 'uint256')],
    Leave: [field('memberId', 'uint256')],
    StartRotation: [
      field('memberId', 'uint256'),
      field('newKey', 'address'),
      field('nonce', 'uint256'),
      field('deadline', 'uint256'),
    ],
    CancelRotation: [field('memberId', 'uint256'), field('newKey', 'address'), field('rotatesAt', 'uint40')],
    AcceptRotation: [field('memberId', 'uint256'), field('newKey', 'address')],
  },
  CooperativeGovernor: {
    // OpenZeppelin Governor's own type.
    Ballot: [field('proposalId', 'uint256'), field('support', 'uint8'), field('voter', 'address'), field('nonce', 'uint256')],
    Propose: [field('proposalId', 'uint256'), field('proposer', 'address'), field('deadline', 'uint256')],
    CancelProposal: [field('proposalId', 'uint256')],
  },
  Token: {
    // EIP-3009: deposits, and x402 payments to the router.
    ReceiveWithAuthorization: authorization(),
    TransferWithAuthorization: authorization(),
  },
} as const satisfies Record<string, Record<string, readonly TypedDataField[]>>

export type ContractName = keyof typeof messages
export type MessageName<C extends ContractName> = keyof (typeof messages)[C] & string
export type MessageValue = Record<string, unknown>

/** Who verifies a message: a contract on one chain. Ours are named `Granary <Contract>`, version "1"; a token has its own domain. */
export interface Verifier {
  chainId: bigint
  address: string
  name?: string
  version?: string
}

/** What ethers signs and contracts check: domain, types and value of one message. */
export function typedData<C extends ContractName>(contract: C, name: MessageName<C>, verifier: Verifier, value: MessageValue) {
  return { domain: domainOf(contract, verifier), types: { [name]: [...fieldsOf(contract, name)] }, value }
}

export function digestOf<C extends ContractName>(
  contract: C,
  name: MessageName<C>,
  verifier: Verifier,
  value: MessageValue,
): string {
  const structHash = hashStruct(name, fieldsOf(contract, name), value)
  return `0x${bytesToHex(digestOfHashes(domainSeparatorOf(contract, verifier), structHash))}`
}

/** The struct's hash without the domain, as contracts nest it. */
export function structHashOf<C extends ContractName>(contract: C, name: MessageName<C>, value: MessageValue): string {
  return `0x${bytesToHex(hashStruct(name, fieldsOf(contract, name), value))}`
}

/** The digest of a message whose struct's hash is known already. */
export function digestOfStruct(contract: ContractName, verifier: Verifier, structHash: string): string {
  return `0x${bytesToHex(digestOfHashes(domainSeparatorOf(contract, verifier), hexToBytes(structHash.slice(2))))}`
}

function fieldsOf<C extends ContractName>(contract: C, name: MessageName<C>): readonly TypedDataField[] {
  const fields = (messages[contract] as Record<string, readonly TypedDataField[]>)[name]
  if (!fields) throw new Error(`no message ${name} of ${contract}`)
  return fields
}

/** There are few verifiers in a process, and each has one domain per contract for good. */
const separators = new WeakMap<Verifier, Map<ContractName, Uint8Array>>()

function domainSeparatorOf(contract: ContractName, verifier: Verifier): Uint8Array {
  const ofVerifier = separators.get(verifier) ?? new Map<ContractName, Uint8Array>()
  separators.set(verifier, ofVerifier)
  const known = ofVerifier.get(contract)
  if (known) return known
  const separator = getBytes(TypedDataEncoder.hashDomain(domainOf(contract, verifier)))
  ofVerifier.set(contract, separator)
  return separator
}

/** The address whose key signed `digest`; null if the signature is malformed or not in the lower half order (malleable). */
export function signerOf(digest: string, signature: string): string | null {
  try {
    if (getBytes(signature).length !== 65 && getBytes(signature).length !== 64) return null
    return recoverAddress(digest, signature)
  } catch {
    return null
  }
}

export function domainOf(contract: ContractName, { chainId, address, name, version }: Verifier): TypedDataDomain {
  return { name: name ?? `Granary ${contract}`, version: version ?? '1', chainId, verifyingContract: address }
}

function authorization(): TypedDataField[] {
  return [
    field('from', 'address'),
    field('to', 'address'),
    field('value', 'uint256'),
    field('validAfter', 'uint256'),
    field('validBefore', 'uint256'),
    field('nonce', 'bytes32'),
  ]
}

function field(name: string, type: string): TypedDataField {
  return { name, type }
}
