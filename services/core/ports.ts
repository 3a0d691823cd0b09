import type { Call, ChainEvent, Head, SignedTransaction, TransactionOutcome } from './chain-records.ts'
import type { Job, JobResult, JobStep } from './jobs.ts'
import type { ModelManifest } from './manifest.ts'
import type { MirrorLedger } from './mirror-ledger.ts'
import type { PaymentLedger } from './payment-ledger.ts'
import type { SealedLedger, SellingLedger } from './selling-ledger.ts'
import type { PublishingLedger, SettlementLedger } from './settlement-ledger.ts'
import type { StepPlan } from './steps.ts'
import type { Tensor } from './tensors.ts'

/**
 * The five ports: what the rules need of the world. One folder of services/adapters each, one file per technology, one
 * conformance suite per port in test/adapters/conformance/. Ids are 0x-hex strings in lower case, addresses too.
 */

// ---------------------------------------------------------------------------------------------------------- Chain

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
  /** As `read`, of many: one question to a node that takes several at once. Throws the first refusal. */
  readAll(calls: readonly Call[], block?: number): Promise<unknown[]>
  /** The gas that it would take from this adapter's key now; refuses with `chain.reverted` if it would revert. */
  estimate(call: Call): Promise<bigint>
  /**
   * Signs with this adapter's key; refuses with `chain.reverted` and the contract's typed error if it would revert. `replaces`: takes
   * the nonce of one that no block has taken yet, at fees for which nodes let the other go.
   */
  prepare(call: Call, options?: { replaces?: SignedTransaction }): Promise<SignedTransaction>
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

/**
 * One adapter, and a face for whoever uses it: the gateway sells (selling-ledger.ts), takes x402 payments (payment-ledger.ts) and
 * publishes, the settler settles (both settlement-ledger.ts), the indexer mirrors the chain (mirror-ledger.ts).
 */
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
