import type { Economy } from './economy.ts'
import type { LimitReached, Limits, Tally } from './limits.ts'
import type { ModelManifest } from './manifest.ts'
import type { StepPlan } from './steps.ts'
import type { Tensor } from './tensors.ts'
import type { UsageLine } from './usage.ts'

/**
 * The five ports: what the rules need of the world. One folder of services/adapters each, one file per technology, one
 * conformance suite per port in test/adapters/conformance/. Ids are 0x-hex strings in lower case, addresses too.
 */

// ---------------------------------------------------------------------------------------------------------- Chain

export interface Head {
  number: number
  hash: string
  parentHash: string
  /** Chain time in seconds. */
  timestamp: number
}

export interface ChainEvent {
  block: number
  blockHash: string
  transaction: string
  logIndex: number
  contract: string
  name: string
  /** Named arguments; bigints as decimal strings, bytes as hex. */
  args: Record<string, unknown>
}

export interface Call {
  contract: string
  method: string
  args: readonly unknown[]
}

/** A signed transaction, stored before it is broadcast. */
export interface SignedTransaction {
  raw: string
  hash: string
  nonce: number
}

export interface TransactionOutcome {
  hash: string
  block: number
  blockHash: string
  succeeded: boolean
  gasUsed: bigint
  events: ChainEvent[]
}

/** Read state, submit, follow events from a cursor through reorgs. Every call ends within its own time limit. */
export interface Chain extends AsyncDisposable {
  readonly chainId: bigint
  readonly addresses: Readonly<Record<string, string>>
  head(): Promise<Head>
  block(number: number): Promise<Head | null>
  /** All events of our contracts in the closed range, or those of these names, in order. */
  events(fromBlock: number, toBlock: number, names?: readonly string[]): Promise<ChainEvent[]>
  /** Events of one kind, of one of our contracts or of the token, by its indexed arguments, in the closed range, in order. */
  find(
    event: { contract: string; name: string; args: Readonly<Record<string, string>> },
    fromBlock: number,
    toBlock: number,
  ): Promise<ChainEvent[]>
  /** The call of ours that a transaction made; null when it is unknown or went through a contract that is not ours. */
  callOf(transaction: string): Promise<Call | null>
  /** Calls a view; structs come back with named fields. `block` defaults to the latest. */
  read(call: Call, block?: number): Promise<unknown>
  /** The gas that it would take from this adapter's key now; refuses with `chain.reverted` if it would revert. */
  estimate(call: Call): Promise<bigint>
  /** Signs with this adapter's key; refuses with `chain.reverted` and the contract's typed error if it would revert. */
  prepare(call: Call, options?: { nonce?: number }): Promise<SignedTransaction>
  broadcast(transaction: SignedTransaction): Promise<void>
  /** The outcome once mined, null while it is not known. */
  outcome(hash: string): Promise<TransactionOutcome | null>
  /** What a unit of gas costs now, in wei: base fee and tip. */
  gasPrice(): Promise<bigint>
  /** prepare, broadcast and wait for `confirmations` (default 1); `signed` is awaited before the broadcast. */
  submit(
    call: Call,
    options?: { confirmations?: number; timeoutMs?: number; signed?: (transaction: SignedTransaction) => Promise<void> },
  ): Promise<TransactionOutcome>
  /** The address that pays gas here; null for a read-only adapter. */
  readonly sender: string | null
}

// --------------------------------------------------------------------------------------------------- ContentStore

/** put(bytes) → CID; get(CID) → bytes that hash to it. CIDv1, raw leaves: the same bytes give the same CID anywhere. */
export interface ContentStore extends AsyncDisposable {
  put(bytes: Uint8Array): Promise<string>
  /** Throws `content.not-found` when nobody has it in time, `content.mismatch` when bytes do not hash to it, `request.too-large` past the limit. */
  get(cid: string, options: { maxBytes: number; timeoutMs: number }): Promise<Uint8Array>
  /** Where other nodes can reach this one; empty when it cannot be dialled. */
  addresses(): string[]
  /** Learns of another node; content is asked of all known ones. */
  connect(addresses: readonly string[]): Promise<void>
}

// --------------------------------------------------------------------------------------------------------- Runtime

export interface LoadedModel {
  modelId: string
  manifest: ModelManifest
  /** False when rows influence each other: then requests run alone. */
  batchable: boolean
}

export interface ModelFiles {
  modelId: string
  manifest: ModelManifest
  onnx: Uint8Array
  /** By the manifest's file name. */
  files: ReadonlyMap<string, Uint8Array>
}

export interface Runtime extends AsyncDisposable {
  /** Resolves once digests match, the session is up and the golden samples pass; else throws and keeps nothing. */
  load(model: ModelFiles, options: { timeoutMs: number }): Promise<LoadedModel>
  unload(modelId: string): Promise<void>
  loaded(): LoadedModel[]
  /** Task inputs in, task outputs out. Bad input throws `input.invalid`; past the limit `deadline.exceeded`. */
  infer(
    modelId: string,
    inputs: readonly Tensor[],
    options: { timeoutMs: number },
  ): Promise<{ outputs: Tensor[]; computeMicros: number }>
  /** One step of a model whose manifest says that it yields in steps: core/steps.ts says of what. */
  step(modelId: string, step: ModelStep, options: { timeoutMs: number }): Promise<Stepped>
  health(): Promise<{ live: boolean; queued: number }>
}

export interface ModelStep {
  inputs: readonly Tensor[]
  /** What the step before gave; empty for the first. Nothing of a stream is kept in the runtime between two steps. */
  carried: readonly Tensor[]
  isLast: boolean
}

export interface Stepped {
  outputs: Tensor[]
  carried: Tensor[]
  computeMicros: number
}

// ------------------------------------------------------------------------------------------------------ Dispatcher

export interface Job {
  jobId: string
  modelId: string
  purpose: number
  jurisdiction: number
  /** The block whose consent the gateway has seen. */
  consentBlock: number
  units: bigint
  unitPrice: bigint
  inputSalt: string
  outputSalt: string
  inputs: Tensor[]
  /** The answer comes in steps of this size, by the manifest; left out, in one piece. */
  stepSize?: number
}

/** What the provider signs (EIP-712 JobReceipt of the escrow's domain). */
export interface JobReceipt {
  jobId: string
  modelId: string
  provider: string
  purpose: number
  consentBlock: number
  inputCommitment: string
  outputCommitment: string
  units: bigint
  unitPrice: bigint
  /** Chain time of the head that the worker saw. */
  servedAt: number
  computeMicros: number
}

export interface JobResult {
  outputs: Tensor[]
  receipt: JobReceipt
  /** By the provider's session key. */
  signature: string
}

/** One step's own outputs, and a result over all that came until then: outputs joined, units and time added up. */
export interface JobStep extends JobResult {
  index: number
}

/** A job under way whose answer comes in steps; left before its end, the worker is told to stop. */
export interface JobStream extends AsyncDisposable {
  /** The worker may have sent this many steps in all; a lower number changes nothing. */
  grant(steps: number): void
  /** The next step once it is there and holds, null after the last; throws as `send` does, and `deadline.exceeded` past `timeoutMs`. */
  next(timeoutMs: number): Promise<JobStep | null>
}

/** One connected worker. In-flight jobs are counted here, not asked for. */
export interface Worker {
  workerId: string
  provider: string
  sessionKey: string
  /** Models that passed their golden samples. */
  ready: ReadonlySet<string>
  inFlight: number
  capacity: number
  /** Moving average of a job's duration. */
  averageMs: number
}

export interface Dispatcher extends AsyncDisposable {
  workers(): Worker[]
  /**
   * Throws retryable `provider.busy` (never counts as failure), `provider.gone`, `deadline.exceeded`, or the worker's own
   * refusal (`provider.refused`, `input.invalid`, `provider.failed`).
   */
  send(workerId: string, job: Job, options: { timeoutMs: number; signal?: AbortSignal }): Promise<JobResult>
  /** A job with a stepSize. `plan` says how many steps there are and what each counts; `timeoutMs` bounds the whole. Throws as `send` does. */
  stream(workerId: string, job: Job, options: { plan: StepPlan; granted: number; timeoutMs: number }): JobStream
}

// ---------------------------------------------------------------------------------------------------------- Ledger
// The ledger's faces, one adapter: the gateway sells and publishes, the settler settles, the indexer mirrors.

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
  answerOf: (committed: Committed) => Uint8Array
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

/** What the gateway counter-signs; `head` = EIP-712 struct hash of the Receipt, the next one's previousHead. */
export interface Committed {
  sequence: bigint
  previousHead: string
  head: string
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

/** One key's part of a batch, ready to be a row of settleBatch. */
export interface BatchRow {
  accountId: string
  config: AccountConfig
  key: string
  /** What the chain says the key has spent. */
  from: bigint
  voucher: Voucher
  parts: { lane: number; amount: bigint }[]
  requestIds: string[]
}

export interface BatchLane {
  modelId: string
  provider: string
  purpose: number
  lastServedAt: number
}

export interface BatchDraft {
  batchId: string
  collector: string
  lanes: BatchLane[]
  rows: BatchRow[]
  /** Receipt heads in order, one per request: the leaves of the receipts' Merkle tree. */
  leaves: string[]
}

export interface StoredBatch extends BatchDraft {
  transaction: SignedTransaction | null
}

export interface BatchOutcome {
  batchId: string
  transaction: string
  block: number
  blockHash: string
  /** Indices that the contract skipped, with its reason. */
  skippedRows: { row: number; reason: string }[]
  refusedLanes: number[]
  /** Block time less the maximum settlement age: what was served before can never be credited any more. */
  expiredBefore?: number
  /** What each lane's gross was split into. */
  lanes: { modelId: string; provider: string; gross: bigint; protocolFee: bigint; collectorFee: bigint; royalties: bigint }[]
}

export interface Exposure {
  requests: number
  amount: bigint
  oldestServedAt: number | null
  atRisk: bigint
}

export interface SettlementLedger {
  /** Moves COMMITTED requests of one collector into a new batch (BATCHED), atomically; null if there is too little. */
  draftBatch(options: {
    batchId: string
    collector: string
    minGross: bigint
    servedBefore: number
    maxRows: number
    maxLanes: number
    /**
     * Rows, lanes and the batch must earn their gas. Money that a thaw may take away, and lanes whose model has ended, go in
     * whatever they cost. Left out, gas costs nothing.
     */
    economy?: Economy
  }): Promise<BatchDraft | null>
  /** Before the broadcast. */
  recordTransaction(batchId: string, transaction: SignedTransaction): Promise<void>
  openBatches(collector: string): Promise<StoredBatch[]>
  /** Requests become FINAL; skipped ones go back to COMMITTED when they can be retried, else VOIDED. */
  closeBatch(outcome: BatchOutcome): Promise<{ final: number; retried: number; voided: number }>
  /** A batch that never reached the chain and never will: its requests go back to COMMITTED. */
  dropBatch(batchId: string): Promise<void>
  /** COMMITTED requests served before the time can never be credited any more: VOIDED, not charged. Returns how many. */
  expire(options: { collector: string; servedBefore: number }): Promise<number>
  /** FINAL batches from this block on, the newest first: where a deep reorganisation may still reach. */
  finalBatches(collector: string, fromBlock: number): Promise<{ batchId: string; block: number; blockHash: string }[]>
  /** The chain has dropped the block of a FINAL batch: it is OPEN again, nothing of it is booked, its transaction waits. */
  reopenBatch(batchId: string): Promise<void>
  /** COMMITTED and BATCHED money not final yet; `atRisk`: what waits in accounts whose thaw reaches into it. */
  exposure(collector: string): Promise<Exposure>
}

/** What a request was charged for, as it is kept. */
export interface StoredReceipt {
  requestId: string
  accountId: string
  key: string
  sequence: bigint
  previousHead: string
  head: string
  charged: bigint
  receipt: JobReceipt
  providerSignature: string
  state: RequestState
  batchId: string | null
}

/** A FINAL batch, where it was executed, and where it is published. */
export interface SettledBatch {
  batchId: string
  transaction: string
  block: number
  cid: string | null
}

export interface PublishingLedger {
  /** The latest first. */
  settledBatches(collector: string, options: { limit: number; beforeBlock?: number }): Promise<SettledBatch[]>
  settledBatch(batchId: string): Promise<(SettledBatch & { draft: BatchDraft }) | null>
  /** In no particular order. */
  receiptsOf(requestIds: readonly string[]): Promise<StoredReceipt[]>
  /** FINAL batches that have no CID yet, the oldest first. */
  unpublishedBatches(collector: string, limit: number): Promise<string[]>
  publishedAs(batchId: string, cid: string): Promise<void>
  /** The latest first. */
  receipts(accountId: string, options: { limit: number; before?: bigint }): Promise<StoredReceipt[]>
}

/**
 * An x402 payment beside its request. RESERVED: the job runs, nothing was sent. SENT: signed for broadcast, its outcome open.
 * SETTLED: its money is at the router. RELEASED: its job failed, or the chain refused it; as long as it is valid, anyone may
 * still submit it. RETURNING: what is left of it is on its way back; RETURNED: it is there. CLOSED: nothing came, nothing can.
 */
export type PaymentState = 'RESERVED' | 'SENT' | 'SETTLED' | 'RELEASED' | 'RETURNING' | 'RETURNED' | 'CLOSED'

/** An EIP-3009 authorization is known by its payer and nonce. */
export interface PaymentId {
  payer: string
  nonce: string
}

export interface NewPayment extends PaymentId {
  router: string
  value: bigint
  validAfter: number
  validBefore: number
  signature: string
  requestId: string
  bodyHash: string
  /** The gateway process that answers for it. */
  owner: string
}

export interface Payment extends NewPayment {
  state: PaymentState
  transaction: SignedTransaction | null
  /** The transaction that moved the money, whoever sent it. */
  settledIn: string | null
  /** Until the request is committed: what its job delivered, sealed. */
  delivery: Uint8Array | null
  /** Of its request, null until that is reserved; its identity is what it was reserved under. */
  requestState: RequestState | null
  requestIdentity: string | null
  charged: bigint
  reason: string | null
}

export interface PaymentLedger {
  /** An account whose money comes with each request: the deposit does not limit its reservations, and its receipts wait for it. */
  openHouse(accountId: string, config: AccountConfig): Promise<void>
  /**
   * One live payment for each authorization; a released one may be tried again. All that a payer has open, or has settled since
   * its balance was read at a block, must fit that balance; null where the money is at the router already.
   */
  openPayment(
    payment: NewPayment,
    funds: { balance: bigint; block: number } | null,
  ): Promise<{ ok: true } | { ok: false; reason: 'taken' } | { ok: false; reason: 'insufficient'; open: bigint }>
  payment(id: PaymentId): Promise<Payment | null>
  paymentOf(requestId: string): Promise<Payment | null>
  /** The one whose request runs or was answered under this identity. */
  paymentFor(accountId: string, identity: string): Promise<Payment | null>
  /** The job is done, its answer not yet made. */
  paymentDelivered(id: PaymentId, delivery: Uint8Array): Promise<void>
  /** Before the broadcast. */
  paymentSent(id: PaymentId, transaction: SignedTransaction): Promise<void>
  paymentSettled(id: PaymentId, settled: { transaction: string; block: number }): Promise<void>
  /** The request is committed. */
  paymentAnswered(id: PaymentId): Promise<void>
  releasePayment(id: PaymentId, reason: string): Promise<void>
  /** Those of one gateway process whose request has not ended. */
  openPayments(owner: string, limit: number): Promise<Payment[]>
  /** Final payments of which less than `least` is left are done; returns how many. */
  closePayments(router: string, least: bigint): Promise<number>
  /** Of which `least` or more may have to go back: released ones past `endedBefore`, voided ones, and final ones that cost less. */
  returnable(router: string, options: { endedBefore: number; least: bigint; limit: number }): Promise<Payment[]>
  /** From RETURNING on, no request can be made with it any more; false when it was not `from` any more. */
  movePayment(id: PaymentId, change: { from: PaymentState; to: PaymentState; settledIn?: string }): Promise<boolean>
}

/** A thing of the chain as a view function returned it at a block; null when it does not exist there. */
export interface Mirror {
  /** An account's state is its balance and its configuration; integers are decimal strings, so that it is JSON. */
  kind: 'account' | 'key' | 'dataset' | 'model' | 'provider' | 'offer'
  /** accountId; accountId:key; datasetId; modelId; operator; operator:modelId. */
  id: string
  block: number
  state: Record<string, unknown> | null
}

export interface CatalogModel {
  modelId: string
  /** Null until the manifest has been fetched and checked. */
  manifest: ModelManifest | null
  state: Record<string, unknown>
  offers: { provider: string; unitPrice: bigint; unit: number }[]
}

export interface MirrorLedger {
  cursor(): Promise<Head | null>
  /** Heads that were applied, the last first (the cursor is the first one): where the indexer looks for a fork. */
  heads(limit: number): Promise<Head[]>
  /** Events, mirrors and the new cursor in one transaction. */
  apply(change: { head: Head; events: readonly ChainEvent[]; mirrors: readonly Mirror[] }): Promise<void>
  /** Forgets events after `block`, makes `block` the cursor and names the mirrors they had touched, to be read again. */
  rollback(to: Head): Promise<Pick<Mirror, 'kind' | 'id'>[]>
  /** Drops everything that derives from the chain; the next apply starts anew. */
  forgetChain(): Promise<void>
  storeManifest(digest: string, manifest: ModelManifest): Promise<void>
  modelsWithoutManifest(limit: number): Promise<{ modelId: string; manifestDigest: string }[]>
  models(): Promise<CatalogModel[]>
  mirror(kind: Mirror['kind'], id: string): Promise<Mirror | null>
  mirrors(kind: Mirror['kind'], limit: number): Promise<Mirror[]>
}

export interface Ledger
  extends SellingLedger,
    SealedLedger,
    PaymentLedger,
    SettlementLedger,
    PublishingLedger,
    MirrorLedger,
    AsyncDisposable {
  /** Throws `ledger.unavailable` when the database does not answer. */
  ping(): Promise<void>
}
