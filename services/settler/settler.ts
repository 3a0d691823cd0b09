import { setTimeout as delay } from 'node:timers/promises'
import type { Log } from '../adapters/log.ts'
import { GranaryError } from '../core/errors.ts'
import type { BatchOutcome, Chain, Head, SettlementLedger, StoredBatch } from '../core/ports.ts'
import { batchOutcomeOf, toBatchArgument } from '../core/settlement.ts'
import { findSettlement } from './find-settlement.ts'

export interface SettlerOptions {
  chain: Chain
  ledger: SettlementLedger
  /** Whose batches: the operator that accounts name, which also pays gas. */
  collector: string
  log: Log
  /** A batch is made once the oldest receipt is this old. */
  maxAgeSeconds: number
  /** Less is left to wait, until half of the chain's settlement window has passed. */
  minGross: bigint
  maxRows: number
  maxLanes: number
  confirmations: number
  randomId: () => string
  now?: () => number
}

const REBROADCAST_MS = 5000
/** A transaction that no block took for this long is signed again with the same nonce and today's fees. */
const REPLACE_MS = 60_000
const LONGEST_BACKOFF_MS = 60_000

/** `waiting`: a batch is on its way; `idle`: there is nothing to settle yet. */
export type Tick = 'idle' | 'waiting' | 'sent' | 'settled' | 'dropped'

/**
 * One tick: what is open goes on first, and only then a new batch is made. A batch keeps its id from the draft to the
 * end, and the contract executes an id once: whatever is sent again, its requests are charged at most once.
 */
export function openTicker(options: SettlerOptions): () => Promise<Tick> {
  const { chain, ledger, collector, log, now = () => performance.now() } = options
  const sentAt = new Map<string, { first: number; last: number }>()
  let refusals = { count: 0, until: Number.NEGATIVE_INFINITY }
  let windowSeconds: number | null = null

  async function tick(): Promise<Tick> {
    const open = await ledger.openBatches(collector)
    for (const batch of open) {
      const result = await advance(batch)
      if (result !== 'settled') return result
    }
    if (open.length > 0) return 'settled'
    return now() < refusals.until ? 'idle' : draft()
  }

  async function draft(): Promise<Tick> {
    const { oldestServedAt } = await ledger.exposure(collector)
    if (oldestServedAt === null) return 'idle'
    const head = await chain.head()
    const age = head.timestamp - oldestServedAt
    if (age < options.maxAgeSeconds) return 'idle'
    const drafted = await ledger.draftBatch({
      batchId: options.randomId(),
      collector,
      minGross: age * 2 >= (await settlementWindow()) ? 1n : options.minGross,
      // A lane that was served after the chain's clock would be refused.
      servedBefore: head.timestamp + 1,
      maxRows: options.maxRows,
      maxLanes: options.maxLanes,
    })
    return drafted === null ? 'idle' : send({ ...drafted, transaction: null })
  }

  async function settlementWindow(): Promise<number> {
    windowSeconds ??= Number(await chain.read({ contract: 'InferenceEscrow', method: 'MAX_SETTLEMENT_SECONDS', args: [] }))
    return windowSeconds
  }

  /** Signs, stores, then broadcasts: after a crash in between, the stored transaction is sent and no other. */
  async function send(batch: StoredBatch, nonce?: number): Promise<Tick> {
    const call = { contract: 'InferenceEscrow', method: 'settleBatch', args: [toBatchArgument(batch), '0x'] }
    let transaction: NonNullable<StoredBatch['transaction']>
    try {
      transaction = await chain.prepare(call, nonce === undefined ? {} : { nonce })
    } catch (error) {
      if (error instanceof GranaryError && error.code === 'chain.reverted' && nonce === undefined) return drop(batch, error)
      throw error
    }
    await ledger.recordTransaction(batch.batchId, transaction)
    log.info({ event: 'batch.signed', batchId: batch.batchId, hash: transaction.hash, requests: batch.leaves.length })
    return broadcast({ ...batch, transaction }, transaction)
  }

  async function broadcast(batch: StoredBatch, transaction: NonNullable<StoredBatch['transaction']>): Promise<Tick> {
    const at = now()
    sentAt.set(batch.batchId, { first: sentAt.get(batch.batchId)?.first ?? at, last: at })
    try {
      await chain.broadcast(transaction)
      return 'sent'
    } catch (error) {
      if (error instanceof GranaryError && error.evidence.error === 'NonceUsed') return nonceUsed(batch)
      throw error
    }
  }

  async function advance(batch: StoredBatch): Promise<Tick> {
    const { transaction } = batch
    if (transaction === null) return send(batch)
    const outcome = await chain.outcome(transaction.hash)
    if (outcome === null) return remind(batch, transaction)
    const head = await chain.head()
    if (head.number - outcome.block + 1 < options.confirmations) return 'waiting'
    if (!outcome.succeeded) return drop(batch, new GranaryError('chain.reverted', `Transaction ${outcome.hash} was reverted.`))
    const settled = batchOutcomeOf(batch.batchId, outcome)
    return settled ? close(batch, settled, outcome.gasUsed) : closeElsewhere(batch, head)
  }

  /** Not mined yet: told again from time to time, at last with higher fees. */
  async function remind(batch: StoredBatch, transaction: NonNullable<StoredBatch['transaction']>): Promise<Tick> {
    const sent = sentAt.get(batch.batchId)
    if (sent && now() - sent.first > REPLACE_MS) {
      sentAt.delete(batch.batchId)
      log.warn({ event: 'batch.replaced', batchId: batch.batchId, nonce: transaction.nonce })
      return send(batch, transaction.nonce)
    }
    if (sent && now() - sent.last < REBROADCAST_MS) return 'waiting'
    if (!sent) log.info({ event: 'batch.resumed', batchId: batch.batchId, hash: transaction.hash })
    return broadcast(batch, transaction)
  }

  /** Another transaction took the nonce: this one's own predecessor, which settled the batch, or a stranger, which did not. */
  async function nonceUsed(batch: StoredBatch): Promise<Tick> {
    const head = await chain.head()
    const root = await chain.read({ contract: 'InferenceEscrow', method: 'batchRoot', args: [collector, batch.batchId] })
    if (BigInt(String(root)) !== 0n) return closeElsewhere(batch, head)
    log.warn({ event: 'batch.nonce-used', batchId: batch.batchId, nonce: batch.transaction?.nonce })
    sentAt.delete(batch.batchId)
    return send(batch)
  }

  /** The batch was executed by a transaction that is not the stored one. */
  async function closeElsewhere(batch: StoredBatch, head: Head): Promise<Tick> {
    const found = await findSettlement(chain, { batchId: batch.batchId, head })
    if (found === null || head.number - found.block + 1 < options.confirmations) return 'waiting'
    const settled = batchOutcomeOf(batch.batchId, found)
    return settled ? close(batch, settled, found.gasUsed) : 'waiting'
  }

  async function close(batch: StoredBatch, outcome: BatchOutcome, gasUsed: bigint): Promise<Tick> {
    const block = await chain.block(outcome.block)
    if (block?.hash !== outcome.blockHash) return 'waiting'
    const counts = await ledger.closeBatch({ ...outcome, expiredBefore: block.timestamp - (await settlementWindow()) })
    sentAt.delete(batch.batchId)
    refusals = { count: 0, until: Number.NEGATIVE_INFINITY }
    const gross = outcome.lanes.reduce((sum, lane) => sum + lane.gross, 0n)
    log.info({
      event: 'batch.settled',
      batchId: batch.batchId,
      requests: batch.leaves.length,
      gross: gross.toString(),
      gasUsed: gasUsed.toString(),
      ...counts,
    })
    for (const skipped of outcome.skippedRows) log.warn({ event: 'batch.row-skipped', batchId: batch.batchId, ...skipped })
    for (const lane of outcome.refusedLanes) log.warn({ event: 'batch.lane-refused', batchId: batch.batchId, lane })
    return 'settled'
  }

  /** The contract refuses the whole batch, and nothing of it can be on its way: its requests wait for another. */
  async function drop(batch: StoredBatch, error: GranaryError): Promise<Tick> {
    await ledger.dropBatch(batch.batchId)
    sentAt.delete(batch.batchId)
    const backoffMs = Math.min(1000 * 2 ** refusals.count, LONGEST_BACKOFF_MS)
    refusals = { count: refusals.count + 1, until: now() + backoffMs }
    log.error({ event: 'batch.dropped', batchId: batch.batchId, backoffMs, evidence: error.evidence, error })
    return 'dropped'
  }

  return tick
}

/** Ticks and syncs until disposed, one thing at a time: all of them sign with one key, in the order of its nonces. */
export function openSettler(options: SettlerOptions & { pollMs: number; syncModels: () => Promise<number> }): AsyncDisposable {
  const { log, pollMs, syncModels } = options
  const stop = new AbortController()
  const tick = openTicker(options)

  async function run(): Promise<void> {
    let failures = 0
    while (!stop.signal.aborted) {
      try {
        const result = await tick()
        if (result !== 'waiting' && result !== 'sent') await syncModels()
        if (failures > 0) log.info({ event: 'settler.recovered', failures })
        failures = 0
      } catch (error) {
        failures += 1
        log.warn({ event: 'settler.tick-failed', failures, error })
      }
      const pauseMs = Math.min(pollMs * 2 ** Math.min(failures, 10), Math.max(pollMs, 5000))
      await delay(pauseMs, undefined, { signal: stop.signal }).catch(() => undefined)
    }
  }

  const running = run()
  return {
    async [Symbol.asyncDispose]() {
      stop.abort()
      await running
    },
  }
}
