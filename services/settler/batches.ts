import type { Log } from '../adapters/log.ts'
import type { Head, SignedTransaction } from '../core/chain-records.ts'
import { GranaryError } from '../core/errors.ts'
import type { Chain } from '../core/ports.ts'
import { batchOutcomeOf, toBatchArgument } from '../core/settlement.ts'
import type { BatchOutcome, SettlementLedger, StoredBatch } from '../core/settlement-ledger.ts'
import { findSettlement } from './find-settlement.ts'
import { type Drafting, nextBatch, settlementWindow } from './next-batch.ts'
import { reopenLost } from './reopen-lost.ts'

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
  /** Base units of the token for one coin of the chain's currency (10^18 wei); 0 where gas costs nothing. */
  coinPrice: bigint
  maxRows: number
  maxLanes: number
  confirmations: number
  randomId: () => string
  now?: () => number
}

const REBROADCAST_MS = 5000
/** A transaction that no block took for this long is signed again with the same nonce and higher fees. */
const REPLACE_MS = 60_000
const LONGEST_BACKOFF_MS = 60_000
/** A batch that the ledger can't close is tried again after so long; the others go on. */
const ASIDE_MS = 60_000
/** Where no batch is open, only this settler opens one, unless another is started beside it. */
const CLEAR_MS = 30_000

/** `waiting`: a batch is on its way; `idle`: there is nothing to settle yet; `aside`: ledger and chain disagree about a batch. */
export type Tick = 'idle' | 'waiting' | 'sent' | 'settled' | 'dropped' | 'aside'

type SignedBatch = StoredBatch & { transaction: SignedTransaction }

/** What a settler remembers between ticks; nothing of it is missed after a restart. */
interface Settling extends Drafting {
  sentAt: Map<string, { first: number; last: number }>
  refusals: { count: number; until: number }
  /** Until when, by batch. */
  aside: Map<string, number>
  /** The last head on whose chain all settled batches were found; null where that is to be looked at. */
  stands: Head | null
  /** Until then there is no open batch. */
  clearUntil: number
}

const NO_REFUSALS = { count: 0, until: Number.NEGATIVE_INFINITY }

/**
 * One tick: what is open goes on first, and only then a new batch is made. A batch keeps its id from the draft to the
 * end, and the contract executes an id once: whatever is sent again, its requests are charged at most once.
 */
export function openTicker(options: SettlerOptions): (head?: Head) => Promise<Tick> {
  const settling: Settling = {
    now: () => performance.now(),
    ...options,
    sentAt: new Map(),
    refusals: NO_REFUSALS,
    restUntil: Number.NEGATIVE_INFINITY,
    aside: new Map(),
    windowSeconds: null,
    stands: null,
    clearUntil: Number.NEGATIVE_INFINITY,
  }
  return async (head) => {
    try {
      return await tick(settling, head ?? (await options.chain.head()))
    } catch (error) {
      // What it was about to do may have been done.
      lookAgain(settling)
      throw error
    }
  }
}

function lookAgain(settling: Settling): void {
  settling.stands = null
  settling.clearUntil = Number.NEGATIVE_INFINITY
}

/** The next block of a chain on which all settled batches were found takes none back. */
async function followChain(settling: Settling, head: Head): Promise<void> {
  const { stands } = settling
  const isNext = head.number - 1 === stands?.number && head.parentHash === stands.hash
  if (!isNext && head.hash !== stands?.hash) {
    lookAgain(settling)
    if (!(await reopenLost(settling, head))) return
  }
  settling.stands = head
}

async function tick(settling: Settling, head: Head): Promise<Tick> {
  await followChain(settling, head)
  const { ledger, collector, now } = settling
  const open = now() < settling.clearUntil ? [] : await ledger.openBatches(collector)
  let settled = false
  for (const batch of open) {
    if (now() < (settling.aside.get(batch.batchId) ?? Number.NEGATIVE_INFINITY)) continue
    const result = await advance(settling, batch)
    if (result !== 'settled' && result !== 'aside') return result
    settled ||= result === 'settled'
  }
  if (settled) return 'settled'
  if (open.length === 0 && now() >= settling.clearUntil) settling.clearUntil = now() + CLEAR_MS
  const drafted = now() < settling.refusals.until ? null : await nextBatch(settling, head)
  if (!drafted) return 'idle'
  lookAgain(settling)
  return send(settling, { batch: { ...drafted, transaction: null } })
}

async function advance(settling: Settling, batch: StoredBatch): Promise<Tick> {
  const { chain, confirmations } = settling
  const { transaction } = batch
  if (transaction === null) return send(settling, { batch })
  const outcome = await chain.outcome(transaction.hash)
  if (outcome === null) return remind(settling, { ...batch, transaction })
  const head = await chain.head()
  if (head.number - outcome.block + 1 < confirmations) return 'waiting'
  if (!outcome.succeeded) {
    const error = new GranaryError('chain.reverted', `Transaction ${outcome.hash} was reverted.`)
    return drop(settling, { batch, error })
  }
  const settled = batchOutcomeOf(batch.batchId, outcome)
  return settled ? close(settling, { batch, outcome: settled, gasUsed: outcome.gasUsed }) : closeElsewhere(settling, batch)
}

/** Signs, stores, then broadcasts: after a crash in between, the stored transaction is sent and no other. */
async function send(
  settling: Settling,
  { batch, replaces }: { batch: StoredBatch; replaces?: SignedTransaction },
): Promise<Tick> {
  const { chain, ledger, log } = settling
  const call = { contract: 'InferenceEscrow', method: 'settleBatch', args: [toBatchArgument(batch), '0x'] }
  let transaction: SignedTransaction
  try {
    transaction = await chain.prepare(call, replaces ? { replaces } : {})
  } catch (error) {
    // An earlier signature of this batch may still be mined.
    const isRefused = error instanceof GranaryError && error.code === 'chain.reverted'
    if (isRefused && !replaces) return drop(settling, { batch, error })
    throw error
  }
  await ledger.recordTransaction(batch.batchId, transaction)
  log.info({ event: 'batch.signed', batchId: batch.batchId, hash: transaction.hash, requests: batch.leaves.length })
  return broadcast(settling, { ...batch, transaction })
}

async function broadcast(settling: Settling, batch: SignedBatch): Promise<Tick> {
  const { chain, sentAt, now } = settling
  const at = now()
  sentAt.set(batch.batchId, { first: sentAt.get(batch.batchId)?.first ?? at, last: at })
  try {
    await chain.broadcast(batch.transaction)
    return 'sent'
  } catch (error) {
    if (error instanceof GranaryError && error.evidence.error === 'NonceUsed') return nonceUsed(settling, batch)
    throw error
  }
}

/** Not mined yet: told again from time to time, at last with higher fees. */
async function remind(settling: Settling, batch: SignedBatch): Promise<Tick> {
  const { sentAt, now, log } = settling
  const { batchId, transaction } = batch
  const sent = sentAt.get(batchId)
  if (sent && now() - sent.first > REPLACE_MS) {
    sentAt.delete(batchId)
    log.warn({ event: 'batch.replaced', batchId, nonce: transaction.nonce })
    return send(settling, { batch, replaces: transaction })
  }
  if (sent && now() - sent.last < REBROADCAST_MS) return 'waiting'
  if (!sent) log.info({ event: 'batch.resumed', batchId, hash: transaction.hash })
  return broadcast(settling, batch)
}

/** Another transaction took the nonce: this one's own predecessor, which settled the batch, or a stranger, which did not. */
async function nonceUsed(settling: Settling, batch: SignedBatch): Promise<Tick> {
  const { chain, collector, sentAt, log } = settling
  const root = await chain.read({ contract: 'InferenceEscrow', method: 'batchRoot', args: [collector, batch.batchId] })
  if (BigInt(String(root)) !== 0n) return closeElsewhere(settling, batch)
  log.warn({ event: 'batch.nonce-used', batchId: batch.batchId, nonce: batch.transaction.nonce })
  sentAt.delete(batch.batchId)
  return send(settling, { batch })
}

/** The batch was executed by a transaction that is not the stored one. */
async function closeElsewhere(settling: Settling, batch: StoredBatch): Promise<Tick> {
  const { chain, collector } = settling
  const head = await chain.head()
  const found = await findSettlement(chain, { collector, batchId: batch.batchId, head })
  if (found === null || head.number - found.block + 1 < settling.confirmations) return 'waiting'
  const outcome = batchOutcomeOf(batch.batchId, found)
  return outcome ? close(settling, { batch, outcome, gasUsed: found.gasUsed }) : 'waiting'
}

async function close(
  settling: Settling,
  { batch, outcome, gasUsed }: { batch: StoredBatch; outcome: BatchOutcome; gasUsed: bigint },
): Promise<Tick> {
  const { chain, ledger, log } = settling
  const { batchId } = batch
  const block = await chain.block(outcome.block)
  if (block?.hash !== outcome.blockHash) return 'waiting'
  const expiredBefore = block.timestamp - (await settlementWindow(settling))
  const counts = await ledger
    .closeBatch({ ...outcome, expiredBefore })
    .catch((error: unknown) => setAside(settling, batch, error))
  if (counts === null) return 'aside'
  settling.aside.delete(batchId)
  settling.sentAt.delete(batchId)
  settling.stands = null
  settling.refusals = NO_REFUSALS
  const gross = outcome.lanes.reduce((sum, lane) => sum + lane.gross, 0n).toString()
  log.info({ event: 'batch.settled', batchId, requests: batch.leaves.length, gross, gasUsed: gasUsed.toString(), ...counts })
  for (const skipped of outcome.skippedRows) log.warn({ event: 'batch.row-skipped', batchId, ...skipped })
  for (const lane of outcome.refusedLanes) log.warn({ event: 'batch.lane-refused', batchId, lane })
  return 'settled'
}

/** One batch over which ledger and chain disagree must not keep all others from being settled: a person has to look at it. */
function setAside({ log, now, aside }: Settling, { batchId }: StoredBatch, error: unknown): null {
  if (!(error instanceof GranaryError) || error.code !== 'internal') throw error
  aside.set(batchId, now() + ASIDE_MS)
  log.error({ event: 'batch.not-closed', batchId, error })
  return null
}

/** The contract refuses the whole batch, and nothing of it can be on its way: its requests wait for another. */
async function drop(settling: Settling, { batch, error }: { batch: StoredBatch; error: GranaryError }): Promise<Tick> {
  const { ledger, log, now, sentAt, refusals } = settling
  await ledger.dropBatch(batch.batchId)
  sentAt.delete(batch.batchId)
  const backoffMs = Math.min(1000 * 2 ** refusals.count, LONGEST_BACKOFF_MS)
  settling.refusals = { count: refusals.count + 1, until: now() + backoffMs }
  log.error({ event: 'batch.dropped', batchId: batch.batchId, backoffMs, evidence: error.evidence, error })
  return 'dropped'
}
