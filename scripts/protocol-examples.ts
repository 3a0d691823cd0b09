import { readFileSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { TypedDataEncoder, Wallet } from 'ethers'
import { accountIdOf, depositNonceOf } from '../services/core/accounts.ts'
import { receiptProof, receiptsRoot } from '../services/core/merkle.ts'
import { type ContractName, digestOf, type MessageValue, messages, structHashOf, typedData } from '../services/core/messages.ts'
import { deriveMacKey, macOf, x25519PublicKey } from '../services/core/sessions.ts'
import { commitTensors, textTensor } from '../services/core/tensors.ts'
import { exactRequirements, paymentResponse } from '../services/core/x402.ts'

/**
 * The byte-exact examples of docs/PROTOCOL.md. `node scripts/protocol-examples.ts --write` puts them into the page, between
 * its markers; test/protocol.test.ts fails when the page says anything else.
 */
export const page = resolve(import.meta.dirname, '..', 'docs', 'PROTOCOL.md')
export const BEGIN = '<!-- examples begin: node scripts/protocol-examples.ts --write -->'
export const END = '<!-- examples end -->'

const CHAIN_ID = 31337n
const word = (byte: string) => `0x${byte.repeat(32)}`
const address = (byte: string) => `0x${byte.repeat(20)}`
const wallet = new Wallet(word('11'))
const signer = wallet.address.toLowerCase()
const collector = address('22')
const token = address('a0')
const salt = word('07')
const deadline = 1_800_000_000n

const contracts: Record<ContractName, string> = {
  DatasetRegistry: address('a1'),
  ModelRegistry: address('a2'),
  InferenceEscrow: address('a3'),
  ProviderRegistry: address('a4'),
  RoyaltyLedger: address('a5'),
  Membership: address('a6'),
  CooperativeGovernor: address('a7'),
  Token: token,
  X402Router: address('a8'),
}
const escrow = { chainId: CHAIN_ID, address: contracts.InferenceEscrow }
const account = { payer: signer, collector, thawSeconds: 120, salt }
const accountId = accountIdOf(account, { ...escrow, token })
const ephemeralSecret = new Uint8Array(32).fill(3)
const gatewaySecret = new Uint8Array(32).fill(4)
const application = { account: signer, nullifier: word('0c'), deadline }

const job = {
  jobId: word('01'),
  modelId: word('02'),
  provider: address('33'),
  purpose: 1,
  consentBlock: 42,
  inputCommitment: commitTensors([textTensor('text', ['hello'])], word('05')),
  outputCommitment: commitTensors([textTensor('label', ['ham'])], word('06')),
  units: 1n,
  unitPrice: 400n,
  servedAt: 1_790_000_000,
  computeMicros: 750,
}
const receipt = {
  jobHash: structHashOf('InferenceEscrow', 'JobReceipt', job),
  accountId,
  key: signer,
  sequence: 1n,
  charged: 400n,
  previousHead: word('00'),
}
const head = structHashOf('InferenceEscrow', 'Receipt', receipt)
/** Committed together. */
const group = [head, word('18'), word('19'), word('1a')]

/** One value per message; the signer signs them all. */
const values: { [C in ContractName]: Record<keyof (typeof messages)[C] & string, MessageValue> } = {
  DatasetRegistry: {
    RegisterDataset: {
      owner: signer,
      commitment: word('08'),
      termsHash: word('09'),
      salt,
      isPool: false,
      recovery: address('44'),
      deadline,
    },
    NarrowDataset: { datasetId: word('0a'), removePurposes: 2, removeJurisdictions: 0n, endsAt: 0, deadline },
    WithdrawDataset: { datasetId: word('0a') },
    WithdrawFromPool: { poolId: word('0b'), account: signer },
    AnnounceShareTable: {
      poolId: word('0b'),
      root: word('15'),
      totalShares: 1_048_576n,
      fromEpoch: 42n,
      dataDigest: word('16'),
      deadline,
    },
  },
  ModelRegistry: { RegisterModel: { modelId: word('02'), author: signer, deadline } },
  InferenceEscrow: {
    Account: { ...account, token },
    Voucher: { accountId, key: signer, ceiling: 6400n, usageHead: word('00') },
    GrantKey: { accountId, key: address('55'), cap: 2_000_000n, notAfter: 1_800_000_000, nonce: 1 },
    RevokeKey: { accountId, key: address('55') },
    StartThaw: { accountId, amount: 1_000_000n, nonce: 1n, deadline },
    CancelThaw: { accountId, nonce: 2n, deadline },
    Withdraw: { accountId, to: address('66'), nonce: 3n, deadline },
    ClaimCredit: { account: signer, to: address('66'), nonce: 1n, deadline },
    SettleBatch: { collector, batchId: word('0d'), lanesHash: word('0e'), rowsHash: word('0f'), receiptsRoot: word('10') },
    Session: { accountId, key: signer, ephemeralKey: x25519PublicKey(ephemeralSecret), expiresAt: 1_790_043_200 },
    JobReceipt: job,
    Receipt: receipt,
    Receipts: { root: receiptsRoot(group) },
  },
  X402Router: { Sweep: { total: 400n }, Refund: { from: signer, nonce: word('15'), amount: 400n } },
  ProviderRegistry: {
    WorkerHello: { sessionKey: signer, challenge: word('12'), gateway: collector },
    RegisterProvider: {
      operator: signer,
      sessionKey: address('66'),
      encryptionKey: word('17'),
      name: 'Northern GPUs',
      nonce: 0n,
      deadline,
    },
    SetOffer: { operator: signer, modelId: word('02'), unit: 1, unitPrice: 400n, nonce: 1n, deadline },
    EndOffer: { operator: signer, modelId: word('02'), nonce: 2n, deadline },
    StartUnstaking: { operator: signer, amount: 100_000_000n, nonce: 3n, deadline },
    Unstake: { operator: signer, to: signer, nonce: 4n, deadline },
  },
  RoyaltyLedger: {
    ClaimRoyalty: {
      payeeId: word('0a'),
      account: signer,
      to: signer,
      epochsHash: word('13'),
      maxRelayerFee: 0n,
      nonce: 7n,
      deadline,
    },
  },
  Membership: {
    Application: application,
    Admission: application,
    Vouch: application,
    Leave: { memberId: 6n },
    StartRotation: { memberId: 6n, newKey: address('77'), nonce: 0n, deadline },
    CancelRotation: { memberId: 6n, newKey: address('77'), rotatesAt: 1_790_000_000 },
    AcceptRotation: { memberId: 6n, newKey: signer },
  },
  CooperativeGovernor: {
    Ballot: { proposalId: 1234567890n, support: 1, voter: signer, nonce: 0n },
    Propose: { proposalId: 1234567890n, proposer: signer, deadline },
    CancelProposal: { proposalId: 1234567890n },
  },
  Token: {
    ReceiveWithAuthorization: {
      from: signer,
      to: contracts.InferenceEscrow,
      value: 20_000_000n,
      validAfter: 0n,
      validBefore: deadline,
      nonce: depositNonceOf(accountId, word('14')),
    },
    TransferWithAuthorization: {
      from: signer,
      to: contracts.X402Router,
      value: 400n,
      validAfter: 0n,
      validBefore: deadline,
      nonce: word('15'),
    },
  },
}

/** Everything between the markers. */
export function examples(): string {
  return [
    `Signed with the private key \`${wallet.privateKey}\` (address \`${signer}\`) on chain id ${CHAIN_ID}.`,
    ...Object.keys(messages).flatMap((contract) => contractExamples(contract as ContractName)),
    ...derivedExamples(),
  ].join('\n\n')
}

function contractExamples(contract: ContractName): string[] {
  const verifier = {
    chainId: CHAIN_ID,
    address: contracts[contract],
    ...(contract === 'Token' ? { name: 'Granary Test Dollar' } : {}),
  }
  const byName = messages[contract] as Record<string, readonly { name: string; type: string }[]>
  const { name } = typedData(contract, firstOf(contract), verifier, {}).domain
  const head = `### Domain "${name}", version "1", at \`${contracts[contract]}\` (${contract})`
  const all = Object.keys(byName).map((message) => {
    const value = (values[contract] as Record<string, MessageValue>)[message] ?? {}
    const digest = digestOf(contract, message as never, verifier, value)
    const facts = {
      type: TypedDataEncoder.from({ [message]: [...(byName[message] ?? [])] }).encodeType(message),
      value,
      structHash: structHashOf(contract, message as never, value),
      digest,
      signature: wallet.signingKey.sign(digest).serialized,
    }
    return `#### ${message}\n\n\`\`\`json\n${toJson(facts)}\n\`\`\``
  })
  return [head, ...all]
}

/** What is not a signed message, but must agree to the byte as well. */
function derivedExamples(): string[] {
  const sessionId = digestOf('InferenceEscrow', 'Session', escrow, values.InferenceEscrow.Session)
  const gatewayKey = x25519PublicKey(gatewaySecret)
  const macKey = deriveMacKey({ secretKey: ephemeralSecret, publicKey: gatewayKey, sessionId })
  const request = { method: 'POST', path: '/v1/infer', idempotencyKey: 'example-1', voucher: '' }
  const body = '{"model":"spam-classifier","inputs":{"text":"hello"}}'
  const heads = [word('01'), word('02')]
  const collectorSignature = wallet.signingKey.sign(
    digestOf('InferenceEscrow', 'Receipts', escrow, { root: receiptsRoot(group) }),
  ).serialized
  const facts = {
    accountId,
    depositNonce: { accountId, salt: word('14'), nonce: depositNonceOf(accountId, word('14')) },
    session: {
      ephemeralSecret: toHex(ephemeralSecret),
      gatewaySecret: toHex(gatewaySecret),
      gatewayKey,
      sessionId,
      macKey: toHex(macKey),
    },
    mac: { ...request, body, mac: macOf(macKey, { ...request, body: new TextEncoder().encode(body) }) },
    inputCommitment: { tensor: 'text, BYTES, [1], ["hello"]', salt: word('05'), commitment: job.inputCommitment },
    receiptsRoot: { heads, root: receiptsRoot(heads) },
    receipt: { head, path: receiptProof(group, head), signedRoot: receiptsRoot(group), collectorSignature },
    x402: x402Example(),
  }
  return ['### Derived values', `\`\`\`json\n${toJson(facts)}\n\`\`\``]
}

/** A payment over the authorization above, and what the answer says of it, as the headers have them. */
function x402Example() {
  const payment = { chainId: CHAIN_ID, address: token, name: 'Granary Test Dollar', version: '1' }
  const rail = { token: payment, router: contracts.X402Router, maxTimeoutSeconds: 90 }
  const value = values.Token.TransferWithAuthorization
  const signature = wallet.signingKey.sign(digestOf('Token', 'TransferWithAuthorization', payment, value)).serialized
  const authorization = Object.fromEntries(Object.entries(value).map(([name, field]) => [name, String(field)]))
  const payload = {
    x402Version: 2,
    accepted: exactRequirements(rail, 400n),
    payload: { signature, authorization },
    extensions: { 'payment-identifier': { info: { required: false, id: 'pay_0123456789abcdef' } } },
  }
  return {
    payload,
    'payment-signature': btoa(JSON.stringify(payload)),
    'payment-response': paymentResponse({ rail, payer: signer, transaction: word('16') }),
  }
}

function firstOf(contract: ContractName): never {
  return Object.keys(messages[contract])[0] as never
}

function toHex(bytes: Uint8Array): string {
  return `0x${Buffer.from(bytes).toString('hex')}`
}

function toJson(value: unknown): string {
  return JSON.stringify(value, (_, field) => (typeof field === 'bigint' ? Number(field) : field), 2)
}

/** The page with its examples replaced by those of the code. */
export function withExamples(text: string): string {
  const [begin, end] = [text.indexOf(BEGIN), text.indexOf(END)]
  if (begin < 0 || end < begin) throw new TypeError('docs/PROTOCOL.md has lost its markers')
  return `${text.slice(0, begin + BEGIN.length)}\n\n${examples()}\n\n${text.slice(end)}`
}

if (import.meta.main) {
  if (process.argv.includes('--write')) writeFileSync(page, withExamples(readFileSync(page, 'utf8')))
  else process.stdout.write(`${examples()}\n`)
}
