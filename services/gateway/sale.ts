import { randomBytes } from 'node:crypto'
import { toUtf8Bytes } from 'ethers'
import type { InferAnswer } from '../core/api.ts'
import { jurisdictionCodes } from '../core/consent.ts'
import { GranaryError } from '../core/errors.ts'
import { digestOf, structHashOf } from '../core/messages.ts'
import { priceOf } from '../core/metering.ts'
import type { Committed, Job, JobResult, Reserved } from '../core/ports.ts'
import { type Candidate, chooseCandidate } from '../core/routing.ts'
import { toJsonTensor } from '../core/tensors.ts'
import { candidatesOf, DEFAULT_PURPOSE, type Order, type Shop } from './order.ts'
import type { Payer } from './payer.ts'
import { refusalOf } from './refusals.ts'
import { type Identity, identityOf } from './repeats.ts'

const MAX_ATTEMPTS = 3
const MAX_RAISES = 16
/** A repeat may find its forerunner released, reserve anew, and be overtaken by another repeat. */
const MAX_TURNS = 4

type Repeated = Extract<Reserved, { reason: 'repeated' }>

/** Reserves, dispatches, commits: ends COMMITTED with an answer, or RELEASED with an error. */
export async function sell(shop: Shop, order: Order, payer: Payer): Promise<{ answer: Uint8Array; repeated: boolean }> {
  checkScope(order, payer)
  const { accountId, key, idempotencyKey } = payer
  const identity = idempotencyKey === null ? null : identityOf({ accountId, key, idempotencyKey })
  for (let turn = 0; turn < MAX_TURNS; turn++) {
    const requestId = `0x${randomBytes(32).toString('hex')}`
    const reserved = await reserveOrRelease(shop, order, { payer, requestId, identity })
    if (reserved.ok) return { answer: await perform(shop, order, { payer, requestId, identity }), repeated: false }
    const answer = identity && (await shop.repeats.answer(reserved, identity))
    if (answer) return { answer, repeated: true }
  }
  throw new GranaryError('idempotency.running', 'The same request is tried again and again.', { retryAfterSeconds: 1 })
}

/** A sale under its id in the ledger. */
interface Sale {
  payer: Payer
  requestId: string
  /** null: the client can't repeat it. */
  identity: Identity | null
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

async function perform(shop: Shop, order: Order, sale: Sale): Promise<Uint8Array> {
  try {
    const { result, job } = await dispatch(shop, order, sale.requestId)
    return await commit(shop, { order, result, job, ...sale })
  } catch (error) {
    await shop.releases.release(sale.requestId, error instanceof GranaryError ? error.code : 'internal')
    throw error
  }
}

/** Models by their id only: a name can be given to several. */
function checkScope({ model, purpose, jurisdiction }: Order, { models, purposes, jurisdictions }: Payer): void {
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

async function reserve(shop: Shop, order: Order, { payer, requestId, identity }: Sale): Promise<{ ok: true } | Repeated> {
  const { ledger } = shop
  const { accountId, key, voucher } = payer
  if (voucher) await acceptVoucher(shop, payer)
  const head = await shop.consent.require({
    modelId: order.model.modelId,
    purpose: order.purpose,
    jurisdiction: order.jurisdiction,
  })
  const { quote, bodyHash, purpose } = order
  const { modelId, units, unitPrice, max } = quote
  const provider = '0x0000000000000000000000000000000000000000'
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
  }
  let reserved = await ledger.reserve(reservation, head.timestamp)
  // Others on the same key may take the room that a raise has made, so it can take several.
  for (let raises = 0; raises < MAX_RAISES && isCeilingShort(reserved) && payer.signer; raises++) {
    const standing = await ledger.standing(accountId, key)
    const raised = standing ? shop.payers.raise(payer, standing, max) : null
    if (raised === 'impossible' || raised === null) break
    if (raised !== 'enough') await ledger.acceptVoucher(raised)
    reserved = await ledger.reserve(reservation, head.timestamp)
  }
  if (reserved.ok || reserved.reason === 'repeated') return reserved
  throw refusalOf(reserved, payer, reserved.reason === 'insufficient' ? await ledger.standing(accountId, key) : null)
}

function isCeilingShort(reserved: Reserved): boolean {
  return !reserved.ok && reserved.reason === 'insufficient' && reserved.limit === 'ceiling'
}

async function acceptVoucher(shop: Shop, { voucher, accountId }: Payer): Promise<void> {
  if (!voucher) return
  const accepted = await shop.ledger.acceptVoucher(voucher)
  if (accepted.ok) return
  if (accepted.reason === 'account-unknown')
    throw new GranaryError('account.unknown', 'This account is not known: deposit into it first.', { accountId })
  // Requests run in parallel, so a lower voucher may simply have been overtaken; the ceiling kept is what counts.
}

/** Sends to the best worker; one that is gone or busy is replaced while the price reserved still covers the next. */
async function dispatch(shop: Shop, order: Order, requestId: string): Promise<{ result: JobResult; job: Job }> {
  const tried = new Set<string>()
  let last: unknown = new GranaryError('provider.none', `No provider serves ${order.model.manifest.name} right now.`)
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const affordable = candidatesOf(shop, order.model, { tried }).filter(({ unitPrice }) => unitPrice <= order.quote.unitPrice)
    const chosen = chooseCandidate(affordable, Math.random)
    if (!chosen) break
    tried.add(chosen.worker.workerId)
    const job = await jobFor(shop, order, { requestId, chosen })
    await shop.ledger.dispatched(requestId, chosen.worker.provider)
    try {
      return { result: await shop.dispatcher.send(chosen.worker.workerId, job, { timeoutMs: shop.jobTimeoutMs }), job }
    } catch (error) {
      const again = error instanceof GranaryError && (error.code === 'provider.gone' || error.code === 'provider.busy')
      if (!again) throw error
      shop.log.warn({ event: 'job.retried', requestId, provider: chosen.worker.provider, error })
      last = error
    }
  }
  throw last
}

async function jobFor(shop: Shop, order: Order, { requestId, chosen }: { requestId: string; chosen: Candidate }): Promise<Job> {
  const { model, purpose, jurisdiction, inputs, quote } = order
  const head = await shop.consent.require({ modelId: model.modelId, purpose, jurisdiction })
  return {
    jobId: requestId,
    modelId: model.modelId,
    purpose,
    jurisdiction,
    consentBlock: head.number,
    units: quote.units,
    unitPrice: chosen.unitPrice,
    inputSalt: `0x${randomBytes(32).toString('hex')}`,
    outputSalt: `0x${randomBytes(32).toString('hex')}`,
    inputs,
  }
}

async function commit(
  shop: Shop,
  { order, payer, requestId, identity, result, job }: Sale & { order: Order; result: JobResult; job: Job },
): Promise<Uint8Array> {
  const { receipt, signature, outputs } = result
  const charged = priceOf(receipt.units, receipt.unitPrice)
  const { accountId, key } = payer
  const answerOf = (committed: Committed): Uint8Array => {
    const jobHash = structHashOf('InferenceEscrow', 'JobReceipt', { ...receipt })
    const value = { jobHash, accountId, key, sequence: committed.sequence, charged, previousHead: committed.previousHead }
    const collectorSignature = shop.collector.signingKey.sign(
      digestOf('InferenceEscrow', 'Receipt', shop.escrow, value),
    ).serialized
    const answer: InferAnswer = {
      id: requestId,
      model: order.model.manifest.name,
      modelId: order.model.modelId,
      purpose: order.body.purpose ?? DEFAULT_PURPOSE,
      outputs: outputs.map(toJsonTensor),
      provider: receipt.provider,
      units: receipt.units.toString(),
      unitPrice: receipt.unitPrice.toString(),
      charged: charged.toString(),
      receipt: {
        accountId,
        key,
        job: { ...receipt, units: receipt.units.toString(), unitPrice: receipt.unitPrice.toString() },
        providerSignature: signature,
        inputSalt: job.inputSalt,
        outputSalt: job.outputSalt,
        sequence: committed.sequence.toString(),
        previousHead: committed.previousHead,
        head: committed.head,
        collectorSignature,
      },
    }
    return toUtf8Bytes(JSON.stringify(answer))
  }
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
