import { randomHexOf } from '../adapters/randomness.ts'
import { CommitRefused } from '../core/commit-refused.ts'
import { jurisdictionCodes } from '../core/consent.ts'
import { GranaryError } from '../core/errors.ts'
import type { Job, JobResult } from '../core/jobs.ts'
import { priceOf } from '../core/metering.ts'
import { type Candidate, chooseCandidate } from '../core/routing.ts'
import type { CommittedTogether, Reserved } from '../core/selling-ledger.ts'
import { type Delivered, inferAnswer } from './answer.ts'
import { type Order, offering, type Shop } from './order.ts'
import type { Payer } from './payer.ts'
import { refusalOf } from './refusals.ts'
import { type Identity, identityOf } from './repeats.ts'

export const MAX_ATTEMPTS = 3
export const MAX_RAISES = 16
/** A repeat may find its forerunner released, reserve anew, and be overtaken by another repeat. */
const MAX_TURNS = 4

const NONE_TRIED: ReadonlySet<string> = new Set()
const NO_PROVIDER = `0x${'00'.repeat(20)}`

type Repeated = Extract<Reserved, { reason: 'repeated' }>

/** Reserves, dispatches, commits: ends COMMITTED with an answer, or RELEASED with an error. */
export async function sell(shop: Shop, order: Order, payer: Payer): Promise<{ answer: Uint8Array; repeated: boolean }> {
  checkScope(order, payer)
  const { accountId, key, idempotencyKey } = payer
  const identity = idempotencyKey === null ? null : identityOf({ accountId, key, idempotencyKey })
  for (let turn = 0; turn < MAX_TURNS; turn++) {
    const reserved = await reserveOrAnswer(shop, order, { payer, requestId: newRequestId(), identity, leased: true })
    if ('answer' in reserved) return { answer: reserved.answer, repeated: true }
    const done = await perform(shop, order, reserved.sale)
    if (done) return done
  }
  throw triedAgain()
}

/** A sale under its id in the ledger. */
export interface Sale {
  payer: Payer
  requestId: string
  /** null: the client can't repeat it. */
  identity: Identity | null
  /** Its place may come from a lease: it is bought whole, of an account's own money. */
  leased?: boolean
  /** For whom the job leaves first. */
  chosen: Candidate | null
}

/** Reserves, or gives the answer that the same request, `earlier`, has got before. */
export async function reserveOrAnswer(
  shop: Shop,
  order: Order,
  { payer, requestId, identity, leased = false }: Omit<Sale, 'chosen'>,
): Promise<{ sale: Sale } | { answer: Uint8Array; earlier: string }> {
  for (let turn = 0; turn < MAX_TURNS; turn++) {
    const chosen = chooseCandidate(affordableOf(shop, order, NONE_TRIED), Math.random)
    const sale = { payer, requestId, identity, leased, chosen }
    const reserved = await reserveOrRelease(shop, order, sale)
    if (reserved.ok) return { sale }
    const answer = identity && (await shop.repeats.answer(reserved, identity))
    if (answer) return { answer, earlier: reserved.request.requestId }
  }
  throw triedAgain()
}

function triedAgain(): GranaryError {
  return new GranaryError('idempotency.running', 'The same request is tried again and again.', { retryAfterSeconds: 1 })
}

async function reserveOrRelease(shop: Shop, order: Order, sale: Sale): Promise<{ ok: true } | Repeated> {
  try {
    return await reserve(shop, order, sale)
  } catch (error) {
    // It may have reserved before it was lost. Nobody waits for the release: the ledger may be silent for long.
    if (error instanceof GranaryError && error.code === 'ledger.unavailable') void shop.releases.releaseUncertain(sale.requestId)
    throw error
  }
}

/** null: the same request was sold elsewhere meanwhile, and released there. */
async function perform(shop: Shop, order: Order, sale: Sale): Promise<{ answer: Uint8Array; repeated: boolean } | null> {
  try {
    const { result, job } = await dispatch(shop, order, sale)
    return { answer: await commit(shop, { order, result, job, ...sale }), repeated: false }
  } catch (error) {
    const refused = error instanceof CommitRefused ? error.refused : null
    await shop.releases.release(sale.requestId, refused?.reason ?? (error instanceof GranaryError ? error.code : 'internal'))
    if (!refused) throw error
    if (refused.reason !== 'repeated') throw refusalOf(refused, sale.payer, null)
    const answer = sale.identity && (await shop.repeats.answer(refused, sale.identity))
    return answer && { answer, repeated: true }
  }
}

/** Models by their id only: a name can be given to several. */
export function checkScope({ model, purpose, jurisdiction }: Order, { models, purposes, jurisdictions }: Payer): void {
  if (models.length > 0 && !models.includes(model.modelId)) {
    throw new GranaryError('credential.forbidden', 'This API key may not buy this model.', { models })
  }
  if (purposes.length > 0 && !purposes.includes(purpose)) {
    throw new GranaryError('credential.forbidden', 'This API key may not be used for this purpose.', { purposes })
  }
  if (jurisdictions.length > 0 && !jurisdictions.includes(jurisdiction)) {
    throw new GranaryError('credential.forbidden', 'This API key may not be used for this place: name one of its own.', {
      jurisdictions: jurisdictions.map((index) => jurisdictionCodes[index] ?? String(index)),
    })
  }
}

/** Throws every refusal but a repeat. */
async function reserve(
  shop: Shop,
  order: Order,
  { payer, requestId, identity, leased = false, chosen }: Sale,
): Promise<{ ok: true } | Repeated> {
  const { ledger } = shop
  const { accountId, key, voucher } = payer
  const head = await shop.consent.require({
    modelId: order.model.modelId,
    purpose: order.purpose,
    jurisdiction: order.jurisdiction,
  })
  const { quote, bodyHash, purpose } = order
  const { modelId, units, unitPrice, max } = quote
  const provider = chosen?.worker.provider ?? NO_PROVIDER
  const idempotencyKey = identity?.digest ?? requestId
  const reservation = {
    requestId,
    accountId,
    key,
    idempotencyKey,
    bodyHash,
    modelId,
    provider,
    purpose,
    units,
    unitPrice,
    max,
    owner: shop.owner,
    dispatched: chosen !== null,
    leased,
  }
  // A lower voucher than the one kept may simply have been overtaken: the ceiling kept is what counts.
  let reserved = await ledger.reserve(voucher ? { ...reservation, voucher } : reservation, head.timestamp)
  // Others on the same key may take the room that a raise has made, so it can take several.
  for (let raises = 0; raises < MAX_RAISES && isCeilingShort(reserved) && payer.signer; raises++) {
    const standing = await ledger.standing(accountId, key)
    const raised = standing ? shop.payers.raise(payer, standing, max) : null
    if (raised === 'impossible' || raised === null) break
    reserved = await ledger.reserve(raised === 'enough' ? reservation : { ...reservation, voucher: raised }, head.timestamp)
  }
  if (reserved.ok || reserved.reason === 'repeated') return reserved
  throw refusalOf(reserved, payer, reserved.reason === 'insufficient' ? await ledger.standing(accountId, key) : null)
}

function isCeilingShort(reserved: Reserved): boolean {
  return !reserved.ok && reserved.reason === 'insufficient' && reserved.limit === 'ceiling'
}

/**
 * Sends to the best worker; one that is gone or busy is replaced while the price reserved still covers the next. The first was
 * chosen before the reservation, which says that the job leaves for it.
 */
export async function dispatch(
  shop: Shop,
  order: Order,
  { requestId, chosen }: Pick<Sale, 'requestId' | 'chosen'>,
): Promise<{ result: JobResult; job: Job }> {
  const tried = new Set<string>()
  let last: unknown = null
  let next = chosen
  for (let attempt = 0; attempt < MAX_ATTEMPTS && next; attempt++) {
    const { worker } = next
    tried.add(worker.workerId)
    const job = await jobFor(shop, order, { requestId, chosen: next })
    if (attempt > 0) await shop.ledger.dispatched(requestId, worker.provider)
    try {
      return { result: await shop.dispatcher.send(worker.workerId, job, { timeoutMs: shop.jobTimeoutMs }), job }
    } catch (error) {
      const again = error instanceof GranaryError && (error.code === 'provider.gone' || error.code === 'provider.busy')
      if (!again) throw error
      shop.log.warn({ event: 'job.retried', requestId, provider: worker.provider, error })
      last = error
    }
    next = chooseCandidate(affordableOf(shop, order, tried), Math.random)
  }
  throw last ?? new GranaryError('provider.none', `No provider serves ${order.model.manifest.name} right now.`)
}

export function affordableOf(shop: Shop, order: Order, tried: ReadonlySet<string>): Candidate[] {
  const { unitPrice: most } = order.quote
  return offering(shop, order.model).filter(({ worker, unitPrice }) => unitPrice <= most && !tried.has(worker.workerId))
}

export async function jobFor(
  shop: Shop,
  order: Order,
  { requestId, chosen }: { requestId: string; chosen: Candidate },
): Promise<Job> {
  const { model, purpose, jurisdiction, inputs, quote } = order
  const head = await shop.consent.require({ modelId: model.modelId, purpose, jurisdiction })
  const salts = randomHexOf(64)
  return {
    jobId: requestId,
    modelId: model.modelId,
    purpose,
    jurisdiction,
    consentBlock: head.number,
    units: quote.units,
    unitPrice: chosen.unitPrice,
    inputSalt: `0x${salts.slice(0, 64)}`,
    outputSalt: `0x${salts.slice(64)}`,
    inputs,
  }
}

export async function commit(
  shop: Shop,
  {
    order,
    payer,
    requestId,
    identity,
    result,
    job,
  }: Delivered & Pick<Sale, 'identity'> & { payer: Pick<Payer, 'accountId' | 'key'> },
): Promise<Uint8Array> {
  const { receipt, signature } = result
  const charged = priceOf(receipt.units, receipt.unitPrice)
  const answerOf = (committed: CommittedTogether): Uint8Array =>
    Buffer.from(JSON.stringify(inferAnswer(shop, { order, payer, requestId, result, job }, committed)))
  const sealAnswer = identity && shop.repeats.sealing(identity)
  const { answer } = await shop.ledger.commit({ requestId, charged, receipt, providerSignature: signature, answerOf, sealAnswer })
  shop.log.info({
    event: 'request.committed',
    requestId,
    model: order.model.manifest.name,
    charged: charged.toString(),
    provider: receipt.provider,
  })
  return answer
}

/** Ids that begin with the time stand side by side in the ledger's indexes, so that a long history costs a new request nothing. */
export function newRequestId(): string {
  const time = Date.now().toString(16).padStart(12, '0')
  return `0x${time}${randomHexOf(26)}`
}
