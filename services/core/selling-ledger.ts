import type { JobReceipt } from './jobs.ts'
import type { LimitReached, Limits, Tally } from './limits.ts'
import type { UsageLine } from './usage.ts'

export interface AccountConfig {
  payer: string
  collector: string
  thawSeconds: number
  salt: string
}

export interface Voucher {
  accountId: string
  key: string
  ceiling: bigint
  usageHead: string
  signature: string
}

/** RELEASED and VOIDED end without a charge; FINAL ends on chain. */
export type RequestState = 'RESERVED' | 'DISPATCHED' | 'COMMITTED' | 'BATCHED' | 'FINAL' | 'RELEASED' | 'VOIDED'

export interface Reservation {
  requestId: string
  accountId: string
  key: string
  /** Unique per account; the same one with the same body returns the earlier request. A digest of what the client sent. */
  idempotencyKey: string
  bodyHash: string
  modelId: string
  provider: string
  purpose: number
  units: bigint
  unitPrice: bigint
  /** The most it can cost. */
  max: bigint
  /** The gateway process that answers for the reservation; its leftovers are released when it starts again. */
  owner: string
  /** The job leaves for `provider` as soon as this is durable: saves the call of `dispatched`. */
  dispatched?: boolean
  /**
   * It may take its place from room that this gateway has leased of the account, durable before, and is written when it is
   * charged or released. Not for what grows on the way or is paid elsewhere.
   */
  leased?: boolean
  /** Of the same account and key, its signature checked: kept as by `acceptVoucher`, whatever becomes of the reservation. */
  voucher?: Voucher
}

export type Reserved =
  | { ok: true }
  | { ok: false; reason: 'repeated'; request: StoredRequest }
  | { ok: false; reason: 'conflict'; requestId: string }
  | { ok: false; reason: 'account-unknown' }
  | { ok: false; reason: 'key-ended' }
  | { ok: false; reason: 'insufficient'; limit: 'ceiling' | 'cap' | 'deposit'; available: bigint; required: bigint }
  | { ok: false; reason: 'limited'; reached: LimitReached }

export interface StoredRequest {
  requestId: string
  state: RequestState
  bodyHash: string
  charged: bigint
  /** The answer, sealed, if kept. */
  answer: Uint8Array | null
  reason: string | null
}

export interface Delivery {
  requestId: string
  charged: bigint
  receipt: JobReceipt
  providerSignature: string
  /** Makes the answer from its place in the account's receipts; called again when that place was taken meanwhile, so it must be quick and pure. */
  answerOf: (committed: CommittedTogether) => Uint8Array
  /** Seals the answer for the database, so that a repeat of the request can be given it; null: it is not kept. */
  sealAnswer: ((answer: Uint8Array) => Uint8Array) | null
  /** Takes the place of the progress that was recorded. */
  inSteps?: boolean
}

/** What of a running request was delivered by now, as its provider has signed it. */
export interface Progress {
  requestId: string
  charged: bigint
  receipt: JobReceipt
  providerSignature: string
}

/** `reserved`: what is reserved for the request now, in all. */
export type Extended =
  | { ok: true; reserved: bigint }
  | { ok: false; reason: 'ended' }
  | Exclude<Reserved, { ok: true } | { reason: 'repeated' } | { reason: 'conflict' }>

/** A receipt's place in its account's chain; `head` = EIP-712 struct hash of the Receipt, the next one's previousHead. */
export interface Committed {
  sequence: bigint
  previousHead: string
  head: string
}

/** What the gateway counter-signs. */
export interface CommittedTogether extends Committed {
  /** Heads of all receipts that are committed in the same call, this one's among them. The same list for each of them, which never changes. */
  group: readonly string[]
}

export interface KeyStanding {
  accountId: string
  key: string
  /** Charged by committed requests, settled or not. */
  spent: bigint
  reserved: bigint
  ceiling: bigint
  /** null for the payer's own key. */
  cap: bigint | null
  usageHead: string
  deposit: bigint
  thawing: bigint
  accountCharged: bigint
  accountReserved: bigint
}

export interface ApiKey {
  keyId: string
  secretHash: string
  accountId: string
  /** The escrow key behind it, and its private key encrypted at rest. */
  key: string
  sealedPrivateKey: string
  label: string
  /** What it may buy, for what and where; empty = anything. */
  models: string[]
  purposes: number[]
  jurisdictions: number[]
  createdAt: number
  /** Chain time from which on it is refused, as after a rotation; null: never. */
  endsAt: number | null
  revoked: boolean
}

/** What a granted key has spent of its cap, for the list of an account's keys. */
export interface KeySpending {
  key: string
  spent: bigint
  cap: bigint | null
  notAfter: number | null
  revokedAt: number
}

export interface LimitsInForce {
  /** null: of the whole account. */
  key: string | null
  limits: Limits
  tally: Tally
}

/** What a gateway needs to take up a session that another one opened; its MAC key is not here, and does not follow from it alone. */
export interface StoredSession {
  sessionId: string
  accountId: string
  key: string
  ephemeralKey: string
  /** The X25519 key that the payer agreed with. */
  gatewayKey: string
  expiresAt: number
}

export interface SellingLedger {
  /** Remembers an account's configuration (accountId is its hash); money appears with the chain's events. */
  knowAccount(accountId: string, config: AccountConfig): Promise<void>
  account(accountId: string): Promise<AccountConfig | null>
  standing(accountId: string, key: string): Promise<KeyStanding | null>
  /** Keeps the highest voucher of a key; a lower or equal one is `backwards`. Its signature was checked before. */
  acceptVoucher(
    voucher: Voucher,
  ): Promise<{ ok: true } | { ok: false; reason: 'backwards'; ceiling: bigint } | { ok: false; reason: 'account-unknown' }>
  /** `spent + Σ reserved + max ≤ min(ceiling, cap, deposit − thawing)` per key and account, atomic per account, durable before it answers. */
  reserve(reservation: Reservation, now: number): Promise<Reserved>
  /** `dispatched`: the job is about to leave for a provider. */
  dispatched(requestId: string, provider: string): Promise<void>
  /** Throws `CommitRefused` for some that were reserved as `leased`. */
  commit(delivery: Delivery): Promise<Committed & { answer: Uint8Array }>
  /**
   * Reserves more for a request that runs, up to `max` in all, by the rules of `reserve`; `voucher` as there. What has as much
   * already stays as it is. `ended`: the request doesn't run any more.
   */
  extend(extension: { requestId: string; max: bigint; voucher?: Voucher }, now: number): Promise<Extended>
  /** Keeps what was delivered by now, durable when this returns, so that it is charged whatever becomes of the gateway; never less than before. */
  recordProgress(progress: Progress): Promise<void>
  /** What a gateway that died had delivered of requests that never ended: to be committed before leftovers are released. */
  leftoverProgress(owner: string, limit: number): Promise<Progress[]>
  /** Ends a request without a charge; a repeat changes nothing, and nothing that was delivered in part is released. */
  release(requestId: string, reason: string): Promise<void>
  /** Releases what a gateway that died left RESERVED or DISPATCHED and delivered nothing of; returns how many. */
  releaseLeftovers(owner: string): Promise<number>
  /** Makes this process the only one of that name until it is disposed or dead; throws `start.already-running`. */
  claimOwner(owner: string): Promise<AsyncDisposable>
  /** What dead ones had delivered of streams that began before then: to be committed, before the rest of theirs is released. */
  orphanedProgress(options: { reservedBefore: number; limit: number }): Promise<Progress[]>
  /** Releases what was reserved before then by owners whom no living process claims, x402 payments apart; returns how many. */
  releaseOrphans(options: { reservedBefore: number }): Promise<number>
  request(requestId: string): Promise<StoredRequest | null>
  /** What `reserve` would name as repeated or in conflict. */
  requestBefore(of: { accountId: string; idempotencyKey: string }): Promise<StoredRequest | null>
  /** Kept only for accounts with a deposit, and at most so many of one key. */
  keepSession(session: StoredSession): Promise<void>
  session(sessionId: string): Promise<StoredSession | null>
  /** Returns how many. */
  forgetSessions(options: { expiredBefore: number; limit: number }): Promise<number>
  /** Throws `credential.ended` when there is one of this id. */
  addApiKey(key: ApiKey): Promise<void>
  apiKey(keyId: string): Promise<ApiKey | null>
  apiKeys(accountId: string): Promise<ApiKey[]>
  revokeApiKey(keyId: string): Promise<void>
  /** Puts `next` in the place of a key that ends at `endsAt`; false when that one is revoked, ending already or unknown. */
  replaceApiKey(keyId: string, next: ApiKey, endsAt: number): Promise<boolean>
  keySpending(accountId: string): Promise<KeySpending[]>
  /** Of a key, or with null of the whole account; what was spent before in the day and month counts. False: account unknown. */
  setLimits(of: { accountId: string; key: string | null }, limits: Limits, now: number): Promise<boolean>
  limits(accountId: string): Promise<LimitsInForce[]>
  statement(accountId: string, options: { limit: number; before?: bigint; key?: string }): Promise<StatementLine[]>
  /** By day, model and key, of receipts served from `from` to before `to`; at most `limit` lines. */
  usage(accountId: string, options: { from: number; to: number; key?: string; limit: number }): Promise<UsageLine[]>
  /** Forgets stored answers of requests reserved before; returns how many. */
  forgetAnswers(options: { reservedBefore: number; limit: number }): Promise<number>
}

/** What is sealed under a master key: private keys behind API keys, and stored answers. */
export interface SealedLedger {
  /** In the order of keyId. */
  sealedKeys(options: { after: string; limit: number }): Promise<{ keyId: string; sealed: string }[]>
  /** False when it is not `from` any more. */
  resealKey(keyId: string, change: { from: string; to: string }): Promise<boolean>
  /** What jobs delivered whose payments are under way, in the order of requestId. */
  sealedDeliveries(options: { after: string; limit: number }): Promise<{ requestId: string; sealed: Uint8Array }[]>
  /** False when it is not `from` any more. */
  resealDelivery(requestId: string, change: { from: Uint8Array; to: Uint8Array }): Promise<boolean>
  /** Stored answers whose first bytes are not these, and when the last of them was reserved. */
  answersNotUnder(prefix: Uint8Array): Promise<{ count: number; lastReservedAt: number | null }>
}

export interface StatementLine {
  sequence: bigint
  requestId: string
  modelId: string
  provider: string
  purpose: number
  units: bigint
  unitPrice: bigint
  charged: bigint
  state: RequestState
  servedAt: number
  batchId: string | null
}
