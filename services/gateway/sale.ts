import { randomBytes } from 'node:crypto'
import { toUtf8Bytes } from 'ethers'
import type { InferAnswer } from '../core/api.ts'
import { GranaryError } from '../core/errors.ts'
import { digestOf, structHashOf } from '../core/messages.ts'
import { priceOf } from '../core/metering.ts'
import type { Committed, Job, JobResult, KeyStanding, Reserved } from '../core/ports.ts'
import { type Candidate, chooseCandidate } from '../core/routing.ts'
import { toJsonTensor } from '../core/tensors.ts'
import { candidatesOf, DEFAULT_PURPOSE, type Order, type Shop } from './order.ts'
import type { Payer } from './payer.ts'

const MAX_ATTEMPTS = 3
const MAX_RAISES = 16

export type Repeated = Extract<Reserved, { reason: 'repeated' }>

/** Reserves, dispatches, commits: ends COMMITTED with an answer, or RELEASED with an error. */
export async function sell(shop: Shop, order: Order, payer: Payer): Promise<{ answer: Uint8Array; repeated: boolean }> {
  checkScope(order, payer)
  const requestId = `0x${randomBytes(32).toString('hex')}`
  const reserved = await reserve(shop, order, { payer, requestId }).catch((error: unknown) => {
    // It may have reserved before it was lost. Nobody waits for the release: the ledger may be silent for long.
    if (error instanceof GranaryError && error.code === 'ledger.unavailable') void shop.releases.releaseUncertain(requestId)
    throw error
  })
  if (!reserved.ok) return { answer: repeatOf(reserved), repeated: true }
  try {
    const { result, job } = await dispatch(shop, order, requestId)
    return { answer: await commit(shop, { order, payer, requestId, result, job }), repeated: false }
  } catch (error) {
    const reason = error instanceof GranaryError ? error.code : 'internal'
    await shop.releases.release(requestId, reason)
    throw error
  }
}

function checkScope({ model, purpose }: Order, { models, purposes }: Payer): void {
  if (models.length > 0 && !models.includes(model.modelId) && !models.includes(model.manifest.name)) {
    throw new GranaryError('credential.forbidden', 'This API key may not buy this model.', { models })
  }
  if (purposes.length > 0 && !purposes.includes(purpose)) {
    throw new GranaryError('credential.forbidden', 'This API key may not be used for this purpose.', { purposes })
  }
}

/** Throws every refusal but a repeat. */
export async function reserve(
  shop: Shop,
  order: Order,
  { payer, requestId }: { payer: Payer; requestId: string },
): Promise<{ ok: true } | Repeated> {
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
  const idempotencyKey = payer.idempotencyKey ?? requestId
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

function refusalOf(
  reserved: Exclude<Reserved, { ok: true } | Repeated>,
  { accountId, key }: Payer,
  standing: KeyStanding | null,
): GranaryError {
  switch (reserved.reason) {
    case 'conflict':
      return new GranaryError('idempotency.conflict', 'This Idempotency-Key was used for another body.', {
        requestId: reserved.requestId,
      })
    case 'account-unknown':
      return new GranaryError('account.unknown', 'This account has no confirmed deposit here.', { accountId })
    case 'key-ended':
      return new GranaryError('credential.ended', 'The escrow key was revoked, has expired or was never granted.', {
        accountId,
        key,
      })
    case 'insufficient': {
      const { limit, available, required } = reserved
      const code = limit === 'ceiling' ? 'voucher.stale' : 'payment.insufficient'
      const what = { ceiling: 'signed ceiling', cap: "key's cap", deposit: 'deposit' }[limit]
      return new GranaryError(code, `The ${what} does not cover this request.`, {
        limit,
        available: available.toString(),
        required: required.toString(),
        // The least ceiling with which the request would pass now.
        ...(standing ? { signAtLeast: (standing.spent + standing.reserved + required).toString() } : {}),
        accountId,
        key,
      })
    }
  }
}

export function repeatOf(reserved: Repeated): Uint8Array {
  const { request } = reserved
  if (request.answer && request.state !== 'RELEASED') return request.answer
  throw new GranaryError('idempotency.running', 'The same request is still running.', {
    requestId: request.requestId,
    retryAfterSeconds: 1,
  })
}

/** Sends to the best worker; one that is gone or busy is replaced while the price reserved still covers the next. */
export async function dispatch(shop: Shop, order: Order, requestId: string): Promise<{ result: JobResult; job: Job }> {
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

/** A delivered job and what its answer says of it. */
export interface Delivered {
  order: { model: { modelId: string; manifest: { name: string } }; body: { purpose?: string } }
  requestId: string
  result: JobResult
  job: Pick<Job, 'inputSalt' | 'outputSalt'>
}

export async function commit(
  shop: Shop,
  { order, payer, requestId, result, job }: Delivered & { payer: Pick<Payer, 'accountId' | 'key' | 'idempotencyKey'> },
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
  const keepAnswer = payer.idempotencyKey !== null
  const { answer } = await shop.ledger.commit({ requestId, charged, receipt, providerSignature: signature, answerOf, keepAnswer })
  shop.log.info({
    event: 'request.committed',
    requestId,
    model: order.model.manifest.name,
    charged: charged.toString(),
    provider: receipt.provider,
  })
  return answer
}
