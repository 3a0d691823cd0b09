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
  const prices = candidatesOf(shop, model).map(({ unitPrice }) => unitPrice)
  const unitPrice = prices.reduce((most, price) => (price > most ? price : most), 0n)
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

/** Throws `provider.none` when nobody offers it here, `provider.busy` when all that do are at capacity. */
export function candidatesOf(
  { dispatcher }: Shop,
  model: SellableModel,
  { tried }: { tried?: ReadonlySet<string> } = {},
): Candidate[] {
  const candidates = dispatcher.workers().flatMap((worker) => {
    const offer = model.offers.find(({ provider }) => provider === worker.provider)
    return offer && worker.ready.has(model.modelId) ? [{ worker, unitPrice: offer.unitPrice }] : []
  })
  const { name } = model.manifest
  if (tried) return candidates.filter(({ worker }) => !tried.has(worker.workerId))
  if (candidates.length === 0) throw new GranaryError('provider.none', `No provider serves ${name} right now.`, { model: name })
  const free = candidates.filter(({ worker }) => worker.inFlight < worker.capacity)
  if (free.length === 0) throw new GranaryError('provider.busy', `All providers of ${name} are at capacity.`, { model: name })
  return free
}
