import { hash } from 'node:crypto'
import type { ConsentWatch } from '../adapters/consent-watch.ts'
import type { Log } from '../adapters/log.ts'
import type { InferBody } from '../core/api.ts'
import { DEFAULT_PURPOSE, jurisdictionIndex, purposeIndex } from '../core/consent.ts'
import { GranaryError } from '../core/errors.ts'
import type { Verifier } from '../core/messages.ts'
import { checkInputs, countUnits, priceOf } from '../core/metering.ts'
import type { Dispatcher, Ledger } from '../core/ports.ts'
import type { ReceiptSignature } from '../core/receipt-signature.ts'
import type { Candidate } from '../core/routing.ts'
import type { CommittedTogether } from '../core/selling-ledger.ts'
import type { Tensor } from '../core/tensors.ts'
import type { Catalog, SellableModel } from './catalog.ts'
import type { Quote } from './challenge.ts'
import { readInputs } from './inputs.ts'
import type { PayerBook } from './payer.ts'
import type { Purposes } from './purposes.ts'
import type { Releases } from './releases.ts'
import type { Repeats } from './repeats.ts'
import type { StreamDesk } from './streams/desk.ts'

export interface Shop {
  ledger: Ledger
  dispatcher: Dispatcher
  consent: ConsentWatch
  catalog: Catalog
  payers: PayerBook
  purposes: Purposes
  releases: Releases
  repeats: Repeats
  /** By the collector's key. */
  signatureOf: (committed: CommittedTogether) => ReceiptSignature
  escrow: Verifier
  /** This process, in reservations. */
  owner: string
  jobTimeoutMs: number
  streams: StreamDesk
  log: Log
}

/** A request that is well formed, permitted and servable, with its price: nothing is reserved yet. */
export interface Order {
  body: InferBody
  bodyHash: string
  model: SellableModel
  purpose: number
  jurisdiction: number
  inputs: Tensor[]
  quote: Quote
}

/** Everything that can refuse a request without knowing who pays, in the order in which it is cheapest to check. */
export async function takeOrder(shop: Shop, { body, rawBody }: { body: InferBody; rawBody: Uint8Array }): Promise<Order> {
  const purpose = purposeIndex(body.purpose ?? DEFAULT_PURPOSE, await shop.purposes())
  const jurisdiction = jurisdictionIndex(body.jurisdiction)
  const model = await shop.catalog.find(body.model)
  const inputs = readInputs(body.inputs, model.manifest)
  checkInputs(model.manifest, inputs)
  await shop.consent.require({ modelId: model.modelId, purpose, jurisdiction })
  const units = countUnits(model.manifest.unit, inputs)
  const unitPrice = priceAsked(shop, model)
  const quote = { modelId: model.modelId, units, unitPrice, max: priceOf(units, unitPrice) }
  return {
    body,
    bodyHash: `0x${hash('sha256', rawBody)}`,
    model,
    purpose,
    jurisdiction,
    inputs,
    quote,
  }
}

/**
 * The highest price of who could take the job now; throws `provider.none` when nobody offers it here, `provider.busy` when all
 * that do are at capacity.
 */
function priceAsked(shop: Pick<Shop, 'dispatcher'>, model: SellableModel): bigint {
  const candidates = offering(shop, model)
  const { name } = model.manifest
  if (candidates.length === 0) throw new GranaryError('provider.none', `No provider serves ${name} right now.`, { model: name })
  let most: bigint | null = null
  for (const { worker, unitPrice } of candidates)
    if (worker.inFlight < worker.capacity && (most === null || unitPrice > most)) most = unitPrice
  if (most === null) throw new GranaryError('provider.busy', `All providers of ${name} are at capacity.`, { model: name })
  return most
}

/** Connected workers that have loaded the model, at their provider's price. */
export function offering({ dispatcher }: Pick<Shop, 'dispatcher'>, { modelId, offers }: SellableModel): Candidate[] {
  const candidates: Candidate[] = []
  for (const worker of dispatcher.workers()) {
    const offer = worker.ready.has(modelId) ? offers.find(({ provider }) => provider === worker.provider) : undefined
    if (offer) candidates.push({ worker, unitPrice: offer.unitPrice })
  }
  return candidates
}
